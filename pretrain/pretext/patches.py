"""Which patches of a picture are shown?  Pairs of neighbours, and what is done to them against shortcuts.

Doersch et al. 2015, section 3.1, and the authors' code where it says more. Whatever is drawn for a picture is a
function of (key, its index).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from corpus.images.pictures import Ints, Pixels, Shots
from engine.train import draws
from networks.relative_position import PLACES

Floats = npt.NDArray[np.float32]
FORWARD = np.array([4, 5, 6, 7])  # places to the right and below: with their opposites, each is asked once


@dataclass(frozen=True)
class Layout:
    """How two patches lie beside each other, in pixels."""

    patch: int
    gap: int
    jitter: int  # by which each is moved at most, in both directions

    @property
    def span(self) -> int:
        """The side of a square that holds any two neighbours, wherever they are moved."""
        return 2 * self.patch + self.gap + 2 * self.jitter

    def corners(self, heights: Ints, widths: Ints, index: Ints, times: int, key: int) -> tuple[Ints, Ints]:
        """For B pictures of such sizes: where their pairs lie, and how.

        Upper left corners (B, K, 2, 2) of the first and second patch of K = 4 `times` pairs; the place (K,) of the
        second beside the first. The square that holds a pair lies anywhere, whatever their place: so where a pair
        is in its picture says nothing of it.
        """
        place = np.tile(FORWARD, times)
        pair = np.arange(len(place))
        room = np.stack([heights, widths], 1)[:, None] - self.span + 1  # (B, 1, 2)
        square = draws.integers(draws.stream("square", key), room, index[:, None, None], pair[:, None], np.arange(2))
        towards = np.array(PLACES)[place]  # (K, 2)
        step = self.patch + self.gap
        first = self.jitter + (1 - towards) * step // 2  # (K, 2): 0, half a step, or a step
        nominal = np.stack([first, first + towards * step], 1)  # (K, 2, 2)
        moved = draws.integers(
            draws.stream("jitter", key), 2 * self.jitter + 1, index[:, None, None, None], pair[:, None, None],
            np.arange(2)[:, None], np.arange(2),
        )  # fmt: skip
        return square[:, :, None] + nominal + moved - self.jitter, place


def cut_pairs(
    shots: Shots, layout: Layout, area: float, spread: tuple[float, ...], times: int, key: int
) -> tuple[Pixels, Ints]:
    """Cut K = 4 `times` pairs of neighbours out of each of B pictures, which is first made `area` pixels large, times
    a number drawn from `spread`, or larger where a pair would find no room. Patches (B, K, 2, P, P, 3), places (K,)."""
    sizes = np.array([picture.shape[:2] for picture in shots.pixels])  # (B, 2)
    chance = draws.uniform(draws.stream("area", key), shots.index)
    wanted = area * (spread[0] + chance * (spread[-1] - spread[0]))
    factor = np.maximum(np.sqrt(wanted / sizes.prod(1)), layout.span / sizes.min(1))
    scaled = np.floor(sizes * factor[:, None] + 1e-6).astype(np.int64)
    corners, place = layout.corners(scaled[:, 0], scaled[:, 1], shots.index, times, key)
    patches = np.empty((*corners.shape[:3], layout.patch, layout.patch, 3), np.uint8)
    for number, picture in enumerate(shots.pixels):
        flat = corners[number].reshape(-1, 2)
        found = cut(picture, flat, layout.patch, scaled[number] / sizes[number])
        patches[number] = found.reshape(patches.shape[1:])
    return patches, place


def cut(picture: Pixels, corners: Ints, patch: int, factor: npt.NDArray[np.float64]) -> Pixels:
    """Patches (N, P, P, 3) at `corners` (N, 2) of a picture that is made `factor` (2,) times as high and wide: of it,
    only they are made."""
    if np.all(factor == 1):
        windows = np.lib.stride_tricks.sliding_window_view(picture, (patch, patch), (0, 1))
        return windows[corners[:, 0], corners[:, 1]].transpose(0, 2, 3, 1)
    image, (down, across) = Image.fromarray(picture), 1 / factor
    boxes = [(c * across, r * down, (c + patch) * across, (r + patch) * down) for r, c in corners.tolist()]
    return np.stack([np.asarray(image.resize((patch, patch), Image.Resampling.BILINEAR, box=_inside(box, image)))
                     for box in boxes])  # fmt: skip


def _inside(box: tuple[float, ...], image: Image.Image) -> tuple[float, float, float, float]:
    """A box that rounding has not moved out of its image."""
    left, upper, right, lower = box
    return left, upper, min(right, image.width), min(lower, image.height)


def blur_some(patches: Pixels, share: float, least: int, key: int, index: Ints, number: Ints) -> Pixels:
    """Make a `share` of the patches (N, P, P, 3) smaller, by chance down to `least` pixels, and large again. Patch
    `number` (N,) of picture `index` (N,)."""
    side = patches.shape[1]
    chosen = np.flatnonzero(draws.uniform(draws.stream("blur", key), index, number) < share)
    if not len(chosen):
        return patches
    sides = least + draws.integers(draws.stream("side", key), side - least + 1, index[chosen], number[chosen])
    matrix = _blurs(side, least)[sides - least]  # (C, P, P)
    some = patches[chosen].astype(np.float32)
    rows = (matrix @ some.reshape(len(chosen), side, -1)).reshape(some.shape)
    columns = matrix[:, None] @ rows  # (C, P, P, 3): each row of pixels, by its columns
    found = patches.copy()
    found[chosen] = np.clip(np.rint(columns), 0, 255).astype(np.uint8)
    return found


@lru_cache(maxsize=4)
def _blurs(side: int, least: int) -> Floats:
    """What a row of `side` pixels becomes that was made `least`, `least` + 1, ... pixels long: a matrix each."""
    straight, bilinear = Image.fromarray(np.eye(side, dtype=np.float32)), Image.Resampling.BILINEAR
    return np.stack([
        np.asarray(straight.resize((side, short), bilinear).resize((side, side), bilinear))
        for short in range(least, side + 1)
    ])  # fmt: skip


def keep_one_channel(patches: Pixels, key: int, index: Ints, number: Ints) -> Pixels:
    """Keep red, green or blue of each patch (N, P, P, 3), by chance, and give the others noise of one grey value."""
    kept = draws.integers(draws.stream("channel", key), 3, index, number)  # (N,)
    area = patches.shape[1] * patches.shape[2]
    words = np.arange(-(-3 * area // 64))
    coins = draws.bits(draws.stream("noise", key), index[:, None], number[:, None], words)
    found = np.unpackbits(coins.view(np.uint8), axis=1)[:, : 3 * area].reshape(patches.shape)
    rows = np.arange(len(patches))
    found[rows, :, :, kept] = patches[rows, :, :, kept]
    return found
