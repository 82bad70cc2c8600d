"""What differs between Linux, macOS and Windows?  Locks of files (flock, lockf), cores, and syncing to disk.

It imports nothing but the standard library. Windows has no such locks: two processes there do not notice each other.
"""

import os
import sys
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def flock(file: IO[Any], shared: bool = False, wait: bool = True) -> None:
    """Lock an open file until it is closed, by this process and by all that it forked since.

    Errors: BlockingIOError if another one holds it, and `wait` is false.
    """
    if fcntl:
        fcntl.flock(file, _way(shared, wait))


def lockf(file: IO[Any], shared: bool = False, wait: bool = True) -> None:
    """Lock a file for this process alone, which may lock it again; a forked process does not hold it.

    Errors: OSError if another one holds it, and `wait` is false.
    """
    if fcntl:
        fcntl.lockf(file, _way(shared, wait))


def _way(shared: bool, wait: bool) -> int:
    return (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)


def available_cores() -> int:
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux's
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def force_to_disk(path: Path) -> None:
    """Return once the file's content, or the folder's list of names, would outlive a power cut."""
    if sys.platform == "win32":
        if path.is_dir():
            return  # Windows opens no folders
        flags = os.O_RDWR | os.O_BINARY
    else:
        flags = os.O_RDONLY
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
