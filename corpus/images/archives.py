"""Which pictures does an archive hold?  A tar or zip file, also as webdataset writes it, read from front to back.

What has one name up to its first dot is one sample: 0001.jpg, 0001.cls (its class) and 0001.json (an object, with its
class under the source's `label`). Without these, the class is the folder that the picture lies in.
"""

import json
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from corpus.files import is_hidden
from corpus.images.decoding import TOO_LARGE
from corpus.images.found import REST, Found
from corpus.images.source import PARTS, PICTURES, PictureSource, files

BESIDE = (".cls", ".json")
ALONE = ".cls without a picture: those of one sample must stand one behind the other"
Member = tuple[str, int, Callable[[], bytes]]  # its name, its size unpacked, and how it is read
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError)
BROKEN = (*DAMAGED, tarfile.TarError, EOFError, OSError, NotImplementedError)


def shards(source: PictureSource) -> Iterator[Found]:
    for name, path in files(source):
        members = of_zip(path) if path.suffix.lower() == ".zip" else of_tar(path)
        last = ""
        try:
            for _, sample in groupby(members, key=lambda member: key_of(member[0])):
                for found in of_sample(source, name, list(taken(sample, source))):
                    last = found.name
                    yield found
        except BROKEN as error:
            said = " ".join(str(error).split()) or type(error).__name__
            yield Found(f"{name}, behind {last or 'its beginning'}", b"", trouble=f"{REST} ({said})")


def of_tar(path: Path) -> Iterator[Member]:
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            if member.isfile():
                file = archive.extractfile(member)
                assert file
                yield inside(member.name), member.size, file.read


def of_zip(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                yield inside(member.filename), member.file_size, lambda member=member: archive.read(member)  # type: ignore[misc]


def inside(name: str) -> str:
    """A member's name as it stands in the archive: `tar cf X.tar .` writes ./a/b.jpg."""
    return str(PurePosixPath(name))


def key_of(name: str) -> str:
    """The folder, and the file's name up to its first dot."""
    path = PurePosixPath(name)
    return str(path.parent / path.name.partition(".")[0]) if not path.name.startswith(".") else name


def taken(sample: Iterator[Member], source: PictureSource) -> Iterator[tuple[str, bytes | str]]:
    """The members that matter, read; or a word on why one is not. A tar file is read as it goes by."""
    for name, size, read in sample:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix not in (*PICTURES, *BESIDE):
            continue
        if is_hidden(name):
            yield name, "hidden files"
        elif size > source.max_bytes:
            yield name, TOO_LARGE
        else:
            try:
                yield name, read()
            except (*DAMAGED, RuntimeError) as error:  # one member; RuntimeError: with a password
                yield name, f"damaged in its archive ({error})"


def of_sample(source: PictureSource, archive: str, members: list[tuple[str, bytes | str]]) -> Iterator[Found]:
    beside = {PurePosixPath(name).suffix.lower(): content for name, content in members}
    if ".cls" in beside and not beside.keys() - set(BESIDE):
        yield Found(f"{archive}: {members[0][0]}", b"", trouble=ALONE)
    try:
        known = read_json(beside.get(".json"))
    except ValueError:
        yield Found(f"{archive}: {members[0][0]}", b"", trouble="samples whose .json is none")
        return
    for name, content in members:
        path = PurePosixPath(name)
        if path.suffix.lower() in BESIDE:
            continue
        where = f"{archive}: {name}"
        if isinstance(content, str):
            yield Found(where, b"", trouble=content)
            continue
        parent = path.parent.name
        folder = parent if parent.lower() not in ("", *PARTS) else None
        label = as_text(beside.get(".cls")) or as_text(known.get(source.label)) or folder
        yield Found(where, content, label, as_text(known.get(source.group)) or "")


def read_json(content: bytes | str | None) -> dict[str, Any]:
    """The JSON object in `content`; empty for other JSON, or for no file. Errors: ValueError if it is not JSON."""
    found = json.loads(content) if isinstance(content, bytes) else {}
    return found if isinstance(found, dict) else {}


def as_text(value: Any) -> str | None:
    """A class or group as it was written: a number, or words."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else "" if value is None else str(value)
    return text.strip() or None
