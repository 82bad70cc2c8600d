"""Where does one patch of a picture lie beside another?  The network of relative position, with its two controls.

Doersch et al. 2015, "Unsupervised Visual Representation Learning by Context Prediction" (arXiv 1505.05192). Each patch
goes through the trunk and one layer by itself (fc6); the features of both are joined late, so that the trunk has to say
of a patch what it shows.

The controls see one patch of the two, the neighbour or the centre, and are asked the same. They read the features of
fc6 and give them no gradient: so they change nothing of what is learnt, and say whether the trunk has found something,
such as the place of a patch in its picture, that answers the question without the other patch.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from networks.pictures import PretextModel, feature_maps, map_shapes

PLACES = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))  # rows down, columns to the right
ALONE = ("neighbour_alone", "centre_alone")  # the controls
FLAT = 1.0  # grey values; a patch whose contrast is far below is not made louder


def opposite(place: Any) -> Any:
    """Where the centre lies beside its neighbour."""
    return len(PLACES) - 1 - place


class RelativePositionModel(PretextModel):
    """p(place | centre, neighbour), and its two controls.

    `config.relative_position` has `patch_size`, `head_size` (features of a patch), `project` (see `normalize_patches`)
    and `features` (numbers of the trunk's last map).
    """

    def __init__(self, config: PreTrainedConfig, trunk: PreTrainedModel | None = None):
        super().__init__(config, trunk)
        self.settings: dict[str, Any] = self.config.relative_position
        size = self.settings["head_size"]
        self.patch_features = nn.Sequential(nn.Linear(self.settings["features"], size), _norm(size), nn.ReLU())
        self.place = nn.Sequential(
            nn.Linear(2 * size, size), _norm(size), nn.ReLU(), nn.Linear(size, size), nn.ReLU(), nn.Linear(size, 8)
        )
        self.neighbour_alone, self.centre_alone = (
            nn.Sequential(nn.Linear(size, size // 2), nn.ReLU(), nn.Linear(size // 2, 8)) for _ in ALONE
        )
        self.post_init()

    @classmethod
    def over(cls, config: PreTrainedConfig, trunk: PreTrainedModel, **settings: Any) -> "RelativePositionModel":
        """The model over a trunk with fresh weights."""
        channels, height, width = map_shapes(trunk, settings["patch_size"])[-1]
        config.relative_position = {**settings, "features": channels * height * width}
        return cls(config, trunk)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            init.zeros_(module.bias)

    def encode(self, patches: Tensor) -> Tensor:
        """Features (N, F) of patches (N, P, P, 3), red, green and blue from 0 to 255."""
        pixels = normalize_patches(patches, self.settings["project"])
        features: Tensor = self.patch_features(feature_maps(self.trunk, pixels)[-1].flatten(1))
        return features

    def forward(self, patches: Tensor, pairs: Tensor) -> dict[str, Tensor]:
        """Logits (M, 8) of the place of the second patch of each pair beside the first, and those of the controls.
        `pairs` (M, 2) are two rows of `patches` each."""
        features = self.encode(patches)
        centre, neighbour = features.index_select(0, pairs[:, 0]), features.index_select(0, pairs[:, 1])
        return {
            "place": self.place(torch.cat([centre, neighbour], 1)),
            "neighbour_alone": self.neighbour_alone(neighbour.detach()),
            "centre_alone": self.centre_alone(centre.detach()),
        }


def normalize_patches(patches: Tensor, project: bool) -> Tensor:
    """Patches (N, P, P, 3) from 0 to 255 as the trunk takes them (N, 3, P, P): of mean 0 in each channel, and of one
    contrast, which would else say of what picture a patch is.

    `project` takes away what a lens does near the edge of a picture, where it focuses green apart from red and blue:
    colours lose what they have along green - magenta (Doersch et al. 2015, section 3.1).
    """
    pixels = patches.permute(0, 3, 1, 2).float()
    if project:
        axis = pixels.new_tensor([-1.0, 2.0, -1.0])
        matrix = torch.eye(3, device=pixels.device) - torch.outer(axis, axis) / axis.square().sum()
        pixels = (patches.float() @ matrix).permute(0, 3, 1, 2)
    pixels = pixels - pixels.mean((2, 3), keepdim=True)
    contrast = pixels.square().mean((1, 2, 3), keepdim=True).sqrt()
    return pixels / (contrast + FLAT)


def _norm(size: int) -> nn.Module:
    """In place of the paper's batch normalisation without scale and shift: no unit can fall silent for good, and no
    example sees the others."""
    return nn.LayerNorm(size, elementwise_affine=False)
