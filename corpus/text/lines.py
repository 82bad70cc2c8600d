"""Which lines does a file hold?  Plain, .gz or .zst, in bounded memory; damage is named by file, line and byte."""

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow

from corpus.text.document import OnError, Tally, refuse

MEGABYTE = 1 << 20
AT_A_TIME = 1 << 20  # bytes that are unpacked, and bytes of an overlong line that are passed over


def lines(path: Path, on_error: OnError, tally: Tally, max_mb: int) -> Iterator[tuple[int, str]]:
    """(line number from 1, line with its end) of each good line of a UTF-8 file, less a byte-order mark.

    Raises ValueError for an empty file, a truncated or damaged archive, a line over `max_mb` MB and bytes that are not
    UTF-8. With `on_error="skip"` a bad line is left out, a damaged archive ends where the damage begins; both are
    counted.
    """
    number, offset = 0, 0
    try:
        with open_bytes(path) as file:
            while raw := file.readline(max_mb * MEGABYTE + 1):
                number += 1
                if len(raw) > max_mb * MEGABYTE:
                    what = f"{path}:{number}: the line is longer than {max_mb} MB; if it is meant"
                    refuse(f"{what}, raise max_mb of this source", f"lines over {max_mb} MB", on_error, tally)
                    offset += 0 if raw.endswith(b"\n") else rest_of_line(file)
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
    return io.BufferedReader(Unpacked(path), AT_A_TIME)


class Unpacked(io.RawIOBase):
    """The bytes of a file, unpacked. Where it is damaged all bytes before are given first, and then the error."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset = path, 0
        self.stream = unpacking(path)
        self.damage: OSError | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = len(buffer)
        if self.damage:
            raise self.damage
        try:
            found = self.stream.read(size)
        except OSError as error:  # of all that was asked for nothing is given: ask again, byte by byte
            self.damage = error
            found = up_to_damage(self.path, self.offset, size)
            if not found:
                raise
        buffer[: len(found)] = found
        self.offset += len(found)
        return len(found)

    def close(self) -> None:
        self.stream.close()
        super().close()


def unpacking(path: Path) -> Any:
    # pyarrow tells the compression by the file's name, and unlike zstandard it notices an archive that ends too early.
    return pyarrow.input_stream(str(path), compression="detect")


def up_to_damage(path: Path, offset: int, size: int) -> bytes:
    """The bytes from `offset` on, at most `size`, that can be unpacked before the damage is met."""
    found = bytearray()
    try:
        with unpacking(path) as stream:
            while offset:
                offset -= len(stream.read(min(offset, AT_A_TIME)))
            while len(found) < size and (byte := stream.read(1)):
                found += byte
    except OSError:
        pass
    return bytes(found)


def rest_of_line(file: io.BufferedReader) -> int:
    """Read on to the end of an overlong line, holding no more than 1 MB of it; return how many bytes that were."""
    size = 0
    while raw := file.readline(AT_A_TIME):
        size += len(raw)
        if raw.endswith(b"\n"):
            break
    return size


def decoded(raw: bytes, where: str, offset: int, on_error: OnError, tally: Tally) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        bad = f"{where}: byte {offset + error.start} of the file (0x{raw[error.start]:02x}) is not UTF-8"
        if not offset and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            bad += ", it is UTF-16: write it anew with  iconv -f UTF-16 -t UTF-8 FILE > NEW"
        refuse(bad, "lines not UTF-8", on_error, tally)
        return None
