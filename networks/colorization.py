"""Which colours may these pixels have?  A trunk that sees lightness alone, and a distribution over ab at each place.

Zhang et al. 2016 keep a stride of 8 to the end, by dilated convolutions, and ask for colours at a quarter of a
picture's sides. Here the trunk is any of `networks.pictures`, whose last maps may be small; so the maps of all stages
are brought to the size that is asked for and added up (hypercolumns: Larsson et al. 2016), and two convolutions follow,
the second one dilated.

The lightness goes into a trunk of three channels, three times: so the trunk opens wherever one of RGB does. The filters
of the first layer begin alike in the three channels, and so they stay; of a picture in colours, such a trunk sees the
mean of red, green and blue. (Not so one that training began with and that has seen colours.)
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import PreTrainedConfig, PreTrainedModel

from networks.colors import Bins, annealed_mean
from networks.lab import Pixels, lab_to_rgb, rgb_to_lab
from networks.pictures import PretextModel, feature_maps

ANNEALED = 0.38  # the paper's temperature
IN_GROUP = 16  # channels that are normalised together


@dataclass(frozen=True)
class ColorSettings:
    """What a model that colours has beside its trunk. It stands in the config as `colorization`, so a saved model needs
    no data."""

    centers: list[list[int]]  # (Q, 2) of the bins of ab
    prior: list[float]  # (Q,) how common they are
    rebalance: float  # how much rarer colours weighed more in training; 0: not at all (`Bins.weights`)
    image_size: int  # of the pictures that it was trained on
    reduction: int  # the sides of a picture are so many times those of its map of colours
    channels: list[int]  # of the trunk's maps
    width: int  # channels of the head
    mean: float  # of the lightness, which is between 0 and 1
    std: float

    @cached_property
    def bins(self) -> Bins:
        return Bins(np.array(self.centers, np.int64), np.array(self.prior, np.float32))

    @cached_property
    def weights(self) -> npt.NDArray[np.float32]:
        """How much a pixel of each bin (Q,) weighs in training."""
        return self.bins.weights(self.rebalance)

    def lively(self, logits: Tensor) -> Tensor:
        """Of logits (..., Q) of the colours as they are in pictures, those with rarer colours as likely as they weigh:
        what is trained, and what pictures are coloured by."""
        return logits + torch.from_numpy(self.weights).to(logits.device).log()

    def decode(self, logits: Tensor, temperature: float) -> Tensor:
        """The colours (..., 2) that logits (..., Q) of a model mean: see `annealed_mean`."""
        centers = torch.tensor(self.centers, dtype=torch.float32, device=logits.device)
        return annealed_mean(self.lively(logits), centers, temperature)


class ForColorization(PretextModel):
    """A distribution over the bins of ab for each place of a picture."""

    def __init__(self, config: PreTrainedConfig, trunk: PreTrainedModel | None = None):
        super().__init__(config, trunk)
        self.settings = settings = ColorSettings(**config.colorization)
        width = settings.width
        self.laterals = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in settings.channels)
        self.layers = nn.Sequential(
            *rectified(width), nn.Conv2d(width, width, 3, padding=1),
            *rectified(width), nn.Conv2d(width, width, 3, padding=2, dilation=2),
            *rectified(width),
        )  # fmt: skip
        self.guess = nn.Conv2d(width, len(settings.prior), 1)
        self.post_init()

    def forward(self, lightness: Tensor) -> Tensor:
        """Logits (B, h, w, Q) of the colours of pictures whose lightness (B, 1, H, W) is between 0 and 1; h is
        H / reduction."""
        settings = self.settings
        pixels = ((lightness - settings.mean) / settings.std).expand(-1, 3, -1, -1)
        height, width = (max(1, side // settings.reduction) for side in lightness.shape[2:])
        brought = [
            interpolate(lateral(found), (height, width), mode="bilinear", align_corners=False)
            for lateral, found in zip(self.laterals, feature_maps(self.trunk, pixels), strict=True)
        ]
        logits: Tensor = self.guess(self.layers(torch.stack(brought).sum(0)))
        return logits.permute(0, 2, 3, 1)

    def asks_as(self, other: "ForColorization") -> bool:
        """Whether it has the same bins."""
        return self.settings.centers == other.settings.centers

    @torch.no_grad()
    def color(self, pixels: Pixels, temperature: float = ANNEALED) -> Pixels:
        """A picture (H, W, 3) in the colours that the model gives it; of its own ones nothing is used.

        Its lightness stays as sharp as it is; its colours are guessed at the size of the pictures that the model was
        trained on, and drawn out. `temperature`: see `networks.colors.annealed_mean`.
        """
        settings, (height, width) = self.settings, pixels.shape[:2]
        factor = settings.image_size / min(height, width)
        sides = max(settings.image_size, round(width * factor)), max(settings.image_size, round(height * factor))
        small = np.asarray(Image.fromarray(pixels).resize(sides, Image.Resampling.BOX))
        logits = self(lightness_of(small)[None].to(self.device))[0]
        return paint(lightness_of(pixels), settings.decode(logits, temperature))


def make_colorizer(config: PreTrainedConfig, trunk: PreTrainedModel, settings: dict[str, Any]) -> ForColorization:
    """A model with fresh weights around a trunk of RGB; `settings` are those of `ColorSettings`. What it guesses at
    first is the prior."""
    config.colorization = settings
    model = ForColorization(config, trunk)
    first = next(
        module for module in model.trunk.modules() if isinstance(module, nn.Conv2d) and module.in_channels == 3
    )
    with torch.no_grad():
        first.weight.copy_(first.weight.mean(1, keepdim=True).expand_as(first.weight))
        prior = torch.from_numpy(model.settings.bins.prior)
        model.guess.bias = nn.Parameter(prior.clamp(min=1e-8).log())
    return model


def rectified(width: int) -> list[nn.Module]:
    return [nn.GroupNorm(width // IN_GROUP, width), nn.ReLU()]


def lightness_of(pixels: Pixels) -> Tensor:
    """(1, H, W), between 0 and 1."""
    return torch.from_numpy(rgb_to_lab(pixels)[None, :, :, 0] / 100)


def paint(lightness: Tensor, ab: Tensor) -> Pixels:
    """A picture of a lightness (1, H, W), between 0 and 1, and of colours (h, w, 2), drawn out to its size."""
    drawn = interpolate(ab.permute(2, 0, 1)[None].float().cpu(), lightness.shape[1:], mode="bilinear")[0]
    lab = torch.cat([100 * lightness.float().cpu(), drawn]).permute(1, 2, 0)
    return lab_to_rgb(lab.numpy())
