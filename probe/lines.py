"""Which lines does a file of text have?  Plain or gzip, UTF-8; what cannot be read is named with its file."""

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

LINE_END = re.compile(r"\r\n|\n|\r")


def read_text(path: Path) -> str:
    """The text of a file, plain or gzip. Errors: ValueError for what is damaged or no UTF-8."""
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix.lower() == ".gz" else content).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is no whole gzip file ({error}); fetch it again") from None


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that say something, each with its number from 1: no empty ones, and no comments, which begin with #.
    They end as on Unix, Windows or old Macs. Errors: ValueError."""
    for number, line in enumerate(LINE_END.split(read_text(path)), start=1):
        if (said := line.strip()) and not said.startswith("#"):
            yield number, line
