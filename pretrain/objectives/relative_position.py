"""Where does this patch lie beside that one?  Context prediction, on pictures.

Doersch et al. 2015 (arXiv 1505.05192), and the authors' code where it says more. Two neighbouring patches of a picture
are shown, with a gap between them; asked is at which of eight places the second lies. Each pair is asked in both
orders, and each picture asks each place equally often, so that no guess without x is better than chance.

What would answer the question without looking at what is shown (lines that cross the gap, the colours of a lens,
contrast) is taken away; whether something is left, two controls tell that see one patch only: see
`networks.relative_position`.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from corpus.images.medium import Images
from corpus.images.pictures import Album, PictureChapter, Shots
from engine.publish.exhibits import Exhibit
from engine.run.checkpoint import Processor
from engine.run.recipe import check_least
from engine.train.batch import Batch
from networks.relative_position import RelativePositionModel, opposite
from pretrain.network import build_trunk
from pretrain.objective import Objective, correct_sum, cross_entropy_sum
from pretrain.pretext.patch_sheets import draw_samples, show_pairs
from pretrain.pretext.patches import Layout, blur_some, cut_pairs, keep_one_channel
from pretrain.terms import Term


@dataclass(frozen=True, kw_only=True)
class RelativePosition(Objective[Images]):
    """Which of eight places around a patch is another patch from?"""

    image_size: int = 548  # a picture is made image_size x image_size pixels large, in whatever shape it has
    area_range: tuple[float, ...] = (0.5, 1.5)  # times so many pixels, by chance; the paper's 150,000 to 450,000
    patch_size: int = 96  # pixels along the side of a patch
    gap: int = 48  # pixels between two patches, before they are moved
    jitter: int = 7  # pixels by which each patch is moved at most, down or up and to each side
    grids: int = 1  # how many times a picture asks each of the eight places
    color: Literal["drop", "project", "keep"] = "drop"  # drop: one channel is kept; project: no green - magenta
    downsample: float = 0.33  # share of the patches that are shown as if they had fewer pixels
    downsample_to: int = 10  # pixels along the side of a patch that they have at least
    head_size: int = 512  # features of a patch (fc6), and of the layers that join two of them; the paper has 4,096

    medium = Images
    size_key = "image_size"
    pipeline = "image-feature-extraction"
    legend = "Pairs of patches as the network takes them: the first in the middle, the second where it lies."

    def __post_init__(self) -> None:
        check_least(self, 1, "patch_size", "grids", "head_size", "downsample_to")
        check_least(self, 0, "gap", "jitter")
        if 2 * self.jitter > self.gap:
            raise ValueError(
                f"jitter is {self.jitter} and gap {self.gap}: two patches could overlap, which gives the answer away; "
                f"lower jitter to {self.gap // 2}, or raise gap to {2 * self.jitter}"
            )
        if len(self.area_range) != 2 or not 0 < self.area_range[0] <= self.area_range[1]:
            raise ValueError(f"area_range is {list(self.area_range)}; two numbers above 0, such as [0.5, 1.5]")
        if not 0 <= self.downsample <= 1:
            raise ValueError(f"downsample is {self.downsample}; it is a share of the patches, from 0 to 1")
        if self.downsample and self.downsample_to > self.patch_size:
            raise ValueError(
                f"downsample_to is {self.downsample_to}, more than the {self.patch_size} pixels of patch_size: lower "
                "it, or say downsample: 0"
            )

    @property
    def layout(self) -> Layout:
        return Layout(self.patch_size, self.gap, self.jitter)

    @property
    def terms(self) -> tuple[Term, ...]:
        return (
            Term("place", "Place of the neighbour", "place", among=8),
            Term("neighbour_alone", "The same from the neighbour alone", "place", among=8),
            Term("centre_alone", "The same from the centre alone", "place", among=8),
        )

    @property
    def in_short(self) -> str:
        return f"relative position of patches of {self.patch_size} pixels, {self.gap} apart (Doersch et al. 2015)"

    def units(self, chapter: PictureChapter, size: int, images: Images, key: int) -> Album:
        return Album(chapter, size, least=int(np.ceil(size * self.area_range[1] ** 0.5)))

    def split(self, t: Shots, images: Images, key: int) -> Batch:
        patches, place = cut_pairs(t, self.layout, t.size**2, self.area_range, self.grids, key)
        pictures, pairs = patches.shape[:2]
        index, number = np.repeat(t.index, 2 * pairs), np.tile(np.arange(2 * pairs), pictures)
        patches = patches.reshape(-1, *patches.shape[3:])  # (N, P, P, 3), two and two of a pair
        if self.downsample:
            patches = blur_some(patches, self.downsample, self.downsample_to, key, index, number)
        if self.color == "drop":
            patches = keep_one_channel(patches, key, index, number)
        one = np.arange(len(patches)).reshape(-1, 2)  # (B K, 2) centre and neighbour
        both = np.stack([one, one[:, ::-1]], 1).reshape(-1, 2)
        asked = np.tile(np.stack([place, opposite(place)], 1).ravel(), pictures)
        x = {"patches": torch.from_numpy(np.ascontiguousarray(patches)), "pairs": torch.from_numpy(both)}
        counts = {term.name: len(asked) for term in self.terms}
        return Batch(x, {"place": torch.from_numpy(asked)}, counts, (1,) * pictures, pictures)

    def build(self, model: dict[str, Any], images: Images) -> RelativePositionModel:
        config, trunk = build_trunk(model, self.patch_size)
        sizes = {"patch_size": self.patch_size, "head_size": self.head_size}
        return RelativePositionModel.over(config, trunk, project=self.color == "project", **sizes)

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits, place = model(**batch.x), batch.y["place"]
        sums = {name: cross_entropy_sum(found, place) for name, found in logits.items()}
        if model.training:
            return sums
        return sums | {f"{name}_correct": correct_sum(found, place) for name, found in logits.items()}

    def saved_beside(self, model: PreTrainedModel, images: Images) -> Processor:
        return images.processor_for(self.image_size)

    def show(self, batch: Batch, images: Images) -> list[Exhibit]:
        return show_pairs(batch, self.color == "project")

    def samples(self, model: nn.Module, images: Images, seed: int, unseen: list[Batch]) -> list[Exhibit]:
        return draw_samples(model, unseen)
