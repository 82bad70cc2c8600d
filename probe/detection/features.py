"""What does a model see in each box of a picture?  Features of a frozen trunk, or HOG, which is not trained."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from corpus.images.pictures import Pixels
from networks.trunk import Trunk
from probe.detection.boxes import Boxes
from probe.detection.crops import warp
from probe.detection.pooling import pool_regions
from probe.features import open_trunk
from probe.hog import describe_by_hog

HOG = "hog"  # as --model names it
AT_ONCE = 32  # crops
LONGEST = 8  # how many times map_size the longer side of a picture may be: that of a narrow strip would fill the memory
Describe = Callable[[Pixels, Boxes], npt.NDArray[np.float32]]  # a picture and boxes (N, 4) -> features (N, D)


@dataclass(frozen=True)
class View:
    """How boxes are looked at; see the fields of `Detection`."""

    features: str
    stage: str
    map_size: int
    crop_size: int
    context: int
    bins: int


def open_features(model: str, untrained: bool, seed: int, view: View) -> Describe:
    """Errors: as for `probe.features.open_trunk`; ValueError for a stage that the model does not have."""
    if model == HOG:
        return lambda pixels, boxes: describe_by_hog(warp(pixels, boxes, view.crop_size, view.context))
    trunk = open_trunk(model, untrained, seed)
    if view.stage not in ("", *trunk.stages):
        raise ValueError(f"{model} has no stage {view.stage!r} (stages: {', '.join(trunk.stages)})")
    stage = trunk.stages.index(view.stage or trunk.stages[-1])
    look = describe_map if view.features == "map" else describe_crops
    return lambda pixels, boxes: look(trunk, stage, view, pixels, boxes).flatten(1).numpy()


def describe_map(trunk: Trunk, stage: int, view: View, pixels: Pixels, boxes: Boxes) -> Tensor:
    """(N, C, bins, bins) Pooled from the map of the whole picture."""
    height, width = pixels.shape[:2]
    scale = min(view.map_size / min(height, width), LONGEST * view.map_size / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resized = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    found = trunk.maps(resized[None])[stage][0]
    cells = np.array([found.shape[2] / width, found.shape[1] / height] * 2)
    return pool_regions(found, torch.from_numpy((boxes + [-1, -1, 0, 0]) * cells), view.bins)


def describe_crops(trunk: Trunk, stage: int, view: View, pixels: Pixels, boxes: Boxes) -> Tensor:
    """(N, C, bins, bins) Of each box by itself, warped to a square."""
    crops = warp(pixels, boxes, view.crop_size, view.context)
    maps = [trunk.maps(crops[start : start + AT_ONCE])[stage] for start in range(0, len(crops), AT_ONCE)]
    return adaptive_avg_pool2d(torch.cat(maps), view.bins)
