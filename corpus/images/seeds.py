"""Where do the patches of exemplar networks lie?  Where the picture changes: seeds, drawn by their gradient energy.

Dosovitskiy et al. 2014, section 2.1: N seed patches from different pictures, in proportion to the mean squared
magnitude of the gradient, since a patch of sky is not to be told from another one. A picture is cut by a grid, shifted
at random, so its patches do not overlap; of all patches, N are drawn without replacement (Efraimidis & Spirakis 2006),
no second one of a picture while there are pictures without one. What is kept of a seed is the window around it that
transformations reach.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from corpus.images.pictures import Ints, Pictures, Pixels
from corpus.images.scaling import scale
from corpus.images.transformations import ROOM, Colours
from engine.train import draws

PICTURES_A_SEED = 4  # that are looked at, at most
AT_ONCE = 256  # pictures


@dataclass(frozen=True)
class Seeds:
    """N patches of `size` x `size` pixels, each in the middle of a window, and the colours of all of them."""

    windows: Pixels  # (N, W, W, 3)
    pictures: Ints  # (N,) the number of the picture that each is from
    labels: Ints  # (N,) its class; -1 where it has none
    colours: Colours
    size: int

    def __len__(self) -> int:
        return len(self.windows)


def side_of(size: int) -> int:
    """The side of a window around a patch of `size` pixels: as even or odd as the patch."""
    return size + 2 * math.ceil((ROOM - 1) * size / 2)


def choose_seeds(pictures: Pictures, members: Ints, number: int, size: int, shorter_side: int) -> Seeds:
    """Choose `number` seeds of `size` pixels, or as many as there are, among the pictures `members`, whose shorter side
    is made `shorter_side` where it is longer. A function of its arguments; the order of `members` changes nothing."""
    members = np.sort(members)
    looked_at = members[draws.permutation(draws.stream("pictures"), len(members))[: PICTURES_A_SEED * number]]
    found = [
        (rank, -chance, picture, corner)
        for picture, pixels in load_scaled(pictures, looked_at, size, shorter_side)
        for rank, (chance, corner) in enumerate(list_patches(picture, pixels, size))
    ]
    corners: dict[int, list[tuple[int, int]]] = {}
    for *_, picture, corner in sorted(found)[:number]:
        corners.setdefault(picture, []).append(corner)
    kept = [
        (picture, cut(pixels, corner, size))
        for picture, pixels in load_scaled(pictures, np.array(sorted(corners)), size, shorter_side)
        for corner in corners[picture]
    ]
    numbers, windows = np.array([picture for picture, _ in kept]), np.stack([window for _, window in kept])
    return Seeds(windows, numbers, pictures.labels[numbers], colours_of(windows, size), size)


def load_scaled(pictures: Pictures, members: Ints, size: int, shorter_side: int) -> Iterator[tuple[int, Pixels]]:
    """Each picture of `members`, with its number; its shorter side has `size` pixels at least, and at most
    `shorter_side`."""
    for start in range(0, len(members), AT_ONCE):
        some = members[start : start + AT_ONCE]
        for picture, pixels in zip(some.tolist(), pictures.load(some, shorter_side), strict=True):
            yield picture, scale(pixels, size, shorter_side)


def list_patches(picture: int, pixels: Pixels, size: int) -> list[tuple[float, tuple[int, int]]]:
    """The patches of a grid, each with its chance and the (row, column) of its first pixel; the best chance first."""
    sides = np.array(pixels.shape[:2])
    number = sides // size
    first = draws.integers(draws.stream("grid"), sides - number * size + 1, picture, np.arange(2))
    down, right = np.gradient(pixels.mean(2))
    energy = down**2 + right**2
    (rows, columns), (row, column) = number, first
    inside = energy[row : row + rows * size, column : column + columns * size]
    energies = inside.reshape(rows, size, columns, size).mean((1, 3)).ravel()
    drawn = draws.uniform(draws.stream("seeds"), picture, np.arange(rows * columns))
    chances = np.log(np.maximum(drawn, 1e-300)) / np.maximum(energies, 1e-12)  # of the largest weighted draws
    return [
        (float(chances[place]), (int(row + place // columns * size), int(column + place % columns * size)))
        for place in np.argsort(-chances, kind="stable")
    ]


def cut(pixels: Pixels, corner: tuple[int, int], size: int) -> Pixels:
    """The window around a patch; what lies outside the picture is its reflection."""
    border = (side_of(size) - size) // 2
    row, column = corner
    height, width = pixels.shape[:2]
    rows, columns = (reflected(np.arange(start - border, start + size + border), length)
                     for start, length in ((row, height), (column, width)))  # fmt: skip
    return pixels[rows[:, None], columns]


def reflected(places: Ints, length: int) -> Ints:
    """Places on a line of `length` pixels that is mirrored at both ends, again and again."""
    places = places % (2 * length)
    return np.minimum(places, 2 * length - 1 - places)


def colours_of(windows: Pixels, size: int) -> Colours:
    """The principal components of the patches' pixels, of some millions of them."""
    border = (windows.shape[1] - size) // 2
    patches = windows[:: max(1, len(windows) * size**2 // 4_000_000), border:-border, border:-border]
    return Colours.of(patches.reshape(-1, 3) / np.float32(255))
