"""Which of N seeds is a patch made of?  The networks of exemplar networks: a layer with weights for each, or a memory.

Dosovitskiy et al. 2014 have the layer. The memory is the non-parametric softmax of Wu et al. 2018, without their
sampling: p(n | x) is a softmax over the cosines of x's features with a memory of those that each seed had when it was
last seen.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import PreTrainedConfig, PreTrainedModel

from networks.pictures import PretextModel, feature_maps, map_shapes


class ExemplarNet(PretextModel):
    """A trunk, averaged over the places of its last map, and a score for each of N seeds."""

    def __init__(self, config: PreTrainedConfig, trunk: PreTrainedModel, seeds: int):
        super().__init__(config, trunk)
        self.seed = nn.Linear(width_of(trunk), seeds)
        self.post_init()

    def features(self, pixel_values: Tensor) -> Tensor:
        """(B, C) of (B, 3, H, W)."""
        return feature_maps(self.trunk, pixel_values)[-1].mean((2, 3))

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.seed(self.features(pixel_values))  # (B, N)

    def scores(self, found: Tensor) -> Tensor:
        """The logits (B, N) of what `forward` found."""
        return found


class MemoryNet(ExemplarNet):
    """A trunk, averaged over the places of its last map, projected to `size` numbers, and a memory of N such features.
    All features have length 1."""

    memory: Tensor  # (N, size)

    def __init__(
        self,
        config: PreTrainedConfig,
        trunk: PreTrainedModel,
        seeds: int,
        size: int,
        temperature: float,
        momentum: float,
    ):
        super().__init__(config, trunk, size)
        self.temperature, self.momentum = temperature, momentum
        self.register_buffer("memory", normalize(torch.randn(seeds, size), dim=1))

    def forward(self, pixel_values: Tensor) -> Tensor:
        return normalize(self.seed(self.features(pixel_values)).float(), dim=1)  # (B, size)

    def scores(self, found: Tensor) -> Tensor:
        with torch.autocast(found.device.type, enabled=False):
            # A copy, for the memory changes before the gradient is taken.
            return found @ self.memory.clone().T / self.temperature

    @torch.no_grad()
    def remember(self, features: Tensor, seeds: Tensor) -> None:
        """Take in the features (B, size) of `seeds` (B,), of which some may be the same."""
        finite = features.isfinite().all(1)
        rows, place = seeds[finite].unique(return_inverse=True)
        new = features.new_zeros(len(rows), features.shape[1]).index_add_(0, place, features[finite])
        kept = self.momentum * self.memory[rows]
        self.memory[rows] = normalize(kept + (1 - self.momentum) * normalize(new, dim=1), dim=1)


def width_of(trunk: PreTrainedModel) -> int:
    """The channels of a trunk's last map."""
    return map_shapes(trunk, getattr(trunk.config, "image_size", 64))[-1][0]
