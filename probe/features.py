"""Which numbers describe a picture?  Frozen features: of a model's stages, its pixels, and HOG.

A model is any that transformers opens as a backbone: a run, a folder or a Hub id. Each stage's map is averaged over
POOL x POOL parts of the picture (the quadrants of Dosovitskiy et al. 2014). `pixels` and `hog` are no models, but what
to beat: the picture itself, and histograms of oriented gradients (Dalal & Triggs 2005).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from transformers import MODEL_FOR_BACKBONE_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.image_processing_base import ImageProcessingMixin
from transformers.utils.constants import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD

from engine.run.saved import config_of, first_line, load_weights, located
from networks.pictures import keep_statistics, start_as_identity
from probe.hog import describe_by_hog

Squares = npt.NDArray[np.uint8]  # (N, S, S, 3), sRGB
POOL = 2
AT_ONCE = 256  # pictures in a forward pass
NEVER_SAVED = "hidden_states_norms."  # layer norms that ConvNeXt and Swin have only as backbones; they begin as 1 and 0
BESIDE = ("pixels", "hog")  # what is asked beside models


@dataclass(frozen=True)
class Trunk:
    """A model that makes maps of pictures, in evaluation mode, and how its pixels are normalised."""

    backbone: PreTrainedModel
    mean: Tensor  # (3,) of red, green and blue between 0 and 1
    std: Tensor

    @property
    def stages(self) -> list[str]:
        """The names of its stages, the first one first."""
        return list(self.backbone.config.out_features)

    def maps(self, squares: Squares) -> list[Tensor]:
        """(N, C, h, w) of each stage. Errors: ValueError for pictures of a size that the model does not take."""
        pixels = (as_tensor(squares) - self.mean.view(3, 1, 1)) / self.std.view(3, 1, 1)
        try:
            with torch.inference_mode():
                return list(self.backbone(pixel_values=pixels).feature_maps)
        except (RuntimeError, ValueError) as error:
            if "size" not in str(error):
                raise
            height, width = squares.shape[1:3]
            kind = self.backbone.config.model_type
            raise ValueError(
                f"this {kind} takes no pictures of {height} x {width} pixels ({first_line(error)}): give another "
                "image_size, or for detection map_size or crop_size, such as the size it was trained with"
            ) from None


def open_trunk(model: str, untrained: bool = False, seed: int = 0) -> Trunk:
    """Open a run, a folder or a Hub id; `untrained`: the same network with random weights of this seed.

    Errors: FileNotFoundError and ValueError for what is no model, or none that transformers opens as a backbone.
    """
    source = located(model)
    config = config_of(source)
    made: Any = MODEL_FOR_BACKBONE_MAPPING.get(type(config), None)
    if made is None:
        raise ValueError(
            f"{model} is a {config.model_type} model, which transformers opens as no backbone, so it gives no maps of "
            "pictures; this probe takes such as recipes/pretrain/exemplar.yaml trains, or a ResNet, ConvNeXt, Swin or "
            "DINOv2 of the Hub"
        )
    config.out_features = every_stage(config)
    if untrained:
        torch.manual_seed(seed)
        backbone = made(config)
        start_as_identity(backbone)
    else:
        backbone, info = load_weights(made, source, config)
        if lost := sorted(name for name in info["missing_keys"] if not name.startswith(NEVER_SAVED)):
            raise ValueError(f"{model} lacks {len(lost)} weights of its {config.model_type}, such as {lost[0]}: it is "
                             "no whole model; export or download it again")  # fmt: skip
    keep_statistics(backbone)
    return Trunk(backbone.eval(), *normalisation(source))


def every_stage(config: PreTrainedConfig) -> list[str]:
    """All stages of a network, but for a ViT's embeddings, which have seen nothing."""
    return [name for name in config.stage_names if name != "embeddings"]


def normalisation(source: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a model's image processor; of a model without one, those of ImageNet."""
    try:
        said: dict[str, Any] = ImageProcessingMixin.get_image_processor_dict(source)[0]
    except OSError:
        said = {}
    mean, std = said.get("image_mean", IMAGENET_STANDARD_MEAN), said.get("image_std", IMAGENET_STANDARD_STD)
    return torch.tensor(mean), torch.tensor(std)


def describe(system: str, untrained: bool, seed: int, *parts: Squares, pool: int = POOL) -> dict[str, Tensor]:
    """The features (N, C, pool, pool) of each stage of a model, by its name, of all `parts` behind each other; of
    `pixels` and `hog`, (N, D, 1, 1) of themselves."""
    if system in BESIDE:
        take = {"pixels": take_pixels, "hog": take_hog}[system]
        return {system: torch.cat([take(squares) for squares in parts])[..., None, None]}
    trunk = open_trunk(system, untrained, seed)
    found: dict[str, list[Tensor]] = {name: [] for name in trunk.stages}
    for squares in parts:
        for start in range(0, len(squares), AT_ONCE):
            maps = trunk.maps(squares[start : start + AT_ONCE])
            for name, each in zip(trunk.stages, maps, strict=True):
                size = min(pool, each.shape[2]), min(pool, each.shape[3])
                found[name].append(adaptive_avg_pool2d(each.float(), size))
    return {name: torch.cat(each) for name, each in found.items()}


def take_pixels(squares: Squares, most: int = 32) -> Tensor:
    """Pixels between 0 and 1 (N, D), of pictures of `most` pixels a side at most."""
    pixels = as_tensor(squares)
    return (adaptive_avg_pool2d(pixels, most) if pixels.shape[2] > most else pixels).flatten(1)


def take_hog(squares: Squares, cells: int = 4) -> Tensor:
    """Histograms of nine directions (N, D), in `cells` x `cells` cells that are normalised in blocks of 2 x 2."""
    cell = squares.shape[1] // cells
    found = [describe_by_hog(squares[start : start + AT_ONCE], cell) for start in range(0, len(squares), AT_ONCE)]
    return torch.from_numpy(np.concatenate(found))


def as_tensor(squares: Squares) -> Tensor:
    """(N, 3, S, S) between 0 and 1."""
    return torch.from_numpy(squares).permute(0, 3, 1, 2).float().div_(255)
