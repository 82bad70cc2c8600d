"""Which files does a path mean, and are they those of the last time?  Folders, patterns, hidden files, and a stamp."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.run.disk import sha256, whole_file
from engine.run.recipe import data_path
from engine.run.system import flock

HIDDEN = (".", "~$", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "_temporary")  # how names begin that systems and tools make
CACHE = Path("runs/.cache")
SETTLED = 2_000_000_000  # ns: a younger file could change again without a change of its time


def is_hidden(name: str) -> bool:
    return any(part.startswith(HIDDEN) for part in name.split("/"))


def root_and_pattern(path: str) -> tuple[Path, str]:
    """What is there, and the pattern of what is meant in it. A name that exists is no pattern, whatever is in it.

    Errors: FileNotFoundError.
    """
    parts = Path(path).parts
    for size in range(len(parts), -1, -1):
        if size == len(parts) or is_pattern(parts[size]):
            try:
                return data_path(str(Path(*parts[:size]))), str(Path(*parts[size:])) if size < len(parts) else "**/*"
            except FileNotFoundError:
                continue
    first = next((place for place, part in enumerate(parts) if is_pattern(part)), len(parts))
    return data_path(str(Path(*parts[:first]))), ""  # raises


def is_pattern(part: str) -> bool:
    return bool(set(part) & set("*?["))


def name_in(root: Path, path: Path) -> str:
    """A file's name within its source. Errors: ValueError if it is not UTF-8, which not every reader can open."""
    name = path.relative_to(root).as_posix()
    if not is_utf8(name):
        raise ValueError(f"{root}/{ascii(name)[1:-1]}: the name is not UTF-8; rename the file")
    return name


def is_utf8(name: str) -> bool:
    return name.encode(errors="replace").decode() == name


def stamp_files(found: Sequence[tuple[str, Path]]) -> str:
    """SHA-256 of the files' names and bytes; files that look untouched since the last time are not read again."""
    times = [path.stat().st_mtime_ns for _, path in found]
    looks = [(name, str(path.resolve()), path.stat().st_size) for name, path in found], times
    memo = CACHE / f"fingerprint-{hashlib.sha256(json.dumps(looks).encode()).hexdigest()[:32]}.txt"
    if memo.exists():
        return memo.read_text()
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(sha256, (path for _, path in found)))
    stamp = hashlib.sha256()
    for (name, _), digest in zip(found, digests, strict=True):
        stamp.update(f"{name} {digest}\n".encode())
    if max(times) < time.time_ns() - SETTLED:
        whole_file(memo, stamp.hexdigest().encode())
    return stamp.hexdigest()


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Let one process at a time make `home`; the others wait."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as file:
        flock(file)
        yield


def digest(value: Any) -> str:
    """SHA-256 (hex) of plain JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
