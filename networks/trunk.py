"""What does a trained network make of pictures?  The maps of every stage of a frozen trunk; and raw pixels.

A trunk is any model that transformers opens as a backbone (`engine.run.saved.opened_backbone`). Raw pixels are no
model, but what to beat.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from transformers import PreTrainedModel
from transformers.image_processing_base import ImageProcessingMixin
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from networks.pictures import keep_statistics

Squares = npt.NDArray[np.uint8]  # (N, S, S, 3), sRGB
USUAL_SIDE = 224  # pixels, of the pictures of a model that does not say it


@dataclass(frozen=True)
class Trunk:
    """A model that makes maps of pictures, in evaluation mode, and how its pixels are normalised."""

    backbone: PreTrainedModel
    mean: Tensor  # (3,) of red, green and blue between 0 and 1
    std: Tensor
    side: int  # pixels of the pictures that it is used to

    @classmethod
    def around(cls, backbone: PreTrainedModel, source: str, revision: str = "") -> "Trunk":
        """The trunk with what the image processor of `source`, a folder or a Hub id, says of pixels; where there is
        none, mean and standard deviation are those of ImageNet."""
        try:
            said: dict[str, Any] = ImageProcessingMixin.get_image_processor_dict(source, revision=revision or "main")[0]
        except OSError:
            said = {}
        keep_statistics(backbone)
        mean, std = said.get("image_mean", IMAGENET_DEFAULT_MEAN), said.get("image_std", IMAGENET_DEFAULT_STD)
        return cls(backbone.eval(), torch.tensor(mean), torch.tensor(std), side_of(said))

    @property
    def stages(self) -> list[str]:
        """The names of its stages, the first one first."""
        return list(self.backbone.config.out_features)

    def maps(self, squares: Squares) -> list[Tensor]:
        """(N, C, h, w) of each stage, on the CPU wherever the model is. Errors: ValueError for pictures of a size that
        the model does not take."""
        pixels = (as_tensor(squares) - self.mean.view(3, 1, 1)) / self.std.view(3, 1, 1)
        try:
            with torch.inference_mode():
                found = self.backbone(pixel_values=pixels.to(self.backbone.device)).feature_maps
        except (RuntimeError, ValueError) as error:
            if "size" not in str(error):
                raise
            kind, (height, width) = self.backbone.config.model_type, squares.shape[1:3]
            raise ValueError(
                f"this {kind} takes no pictures of {height} x {width} pixels ({str(error).splitlines()[0]}): give "
                "another image_size, or for detection map_size or crop_size, such as the size it was trained with"
            ) from None
        return [each.cpu() for each in found]

    def describe(self, squares: Squares, pool: int) -> dict[str, Tensor]:
        """(N, C, pool, pool) of each stage, by its name: a map is averaged over pool x pool parts of the picture."""
        found = {}
        for name, each in zip(self.stages, self.maps(squares), strict=True):
            size = min(pool, each.shape[2]), min(pool, each.shape[3])
            found[name] = adaptive_avg_pool2d(each.float(), size)
        return found


def side_of(said: dict[str, Any]) -> int:
    """The side of the square that an image processor makes of a picture."""
    size = said.get("crop_size") or said.get("size") or USUAL_SIDE
    return int(min(size.values()) if isinstance(size, dict) else size)


def take_pixels(squares: Squares, most: int = 32) -> Tensor:
    """Pixels between 0 and 1 (N, D), of pictures of `most` pixels a side at most."""
    pixels = as_tensor(squares)
    return (adaptive_avg_pool2d(pixels, most) if pixels.shape[2] > most else pixels).flatten(1)


def as_tensor(squares: Squares) -> Tensor:
    """(N, 3, S, S) between 0 and 1."""
    return torch.from_numpy(squares).permute(0, 3, 1, 2).float().div_(255)
