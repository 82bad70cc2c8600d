"""How does one picture become many?  The transformations of exemplar networks, for a whole batch at once.

Dosovitskiy et al. 2014, section 2.1 (data augmentation): a patch is shifted, scaled and turned; its colours are
stretched along the principal components of all pixels; saturation and value are raised to a power, multiplied and
shifted; the hue is shifted. Shift, scale and angle are one affine resampling, and the colours of all patches of a batch
are changed together. What is drawn for a patch is a function of (key, its number, which of its draws) alone.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from engine.run.recipe import check_least
from engine.train import draws

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
ROOM = 2.25  # the side of the square around a patch that is ever looked at, in sides of the patch: see `check`


@dataclass(frozen=True)
class Transformations:
    """How far a patch is changed. Factors and powers of a pair are drawn evenly on a logarithmic scale; the others
    evenly between minus and plus the value. The defaults are the paper's."""

    translation: float = 0.2  # along each side, in sides of the patch
    scale: tuple[float, float] = (0.7, 1.4)  # how much larger things appear
    rotation: float = 20.0  # degrees
    contrast: tuple[float, float] = (0.5, 2.0)  # a factor for each principal component of the pixels' colours
    power: tuple[float, float] = (0.25, 4.0)  # of saturation and value
    factor: tuple[float, float] = (0.7, 1.4)  # of saturation and value
    shift: float = 0.1  # of saturation and value, which are between 0 and 1
    hue: float = 0.1  # of the hue, of which 1 is the whole circle

    def __post_init__(self) -> None:
        check_least(self, 0, "translation", "rotation", "shift", "hue")
        for name in ("scale", "contrast", "power", "factor"):
            bounds = getattr(self, name)
            if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1]:
                raise ValueError(f"{name} is {list(bounds)}; it needs two numbers above 0, the smaller one first, such "
                                 "as [0.7, 1.4]")  # fmt: skip
        angle = np.radians(min(self.rotation, 45.0))
        reach = self.translation + (np.cos(angle) + np.sin(angle)) / (2 * self.scale[0])
        if reach > ROOM / 2:
            raise ValueError(
                f"they reach {reach:.2f} sides of a patch away from its middle, and {ROOM / 2} are kept: "
                "lower translation or rotation, or raise the first number of scale"
            )


@dataclass(frozen=True)
class Parameters:
    """What was drawn for B patches."""

    translation: Floats  # (B, 2) to the right and down, in sides of the patch
    scale: Floats  # (B,)
    rotation: Floats  # (B,) radians, anticlockwise
    contrast: Floats  # (B, 3)
    power: Floats  # (B, 2) of saturation and value
    factor: Floats  # (B, 2)
    shift: Floats  # (B, 2)
    hue: Floats  # (B,)


def unchanged(number: int) -> Parameters:
    """The parameters that leave patches as they are."""
    zeros, ones = (np.full((number, 3), value, np.float32) for value in (0, 1))
    return Parameters(zeros[:, :2], ones[:, 0], zeros[:, 0], ones, ones[:, :2], ones[:, :2], zeros[:, :2], zeros[:, 0])


def draw_parameters(strengths: Transformations, key: int, index: Ints, draw: Ints) -> Parameters:
    """Draw for the patches `index` (B,), each for the `draw`-th time (B,)."""
    rolled = draws.uniform(draws.stream("transformations", key), index[:, None], draw[:, None], np.arange(14))

    def around(column: int, number: int, most: float) -> Floats:
        return ((2 * rolled[:, column : column + number] - 1) * most).astype(np.float32)

    def factors(column: int, number: int, bounds: tuple[float, float]) -> Floats:
        low, high = np.log(bounds)
        return np.exp(low + rolled[:, column : column + number] * (high - low)).astype(np.float32)

    return Parameters(
        translation=around(0, 2, strengths.translation),
        scale=factors(2, 1, strengths.scale)[:, 0],
        rotation=around(3, 1, np.radians(strengths.rotation))[:, 0],
        contrast=factors(4, 3, strengths.contrast),
        power=factors(7, 2, strengths.power),
        factor=factors(9, 2, strengths.factor),
        shift=around(11, 2, strengths.shift),
        hue=around(13, 1, strengths.hue)[:, 0],
    )


@dataclass(frozen=True)
class Colours:
    """The principal components of a set of pixels: `mean` (3,), and `axes` (3, 3), one a column."""

    mean: Floats
    axes: Floats

    @staticmethod
    def of(pixels: npt.NDArray[np.floating]) -> "Colours":
        """Those of `pixels` (M, 3) between 0 and 1."""
        mean = pixels.mean(0, dtype=np.float64)
        away = pixels - mean
        return Colours(mean.astype(np.float32), np.linalg.eigh(away.T @ away)[1].astype(np.float32))


def transform(windows: Tensor, size: int, drawn: Parameters, colours: Colours) -> Tensor:
    """Transform patches of `size` x `size` pixels, each in the middle of a window (B, 3, W, W) between 0 and 1; what
    lies outside a window is its reflection. Return (B, 3, size, size) between 0 and 1."""
    return recolour(resample(windows, size, drawn), drawn, colours)


def resample(windows: Tensor, size: int, drawn: Parameters) -> Tensor:
    """Shift, scale and turn, by one bilinear resampling. Arguments and result as for `transform`."""
    unit = 2 * size / windows.shape[-1]  # a side of a patch, as grid_sample counts: a window is 2 wide
    angle, scale = torch.from_numpy(drawn.rotation), torch.from_numpy(drawn.scale)
    cos, sin = (unit * part / scale for part in (angle.cos(), angle.sin()))
    x, y = -unit * torch.from_numpy(drawn.translation).T
    back = torch.stack([torch.stack([cos, -sin, x], -1), torch.stack([sin, cos, y], -1)], 1)  # (B, 2, 3)
    places = (torch.arange(size) + 0.5) / size - 0.5  # of a patch's pixels, in sides of it
    down, right = torch.meshgrid(places, places, indexing="ij")
    here = torch.stack([right, down, torch.ones_like(down)], -1).reshape(-1, 3)  # (S * S, 3)
    grid = (here @ back.mT).unflatten(1, (size, size))  # (B, S, S, 2): where each pixel comes from
    return grid_sample(windows, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def recolour(patches: Tensor, drawn: Parameters, colours: Colours) -> Tensor:
    """Change contrast, saturation, value and hue of `patches` (B, 3, H, W) between 0 and 1."""
    mean, axes = torch.from_numpy(colours.mean), torch.from_numpy(colours.axes)
    stretch = (axes * torch.from_numpy(drawn.contrast)[:, None, :]) @ axes.T  # (B, 3, 3)
    offset = mean - stretch @ mean  # (B, 3)
    stretched = torch.baddbmm(offset[:, :, None], stretch, patches.flatten(2)).clamp_(0, 1)
    hue, saturation, value = to_hsv(stretched)  # (B, H * W) each
    power, factor, shift = (torch.from_numpy(each) for each in (drawn.power, drawn.factor, drawn.shift))

    def changed(channel: Tensor, number: int) -> Tensor:
        raised = channel.pow_(power[:, number, None])
        return raised.mul_(factor[:, number, None]).add_(shift[:, number, None]).clamp_(0, 1)

    turned = hue.add_(torch.from_numpy(drawn.hue)[:, None])
    return to_rgb(turned, changed(saturation, 0), changed(value, 1)).view_as(patches)


def to_hsv(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue, saturation and value (B, M) between 0 and 1 of red, green and blue (B, 3, M). Grey has hue 0."""
    red, green, blue = pixels.unbind(1)
    value, least = pixels.amax(1), pixels.amin(1)
    spread = value - least
    some = spread.clamp_min(1e-12)
    hue = torch.where(
        value == red, (green - blue) / some,
        torch.where(value == green, (blue - red) / some + 2, (red - green) / some + 4),
    )  # fmt: skip
    hue = hue.div_(6)
    return hue.sub_(hue.floor()), spread / value.clamp_min(1e-12), value


def to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Red, green and blue (B, 3, M) of hue (any number, 1 is the circle), saturation and value (B, M)."""
    chroma = value * saturation
    place = torch.stack([hue + 5 / 6, hue + 3 / 6, hue + 1 / 6], 1)  # (B, 3, M)
    place = place.sub_(place.floor()).mul_(6)
    share = torch.minimum(place, 4 - place).clamp_(0, 1)
    return torch.addcmul(value[:, None], chroma[:, None], share, value=-1)
