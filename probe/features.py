"""Which numbers describe a picture?  Frozen features: of a model's stages, its pixels, and HOG.

A model is any that transformers opens as a backbone: a run, a folder or a Hub id. Each stage's map is averaged over
POOL x POOL parts of the picture (the quadrants of Dosovitskiy et al. 2014). `pixels` and `hog` are no models, but what
to beat: the picture itself, and histograms of oriented gradients (Dalal & Triggs 2005).
"""

import numpy as np
import torch
from torch import Tensor

from engine.run.saved import located, opened_backbone
from networks.pictures import start_as_identity
from networks.trunk import Squares, Trunk, take_pixels
from probe.hog import describe_by_hog

POOL = 2
AT_ONCE = 256  # pictures in a forward pass
BESIDE = ("pixels", "hog")  # what is asked beside models


def open_trunk(model: str, untrained: bool = False, seed: int = 0) -> Trunk:
    """Open a run, a folder or a Hub id; `untrained`: the same network with random weights of this seed.

    Errors: as for `engine.run.saved.opened_backbone`.
    """
    source = located(model)
    if untrained:
        torch.manual_seed(seed)
    backbone = opened_backbone(source, fresh=untrained)
    if untrained:
        start_as_identity(backbone)
    return Trunk.around(backbone, source)


def describe(system: str, untrained: bool, seed: int, *parts: Squares, pool: int = POOL) -> dict[str, Tensor]:
    """The features (N, C, pool, pool) of each stage of a model, by its name, of all `parts` behind each other; of
    `pixels` and `hog`, (N, D, 1, 1) of themselves."""
    if system in BESIDE:
        take = {"pixels": take_pixels, "hog": take_hog}[system]
        return {system: torch.cat([take(squares) for squares in parts])[..., None, None]}
    trunk = open_trunk(system, untrained, seed)
    found = [trunk.describe(squares[start : start + AT_ONCE], pool)
             for squares in parts for start in range(0, len(squares), AT_ONCE)]  # fmt: skip
    return {name: torch.cat([each[name] for each in found]) for name in trunk.stages}


def take_hog(squares: Squares, cells: int = 4) -> Tensor:
    """Histograms of nine directions (N, D), in `cells` x `cells` cells that are normalised in blocks of 2 x 2."""
    cell = squares.shape[1] // cells
    found = [describe_by_hog(squares[start : start + AT_ONCE], cell) for start in range(0, len(squares), AT_ONCE)]
    return torch.from_numpy(np.concatenate(found))
