"""How does something appear on disk whole or not at all?  It is written aside, forced to disk, and renamed."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from engine.run.system import flock, force_to_disk


@contextmanager
def whole_folder(target: Path, needed: int = 0) -> Iterator[Path]:
    """Give a folder to fill, which becomes `target` at the end, in place of what was there; on an error nothing does.

    What a killed writer left is removed by the next one. Two writers of one target must exclude each other. `needed` is
    how many bytes will be written, where that is known. Errors: OSError, before anything is written if possible, that
    says how much room there is.
    """
    aside, old = (target.with_name(f".{target.name}.{role}") for role in ("writing", "old"))
    for left in (aside, old):
        remove(left)
    with room(target, needed):
        aside.mkdir(parents=True)
        try:
            yield aside
            for path in [*aside.rglob("*"), aside]:
                force_to_disk(path)
            if target.exists() or target.is_symlink():
                target.rename(old)
            aside.rename(target)
            force_to_disk(target.parent)
        finally:
            for left in (aside, old):
                remove(left)


@contextmanager
def alone(target: Path, doing: str) -> Iterator[None]:
    """Exclude other processes that would make `target` meanwhile. Errors: FileExistsError if one is `doing` so already,
    which names what it does."""
    path = target.with_name(f".{target.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            flock(file, wait=False)
            if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                raise BlockingIOError  # another one ended just now, and took its lock away
        except BlockingIOError:
            raise FileExistsError(
                f"another process is {doing} {target}; wait for it and give the command again, or give another name"
            ) from None
        try:
            yield
        finally:
            with suppress(PermissionError):  # Windows deletes no open file
                path.unlink(missing_ok=True)


def whole_file(path: Path, content: bytes) -> None:
    """Write one file; of several writers, each writes a whole one and the last stays. Errors: as for `written`."""
    with written(path, len(content)) as file:
        file.write(content)


@contextmanager
def written(path: Path, needed: int = 0) -> Iterator[BinaryIO]:
    """Give a file to write, which becomes `path` when it is whole. A link stays, and what it leads to is replaced.

    What is no regular file, such as a device, a pipe or /dev/stdout, cannot be replaced: it is written into as it goes.
    Errors: OSError that names the path; BrokenPipeError if who reads a pipe has enough.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it")
    number = open_descriptor(path)
    if number is not None or (path.exists() and not path.is_file()):
        try:
            with os.fdopen(os.dup(number), "wb") if number is not None else path.open("wb") as file:
                yield file
        except OSError as error:
            if error.filename or isinstance(error, BrokenPipeError):  # of another file; nobody reads on
                raise
            raise OSError(f"{path} cannot be written to: {error.strerror or error}") from error
        return
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    if path.is_symlink():
        raise OSError(f"{path} is a link that leads to itself")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        there = next(folder for folder in path.parents if folder.exists())
        raise NotADirectoryError(f"{path} cannot be made: {there} is no folder; name another place") from None
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with room(path, needed):
            with aside.open("wb") as file:
                yield file
            force_to_disk(aside)
            aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Delete a file, a folder with all that it holds, or a symbolic link but not what it leads to; or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def read_json(path: Path, *keys: str, advice: str) -> dict[str, Any]:
    """Read a JSON object that has the `keys`. Errors: ValueError that names the file, with `advice`."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); {advice}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged (it holds {type(found).__name__}, not an object); {advice}")
    if missing := [key for key in keys if key not in found]:
        raise ValueError(f"{path} is damaged (it lacks {', '.join(missing)}); {advice}")
    return found


def open_descriptor(path: Path) -> int | None:
    """The number of the open file that a path such as /dev/stdout or /dev/fd/3 stands for; None for any other path.

    To open such a path anew would begin at the start of a file that the shell had opened to append to.
    """
    own = {Path(folder).resolve() for folder in ("/proc/self/fd", "/proc/thread-self/fd")}
    for _ in range(40):  # as many links as Linux follows
        if path.parent.resolve() in own and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None


@contextmanager
def room(path: Path, needed: int) -> Iterator[None]:
    """Say what is missing, if `needed` bytes do not fit where `path` will be, now or when the writing gets there."""
    free = shutil.disk_usage(next(folder for folder in path.absolute().parents if folder.exists())).free
    need = f"{needed:,}" if needed else "more"  # how much more is not known beforehand
    shortage = OSError(
        f"{path} cannot be written: it needs {need} bytes, and {free:,} are free; what was there before is kept. "
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


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
