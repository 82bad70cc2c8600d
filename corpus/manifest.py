"""Are the files of a store those that were written?  Its manifest holds a checksum of every block of every file.

A flipped bit gives another text, and nothing in training would notice. A block is checked when it is first read, since
to read all of a large store before the first step would take minutes; the manifest itself is checked when it is opened.
"""

import json
import mmap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy
import xxhash
from numpy.typing import NDArray

BLOCK = 1 << 20  # bytes that share a checksum (XXH3, 64 bits)
RESIDENT = 1 << 28  # bytes of some files that a process has in memory at most
AROUND = 1 << 21  # bytes that come into memory with a byte that is read: Linux 6 maps 2 MB at once


class Mapped:
    """A file as an array that can leave memory, and whose blocks are checked before they are used.

    `about` is what the manifest says of it. Errors: ValueError that names the file, also for ids of `vocabulary` and
    above, where that is given.
    """

    def __init__(self, path: Path, dtype: str, about: Mapping[str, Any], vocabulary: int | None = None) -> None:
        self.path, self.array = path, numpy.empty(0, dtype)
        self._sums = numpy.frombuffer(bytes.fromhex(about["blocks"]), ">u8")
        self._unread = numpy.ones(len(self._sums), bool)
        self._num_unread = len(self._sums)
        found = path.stat().st_size if path.is_file() else 0
        if found != about["bytes"]:
            refuse(path, f"{found} bytes where its manifest says {about['bytes']}")
        if vocabulary is not None and about["largest"] >= vocabulary:
            refuse(path, f"it holds the id {about['largest']}, and the vocabulary ends with {vocabulary - 1}")
        if found:  # mmap refuses an empty file
            with path.open("rb") as file:
                self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.array = numpy.frombuffer(self.map, dtype)

    def at(self, index: NDArray[numpy.int64]) -> NDArray[Any]:
        """The numbers at `index`, in its shape."""
        if self._num_unread:
            blocks = index // (BLOCK // self.array.itemsize)
            for block in numpy.unique(blocks[self._unread[blocks]]):
                self._check(int(block))
        return self.array[index]

    def check(self) -> None:
        """Check all blocks now."""
        for block in numpy.flatnonzero(self._unread):
            self._check(int(block))

    def let_go(self) -> None:
        """Count the file's pages no longer as this process's memory; the system keeps them for as long as it can."""
        if len(self.array):
            self.map.madvise(mmap.MADV_DONTNEED)

    def _check(self, block: int) -> None:
        start = block * BLOCK
        with memoryview(self.map) as whole, whole[start : start + BLOCK] as content:
            if xxhash.xxh3_64_intdigest(content) != self._sums[block]:
                end = start + len(content)
                refuse(self.path, f"its bytes {start:,} to {end:,} have changed since they were written")
        self._unread[block] = False
        self._num_unread -= 1


class Memory:
    """Lets the files go before they have more than RESIDENT bytes in memory."""

    def __init__(self, files: list[Mapped]) -> None:
        self.files, self.taken = files, 0

    def take(self, places: int) -> None:
        """Announce that so many places far from each other will be read, or just were."""
        self.taken += places * AROUND
        if self.taken > RESIDENT:
            self.taken = places * AROUND
            for file in self.files:
                file.let_go()


def refuse(path: Path, damage: str) -> NoReturn:
    home = path.parent.parent
    raise ValueError(f"{path}: damaged: {damage}; delete {home} and give the same command again: it is made anew")


def write_manifest(folder: Path, about: Mapping[str, Any], known: Mapping[str, dict[str, Any]] | None = None) -> None:
    """Write what is in `folder`, its own name, and `about` it.

    `known` is what another manifest says of files that are here too.
    """
    files = {path.name: path for path in sorted(folder.glob("*.bin"))}
    described_files = {name: (known or {}).get(name) or described(path, about["dtype"]) for name, path in files.items()}
    content = json.loads(json.dumps({**about, "folder": folder.name, "files": described_files}))  # as it will be read
    content.pop("checksum", None)  # of the manifest that `about` may be taken from
    (folder / "manifest.json").write_text(json.dumps({**content, "checksum": checksum(content)}, indent=2))


def described(path: Path, dtype: str) -> dict[str, Any]:
    """A file's size and its blocks' checksums, 16 hex digits each; of ids also the largest."""
    blocks, largest = [], -1
    with path.open("rb") as file:
        while content := file.read(BLOCK):
            blocks.append(xxhash.xxh3_64_hexdigest(content))
            if path.name.startswith("ids-"):
                largest = max(largest, int(numpy.frombuffer(content, dtype).max()))
    return {"bytes": path.stat().st_size, "largest": largest, "blocks": "".join(blocks)}


def read_manifest(folder: Path, needed: Iterable[str]) -> dict[str, Any]:
    """What `write_manifest` wrote, if it names the `needed` files. Errors: FileNotFoundError; ValueError if damaged."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder}: no store here: manifest.json is missing; delete {folder.parent} and give the same command "
            "again: it is made anew"
        )
    try:
        manifest = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        refuse(path, "it is not JSON")
    if not isinstance(manifest, dict) or manifest.pop("checksum", None) != checksum(manifest):
        refuse(path, "it is not as it was written, or an earlier version wrote it, without checksums")
    if manifest.get("folder") != folder.name:  # a copy of `held_out` in the place of `train` is whole, and wrong
        refuse(path, f"it belongs to a folder {manifest.get('folder')}")
    if lacking := [name for name in needed if name not in manifest["files"]]:
        refuse(path, f"it does not name {lacking[0]}")
    return manifest


def checksum(content: Any) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(content, sort_keys=True).encode())
