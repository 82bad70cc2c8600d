"""Which colours occur, and which go with which lightness?  Counted once on the training pictures, beside their store.

Zhang et al. 2016, section 2.2, take the bins and their prior from ImageNet; here they are those of one's own pictures.
The prior is the mean of the pixels' targets, which smooths it. The same counts give p(ab | L): what somebody says of a
pixel's colour who knows its lightness, and nothing of what is around it. A model that does no better has learnt
nothing of pictures, so the log shows it beside each evaluation.
"""

import json
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from corpus.files import digest, locked
from corpus.images.medium import Images
from corpus.images.pictures import Album, Ints, PictureChapter, Pixels, Shots
from corpus.images.scaling import scale
from engine.run.disk import read_json, whole_file
from engine.train import draws
from networks.colors import REACH, Bins
from networks.lab import rgb_to_lab

Floats = npt.NDArray[np.float32]

LEVELS = 51  # of lightness, in steps of 2
SPAN = 2 * REACH + 1  # whole numbers that a, and b, may be
SMOOTHING = 100  # pixels of the prior that are added to each level of lightness
AT_ONCE = 256  # pictures


@dataclass(frozen=True)
class Cut:
    """How a picture becomes lightness and colours."""

    image_size: int  # pixels of the sides of a picture as it is shown
    reduction: int  # the sides of a picture are so many times those of its map of colours
    grey: float  # a picture of which |a| + |b| is nowhere above it is grey, and asks nothing

    @property
    def least(self) -> int:
        """Pixels of the shorter side of a picture that the squares are cut from: an eighth is left to chance."""
        return round(self.image_size * 8 / 7)


@dataclass(frozen=True)
class Colors:
    """B pictures as lightness, 0 to 100, and colours."""

    lightness: Floats  # (B, H, W)
    ab: Floats  # (B, h, w, 2) the means of squares of pixels
    coarse: Floats  # (B, h, w) the lightness of the same squares
    is_asked: npt.NDArray[np.bool_]  # (B,) it is not grey


def read_colors(shots: Shots, cut: Cut, key: int) -> Colors:
    """Cut B pictures to squares, at random, half of them mirrored, and take their colours off."""
    lab = rgb_to_lab(cut_squares(shots, cut, key))
    side, step = cut.image_size // cut.reduction, cut.reduction
    small = lab.reshape(-1, side, step, side, step, 3).mean((2, 4))
    is_asked = (np.abs(small[..., 1:]).sum(-1) > cut.grey).any((1, 2))
    return Colors(lab[..., 0], small[..., 1:], small[..., 0], is_asked)


def cut_squares(shots: Shots, cut: Cut, key: int) -> Pixels:
    """Squares (B, S, S, 3) of the pictures. A larger picture is made smaller first, one that is too small larger."""
    size, corners, mirrored = cut.image_size, draws.stream("corner", key), draws.stream("mirrored", key)
    found = np.empty((len(shots.pixels), size, size, 3), np.uint8)
    for place, (pixels, index) in enumerate(zip(shots.pixels, shots.index.tolist(), strict=True)):
        side = cut.least if min(pixels.shape[:2]) >= cut.least else size
        scaled = scale(pixels, side, side)
        room = np.array(scaled.shape[:2]) - size + 1
        row, column = draws.integers(corners, room, index, np.arange(2)).tolist()
        found[place] = scaled[row : row + size, column : column + size]
    turned = draws.uniform(mirrored, shots.index) < 0.5
    found[turned] = found[turned, :, ::-1]
    return found


@dataclass(frozen=True)
class ColorTable:
    """The bins of a collection, and p(ab | L)."""

    bins: Bins
    given_lightness: Floats  # (LEVELS, Q) each row sums to 1

    @staticmethod
    def of_counts(counts: Ints) -> "ColorTable":
        """Of how many pixels there are of each lightness, a and b: (LEVELS * SPAN * SPAN,)."""
        place = np.flatnonzero(counts)
        level, ab, share = place // SPAN**2, np.stack([place // SPAN % SPAN, place % SPAN], 1) - REACH, counts[place]
        bins = Bins.around(ab, share)
        targets, shares = bins.encode(ab.astype(np.float32))
        cell = level[:, None] * len(bins) + targets
        seen = np.bincount(cell.ravel(), (shares * share[:, None]).ravel(), LEVELS * len(bins))
        found = seen.reshape(LEVELS, -1) + SMOOTHING * bins.prior.astype(np.float64)
        return ColorTable(bins, (found / found.sum(1, keepdims=True)).astype(np.float32))

    @staticmethod
    @cache
    def unknown() -> "ColorTable":
        """Of no pictures: all that sRGB can show, whatever the lightness."""
        bins = Bins.of_gamut()
        return ColorTable(bins, np.repeat(bins.prior[None], LEVELS, 0))

    def log_given(self, lightness: npt.NDArray[Any]) -> Floats:
        """log p(ab | L) (..., Q) for L (...), from 0 to 100."""
        return self._logs[level_of(lightness)]

    @cached_property
    def _logs(self) -> Floats:
        return np.log(np.maximum(self.given_lightness, 1e-12))

    @cached_property
    def stamp(self) -> str:
        return digest([self.bins.centers.tolist(), self.bins.prior.tolist(), self.given_lightness.tolist()])


@dataclass(frozen=True)
class ColoredImages(Images):
    """Pictures whose colours have been counted."""

    table: ColorTable | None = None


def table_of(medium: Images) -> ColorTable:
    found = medium.table if isinstance(medium, ColoredImages) else None
    return found or ColorTable.unknown()


def with_colors(medium: Images, chapter: PictureChapter, cut: Cut, most: int) -> ColoredImages:
    """The medium with the colours of a chapter, of `most` of its pictures at most, evenly taken. They are part of what
    a run is tied to. Errors: ValueError if all of them are grey."""
    table = open_table(chapter, cut, most)
    about = {name: value for name, value in vars(medium).items() if name != "stamp"}
    return ColoredImages(**about, stamp=digest([medium.stamp, table.stamp]), table=table)


def open_table(chapter: PictureChapter, cut: Cut, most: int) -> ColorTable:
    """The colours of a chapter, counted now if they are not there yet; of two processes one counts, the other waits.

    It is the same table in whatever order the chapter is. Errors: as for `with_colors`.
    """
    chapter = replace(chapter, members=np.sort(chapter.members))
    folder = getattr(chapter.pictures, "folder", None)
    if folder is None:  # pictures that are not stored
        return count_colors(chapter, cut, most)
    members = digest(chapter.members.tolist())
    home = folder.parent / f"colors-{digest({'layout': 1, **asdict(cut), 'most': most, 'members': members})[:16]}.json"
    with locked(home):
        if not home.exists():
            whole_file(home, json.dumps(as_json(count_colors(chapter, cut, most))).encode())
    content = read_json(home, "centers", "prior", "given_lightness", advice="delete it, and it is counted again")
    bins = Bins(np.array(content["centers"], np.int64), np.array(content["prior"], np.float32))
    return ColorTable(bins, np.array(content["given_lightness"], np.float32))


def as_json(table: ColorTable) -> dict[str, Any]:
    return {
        "centers": table.bins.centers.tolist(),
        "prior": table.bins.prior.tolist(),
        "given_lightness": table.given_lightness.tolist(),
    }


def count_colors(chapter: PictureChapter, cut: Cut, most: int) -> ColorTable:
    """Errors: ValueError if all pictures are grey."""
    album, counts = Album(chapter, cut.image_size, cut.least), np.zeros(LEVELS * SPAN**2, np.int64)
    chosen = np.unique(np.linspace(0, len(album) - 1, min(most, len(album))).astype(np.int64))
    for start in range(0, len(chosen), AT_ONCE):
        found = read_colors(album.take(chosen[start : start + AT_ONCE]), cut, 0)
        a, b = np.moveaxis(np.rint(found.ab[found.is_asked]).astype(np.int64) + REACH, -1, 0)
        place = (level_of(found.coarse[found.is_asked]) * SPAN + a) * SPAN + b
        counts += np.bincount(place.ravel(), minlength=len(counts))
    if not counts.any():
        raise ValueError(
            f"all of {len(chosen):,} pictures are grey (|a| + |b| is nowhere above {cut.grey:g}), so there are no "
            "colours to learn: give pictures in colours, or a lower objective.grey"
        )
    return ColorTable.of_counts(counts)


def level_of(lightness: npt.NDArray[Any]) -> Ints:
    """Of a lightness from 0 to 100: 0 to LEVELS - 1."""
    return np.clip(lightness / 100 * (LEVELS - 1), 0, LEVELS - 1).round().astype(np.int64)
