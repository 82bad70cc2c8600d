"""Which lines does a file hold?  Plain, .gz or .zst, in bounded memory; damage is named by file, line and byte."""

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow

from corpus.document import OnError, Tally, refuse

LONGEST_LINE = 1 << 20  # bytes; nobody writes such a paragraph, and a binary file has no line ends at all


def lines(path: Path, on_error: OnError, tally: Tally) -> Iterator[tuple[int, str]]:
    """(line number from 1, line without its end) of each good line of a UTF-8 file.

    Raises ValueError for an empty file, a truncated or damaged archive, a line over 1 MB and bytes that are not UTF-8.
    With `on_error="skip"` a bad line is left out, a damaged archive ends where the damage begins; both are counted.
    """
    number, offset = 0, 0
    try:
        with open_bytes(path) as file:
            while raw := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(raw) > LONGEST_LINE:
                    refuse(f"{path}:{number}: the line is longer than 1 MB", "lines over 1 MB", on_error, tally)
                    raw = rest_of_line(file)
                elif (text := decoded(raw, f"{path}:{number}", offset, on_error, tally)) is not None:
                    yield number, text.removeprefix("\ufeff") if number == 1 else text
                offset += len(raw)
    except OSError as error:
        damage = f"{path}: damaged or cut off after line {number}: {error}"
        refuse(damage, "damaged files", on_error, tally)
        return
    if number == 0:
        refuse(f"{path}: the file is empty", "empty files", on_error, tally)


def open_bytes(path: Path) -> io.BufferedReader:
    # pyarrow tells the compression by the file's name, and unlike zstandard it notices an archive that ends too early.
    stream = pyarrow.input_stream(str(path), compression="detect")
    return io.BufferedReader(stream, 1 << 20)


def rest_of_line(file: io.BufferedReader) -> bytes:
    """Read on to the end of an overlong line, holding no more than 1 MB of it."""
    while (raw := file.readline(LONGEST_LINE)) and not raw.endswith(b"\n"):
        pass
    return raw


def decoded(raw: bytes, where: str, offset: int, on_error: OnError, tally: Tally) -> str | None:
    try:
        return raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        bad = f"{where}: byte {offset + error.start} of the file (0x{raw[error.start]:02x}) is not UTF-8"
        refuse(bad, "lines not UTF-8", on_error, tally)
        return None
