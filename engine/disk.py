"""How does something appear on disk whole or not at all?  It is written aside, forced to disk, and renamed."""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(target: Path, needed: int = 0) -> Iterator[Path]:
    """Give a folder to fill, which becomes `target` at the end, in place of what was there; on an error nothing does.

    What a killed writer left is removed by the next one. Two writers of one target must exclude each other. `needed` is
    how many bytes will be written, where that is known. Errors: OSError, before anything is written if possible, that
    says how much room there is.
    """
    aside, old = (target.with_name(f".{target.name}.{role}") for role in ("writing", "old"))
    for left in (aside, old):
        shutil.rmtree(left, ignore_errors=True)
    with room(target, needed):
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


@contextmanager
def alone(target: Path, doing: str) -> Iterator[None]:
    """Exclude other processes that would make `target` meanwhile. Errors: FileExistsError if one is `doing` so already,
    which names what it does."""
    path = target.with_name(f".{target.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                raise BlockingIOError  # another one ended just now, and took its lock away
        except BlockingIOError:
            raise FileExistsError(
                f"another process is {doing} {target}; wait for it and give the command again, or give another name"
            ) from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def whole_file(path: Path, content: bytes) -> None:
    """Write one file; of several writers, each writes a whole one and the last stays. Errors: OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with room(path, len(content)):
            aside.write_bytes(content)
            force_to_disk(aside)
            aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def room(path: Path, needed: int) -> Iterator[None]:
    """Say what is missing, if `needed` bytes do not fit where `path` will be, now or when the writing gets there."""
    free = shutil.disk_usage(next(folder for folder in path.absolute().parents if folder.exists())).free
    shortage = OSError(
        f"{path} cannot be written: it needs {needed:,} bytes, and {free:,} are free; what was there before is kept. "
        "Make room and give the same command again"
    )
    if needed > free:
        raise shortage
    try:
        yield
    except OSError as error:  # a quota or another writer: what is free was not free to us
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise shortage from error
        raise


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
