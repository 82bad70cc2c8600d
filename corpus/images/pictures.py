"""Which pictures are there?  A collection that gives the pixels of any of them, and what is known of it.

Nothing here is random: a picture is asked for by its number, and is the same each time, on every worker and process.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]  # (H, W, 3), sRGB


class Pictures(Protocol):
    """Pictures 0 .. N - 1."""

    def __len__(self) -> int: ...

    @property
    def labels(self) -> Ints:
        """(N,) The class of each; -1 where it has none."""

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes."""

    def load(self, index: Ints, least: int = 0) -> list[Pixels]:
        """The pictures `index` (B,), each in its own size (H, W, 3). `least`: as small as the file can be decoded where
        its shorter side still has so many pixels; 0: whole."""


@dataclass(frozen=True)
class PictureChapter:
    """Pictures that are shuffled together: `members` (K,) of a collection."""

    pictures: Pictures
    members: Ints
    is_last: bool = True
    cursor: dict[str, Any] = field(default_factory=dict)  # what a stream has to remember
    next_cursor: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shots:
    """B pictures as a split takes them. Whatever is drawn for a picture is a function of (key, its index)."""

    pixels: list[Pixels]
    index: Ints  # (B,) their numbers in the collection
    labels: Ints  # (B,)
    size: int = 0  # of an example, in pixels, as the recipe or its phase says


class Album:
    """The pictures of a chapter, one an example: what most objectives on images make of it."""

    def __init__(self, chapter: PictureChapter, size: int, least: int | None = None):
        """`size` is that of an example; `least`: see `Pictures.load`, by default the size."""
        self.chapter, self.size, self.least = chapter, size, size if least is None else least

    def __len__(self) -> int:
        return len(self.chapter.members)

    def take(self, index: Ints) -> Shots:
        pictures, members = self.chapter.pictures, self.chapter.members[index]
        return Shots(pictures.load(members, self.least), members, pictures.labels[members], self.size)

    def report(self) -> list[str]:
        return [f"{len(self):,} pictures, one an example."]
