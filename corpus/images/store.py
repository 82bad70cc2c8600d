"""Where do pictures live?  In memory-mapped files, in a folder keyed by their sources, whole or not at all.

FOLDER/KEY/pictures/   content.bin    small pictures as pixels, larger ones as the bytes of their files, one after the
                                      other
                       table.bin      (N,) RECORD: where each begins, its size, its checksum
                       labels.bin     (N,) int64: its class, -1 for none
                       train.bin      (K,) int64: the pictures to train on
                       held_out.bin   (N-K,) int64: those that training never sees
                       manifest.json  what is inside, what it was made of, what was left out (corpus.manifest)
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from corpus.files import digest, locked
from corpus.images.building import RECORD, build
from corpus.images.decoding import DECODING, decode
from corpus.images.pictures import Ints, Pixels
from corpus.images.source import PictureSource, fingerprint, pinned
from corpus.manifest import AROUND, RESIDENT, Mapped, Memory, read_manifest, refuse
from engine.run.disk import whole_folder
from engine.run.system import available_cores

LAYOUT = 2  # of the files: a store of another one is built again, under another key
FILES = ("content.bin", "table.bin", "labels.bin", "train.bin", "held_out.bin")


class StoredPictures:
    """All pictures of a store: a collection (corpus.images.pictures.Pictures). Memory does not grow with it.

    Raises FileNotFoundError if there is no store, ValueError naming a file that is damaged; so may `load`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = read_manifest(folder, FILES)
        about = self.manifest["files"]
        kinds: dict[str, Any] = {"content.bin": np.uint8, "table.bin": RECORD}
        self._content, self._table, self._labels, self.train, self.held_out = (
            Mapped(folder / name, kinds.get(name, np.int64), about[name]) for name in FILES
        )
        tables = (self._table, self._labels, self.train, self.held_out)
        self._memory = Memory([self._content]) if about["content.bin"]["bytes"] > RESIDENT else None
        if sum(len(table.array) * table.array.itemsize for table in tables) <= RESIDENT:
            for table in tables:
                table.check()

    def __len__(self) -> int:
        return len(self._table.array)

    @property
    def labels(self) -> Ints:
        """(N,) The class of each; -1 where it has none."""
        return self._labels.array

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes."""
        found: list[str] = self.manifest["classes"]
        return found

    def sizes(self, index: Ints) -> Ints:
        """(B, 2) Heights and widths, whole."""
        records = self._table.at(index)
        return np.stack([records["height"], records["width"]], axis=-1).astype(np.int64)

    def load(self, index: Ints, least: int = 0) -> list[Pixels]:
        """See corpus.images.pictures.Pictures."""
        records = self._table.at(np.asarray(index))
        if self._memory:
            self._memory.take(len(records) + int(records["size"].sum()) // AROUND)
        return [self._picture(least, *record) for record in records.tolist()]

    def _picture(
        self, least: int, start: int, checksum: int, size: int, height: int, width: int, is_encoded: int
    ) -> Pixels:
        content = self._content.array[start : start + size]
        if xxhash.xxh3_64_intdigest(content.data) != checksum:
            refuse(self._content.path, f"its bytes {start:,} to {start + size:,} have changed since they were written")
        return decode(content.tobytes(), least) if is_encoded else content.reshape(height, width, 3).copy()

    def __reduce__(self) -> tuple[type["StoredPictures"], tuple[Path]]:
        return StoredPictures, (self.folder,)  # a DataLoader worker maps the files anew


def prepare(
    sources: Sequence[PictureSource], folder: Path, held_out: float, decoded_side: int, processes: int | None = None
) -> StoredPictures:
    """The store of these sources; built if it is not there yet. What is built does not depend on `processes` (default:
    one a core). Two builders of one store wait for each other.

    Pictures of no more than `decoded_side` ** 2 pixels are kept as pixels. Errors: what the sources raise, and
    ValueError if no picture is left to train on or to hold out, or if an existing store is damaged.
    """
    origin = origin_of(sources, held_out, decoded_side)
    home = home_of(origin, folder)
    with locked(home):
        if not home.exists():
            with whole_folder(home) as aside:
                build(origin, aside / "pictures", processes or available_cores())
    return StoredPictures(home / "pictures")


def find_stored(folder: Path, fingerprint: str) -> StoredPictures | None:
    """A store in `folder` of sources that have this fingerprint; None if there is none."""
    for manifest in sorted(folder.glob("*/pictures/manifest.json")):
        if fingerprint in manifest.read_text(encoding="utf-8"):
            return StoredPictures(manifest.parent)
    return None


def is_prepared(sources: Sequence[PictureSource], folder: Path, held_out: float, decoded_side: int) -> bool:
    """Whether `prepare` would find the store instead of building it."""
    return home_of(origin_of(sources, held_out, decoded_side), folder).exists()


def origin_of(sources: Sequence[PictureSource], held_out: float, decoded_side: int) -> dict[str, Any]:
    """All that decides what is in a store, as plain JSON."""
    sources = [pinned(source) for source in sources]
    return {
        "layout": LAYOUT,
        "decoding": DECODING,
        "sources": [asdict(source) for source in sources],
        "fingerprint": digest([fingerprint(source) for source in sources]),
        "held_out": held_out,
        "decoded_side": decoded_side,
    }


def home_of(origin: dict[str, Any], folder: Path) -> Path:
    return folder / digest({**origin, "sources": None})[:16]
