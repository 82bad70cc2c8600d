"""What does a model see in each box of a picture?  Features of a frozen trunk, or HOG, which is not trained."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModel, PreTrainedModel
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

from corpus.images.medium import Images
from corpus.images.pictures import Pixels
from engine.run.saved import config_of, load_weights, located
from networks.pictures import feature_maps
from probe.detection.boxes import Boxes
from probe.detection.crops import describe_by_hog, warp
from probe.detection.pooling import pool_regions

HOG = "hog"  # as --model names it
AT_ONCE = 32  # crops
Describe = Callable[[Pixels, Boxes], npt.NDArray[np.float32]]  # a picture and boxes (N, 4) -> features (N, D)


@dataclass(frozen=True)
class View:
    """How a trunk looks at a box; see the fields of `Detection`."""

    features: str
    stage: int
    map_size: int
    crop_size: int
    context: int
    bins: int


def open_features(model: str, untrained: bool, seed: int, view: View) -> Describe:
    """Errors: as for `engine.run.saved.load_weights`; ValueError for a model that does not look at pictures, or has not
    so many stages."""
    if model == HOG:
        return lambda pixels, boxes: describe_by_hog(warp(pixels, boxes, view.crop_size, view.context))
    trunk, mean, std = open_trunk(model, untrained, seed)
    try:
        stages = len(look(trunk, torch.zeros(1, 3, 64, 64)))
    except (TypeError, AttributeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{model} does not look at pictures: {trunk.config.model_type} ({error})") from None
    if not -stages <= view.stage < stages:
        raise ValueError(f"stage is {view.stage}, and {model} has {stages}, 0 to {stages - 1}; -1 is the last one")

    def pool_map(pixels: Pixels, boxes: Boxes) -> npt.NDArray[np.float32]:
        height, width = pixels.shape[:2]
        scale = view.map_size / min(height, width)
        resized = Image.fromarray(pixels).resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
        found = look(trunk, as_input(np.asarray(resized)[None], mean, std))[view.stage][0]
        regions = torch.from_numpy(boxes + [-1, -1, 0, 0]) * torch.tensor(
            [found.shape[2] / width, found.shape[1] / height] * 2, dtype=torch.float64
        )
        return pool_regions(found, regions, view.bins).flatten(1).numpy()

    def pool_crops(pixels: Pixels, boxes: Boxes) -> npt.NDArray[np.float32]:
        crops = warp(pixels, boxes, view.crop_size, view.context)
        maps = [look(trunk, as_input(some, mean, std))[view.stage]
                for some in np.array_split(crops, max(1, -(-len(crops) // AT_ONCE)))]  # fmt: skip
        return torch.nn.functional.adaptive_avg_pool2d(torch.cat(maps), view.bins).flatten(1).numpy()

    return pool_map if view.features == "map" else pool_crops


def open_trunk(model: str, untrained: bool, seed: int) -> tuple[PreTrainedModel, Tensor, Tensor]:
    """The trunk alone, and the mean and standard deviation (1, 3, 1, 1) of the pictures it was trained on."""
    source = located(model)
    config = config_of(source)
    if untrained:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            trunk: PreTrainedModel = AutoModel.from_config(config)
    else:
        trunk, info = load_weights(AutoModel, source, config)
        if lost := sorted(info["missing_keys"]):
            raise ValueError(f"{source} is no whole {type(trunk).__name__}: it lacks {len(lost)} weights, such as {lost[0]}")
    try:
        processor = ConvNextImageProcessorPil.from_pretrained(source)
        mean, std = processor.image_mean, processor.image_std
    except OSError:  # it has none
        mean, std = Images.mean, Images.std
    return trunk.eval(), torch.tensor(mean).view(1, 3, 1, 1), torch.tensor(std).view(1, 3, 1, 1)


@torch.no_grad()
def look(trunk: PreTrainedModel, pixel_values: Tensor) -> tuple[Tensor, ...]:
    return feature_maps(trunk, pixel_values)


def as_input(pixels: Pixels, mean: Tensor, std: Tensor) -> Tensor:
    """(B, 3, H, W) of pictures (B, H, W, 3)."""
    return (torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2) / 255 - mean) / std
