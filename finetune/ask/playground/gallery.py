"""Which pictures of a collection are near to one?  By each stage of a model's trunk, and by raw pixels.

The collection is a folder that was named, or that which a run was trained on, in the store that training made of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from corpus.images.opening import Collection
from corpus.images.pictures import Pixels
from corpus.images.scaling import middle
from corpus.images.source import PictureSource
from corpus.images.store import StoredPictures, find_stored, prepare
from engine.run.disk import read_json
from engine.run.folders import ANEW
from engine.run.tracking import recipe_of
from engine.train import draws
from networks.trunk import Squares, Trunk, take_pixels
from networks.word_vectors import nearest

MOST = 2_000  # pictures that are looked at
MOST_SIDE = 96  # pixels of their sides
AT_ONCE = 100  # pictures in a forward pass
PIXELS = "raw pixels"


@dataclass(frozen=True)
class Near:
    """A picture of the collection: its square, its class ("" for none), and its cosine with the one that was asked."""

    square: Pixels
    label: str
    cosine: float


@dataclass
class Gallery:
    """Some pictures of a collection, as a trunk sees them: the square in the middle of each."""

    trunk: Trunk
    pictures: StoredPictures
    labels: list[str] = field(default_factory=list)
    squares: Squares = field(default_factory=lambda: np.empty((0, 0, 0, 3), np.uint8))
    features: dict[str, Tensor] = field(default_factory=dict)  # (N, D) of pixels and of each stage; none before `look`

    @property
    def side(self) -> int:
        return min(self.trunk.side, MOST_SIDE)

    def look(self) -> Iterator[tuple[int, int]]:
        """Look at the pictures, once: how many were looked at, of how many, from time to time."""
        if self.features:
            return
        order = draws.permutation(draws.stream("gallery"), len(self.pictures))[:MOST]
        squares, parts = [], []
        for start in range(0, len(order), AT_ONCE):
            yield start, len(order)
            loaded = self.pictures.load(order[start : start + AT_ONCE], self.side)
            squares.append(np.stack([middle(pixels, self.side) for pixels in loaded]))
            parts.append(self.describe(squares[-1]))
        names = [*self.pictures.classes, ""]  # the last one is that of -1, no class
        self.labels = [names[number] for number in self.pictures.labels[order].tolist()]
        self.squares = np.concatenate(squares)
        self.features = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def describe(self, squares: Squares) -> dict[str, Tensor]:
        """Features (N, D) of squares: their pixels, and the mean of each stage's map."""
        stages = {name: maps.flatten(1) for name, maps in self.trunk.describe(squares, 1).items()}
        return {PIXELS: take_pixels(squares), **stages}

    def square_of(self, pixels: Pixels) -> Pixels:
        """What the trunk sees of a picture."""
        return np.array(middle(pixels, self.side))  # torch takes what can be written to

    def find_near(self, square: Pixels, by: str, count: int) -> list[Near]:
        """The `count` pictures nearest to a square by PIXELS or by a stage, nearest first; `look` comes before."""
        cosines, rows = nearest(self.features[by], self.describe(square[None])[by], count)
        return [Near(self.squares[row], self.labels[row], cosine)
                for row, cosine in zip(rows[0].tolist(), cosines[0].tolist(), strict=True)]  # fmt: skip


def open_folder(folder: str) -> StoredPictures:
    """The pictures in a folder, and below it. Errors: FileNotFoundError and ValueError where there are none."""
    asked = Collection((PictureSource("folder", folder),))
    return prepare(asked.sources, Path(asked.stores), asked.held_out, asked.decoded_side)


def open_collection(run: Path) -> StoredPictures | None:
    """What a run was trained on; None where its store is no more. Errors: ValueError for what is damaged."""
    images, stamps = recipe_of(run).get("images"), run / "stamps.json"
    if not isinstance(images, dict) or not stamps.is_file():
        return None
    fingerprint = read_json(stamps, "corpus", advice=ANEW)["corpus"]
    places = [folder / images.get("stores", "") for folder in (Path(), *run.absolute().parents)]
    return next((found for place in places if (found := find_stored(place, fingerprint))), None)
