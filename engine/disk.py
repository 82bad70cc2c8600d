"""How does something appear on disk whole or not at all?  It is written aside, forced to disk, and renamed."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a folder to fill, which becomes `target` at the end, in place of what was there; on an error nothing does.

    What a killed writer left is removed by the next one. Two writers of one target must exclude each other.
    """
    aside, old = (target.with_name(f".{target.name}.{role}") for role in ("writing", "old"))
    for left in (aside, old):
        shutil.rmtree(left, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        for path in [*aside.rglob("*"), aside]:
            force_to_disk(path)
        if target.exists():
            target.rename(old)
        aside.rename(target)
        force_to_disk(target.parent)
    finally:
        for left in (aside, old):
            shutil.rmtree(left, ignore_errors=True)


def whole_file(path: Path, content: bytes) -> None:
    """Write one file; of several writers, each writes a whole one and the last stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_bytes(content)
    force_to_disk(aside)
    aside.replace(path)


def force_to_disk(path: Path) -> None:
    """Return once the file's content, or the folder's list of names, would outlive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
