"""Which colours does a picture have, of which only the lightness is seen?  Classification over bins of ab.

Zhang et al. 2016, "Colorful Image Colorization" (arXiv 1603.08511), and the authors' training code. x is L, y is ab at
a `reduction`-th of the picture's sides: JPEG files mostly keep colours at half of theirs (4:2:0), so nothing is lost by
2. The bins and how common they are come from the pictures to train on (`pretrain.pretext.colors`). Grey pictures ask
nothing.

Most pixels are greyish, so rarer colours weigh more (section 2.2). As in the authors' code a weight multiplies the
gradient alone, and the loss that is reported is without it. A model that is trained so says what is likely among
pixels that have been weighed; to say it of pictures as they are, the network's output is taken as log p(ab | x), and
what the weighed gradient trains is p(ab | x) times the weights. The two differ by a number for each bin, which the last
layer's bias takes up. So the loss can be compared with guesses that know nothing of weights, such as p(ab | L).
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from corpus.images.medium import Images
from corpus.images.pictures import Album, PictureChapter, Shots
from corpus.medium import Chapters
from engine.publish.exhibits import Exhibit
from engine.run.checkpoint import Processor
from engine.run.recipe import check_least
from engine.train.batch import Batch
from networks.colorization import IN_GROUP, make_colorizer
from networks.pictures import map_shapes
from pretrain.network import build_trunk
from pretrain.objective import Objective
from pretrain.pretext.color_sheets import compare, describe_colors, draw_sheet
from pretrain.pretext.colors import Cut, read_colors, table_of, with_colors
from pretrain.terms import Term


@dataclass(frozen=True, kw_only=True)
class Colorization(Objective[Images]):
    """The lightness of a picture predicts its colours."""

    image_size: int = 224  # pixels of the sides of a picture
    reduction: int = 4  # they are so many times the sides of its map of colours; 2 for small pictures
    rebalance: float = 0.5  # rare colours weigh more: share of all bins alike in the prior they are weighed by; 0: not
    grey: float = 5.0  # a picture of which |a| + |b| is nowhere above it asks nothing
    counted_pictures: int = 10_000  # on which the bins and their prior are counted, evenly taken
    head_width: int = 256  # channels of the layers between the trunk and the colours

    medium = Images
    size_key = "image_size"
    asks_nothing = "grey pictures"
    pipeline = "image-feature-extraction"
    model_type = "resnet_gn"

    def __post_init__(self) -> None:
        check_least(self, 1, "reduction", "counted_pictures")
        self.cut(self.image_size)
        if not 0 <= self.rebalance <= 1:
            raise ValueError(f"rebalance is {self.rebalance}; it is a share between 0 and 1, such as 0.5")
        if self.head_width < IN_GROUP or self.head_width % IN_GROUP:
            raise ValueError(f"head_width is {self.head_width}; it must be a multiple of {IN_GROUP}, such as 64")

    @property
    def terms(self) -> tuple[Term, ...]:
        beside = (("given_lightness", "p(ab | L)"),)
        return (Term("color", "Colour", "bins", kind="soft", weights="shares", beside=beside),)

    @property
    def in_short(self) -> str:
        return "colourisation of pictures of which the lightness is seen (Zhang et al. 2016)"

    def cut(self, size: int) -> Cut:
        """How pictures of `size` pixels are cut. Errors: ValueError for a size that `reduction` does not divide."""
        if size % self.reduction:
            better = max(1, size // self.reduction) * self.reduction
            raise ValueError(f"image_size is {size}, which reduction {self.reduction} does not divide: give {better}")
        return Cut(size, self.reduction, self.grey)

    def study(self, train: Chapters, medium: Images) -> Images:
        chapter = cast(PictureChapter, train.chapter(0, 0, {}))
        return with_colors(medium, chapter, self.cut(self.image_size), self.counted_pictures)

    def units(self, chapter: PictureChapter, size: int, medium: Images, key: int) -> Album:
        return Album(chapter, size, self.cut(size).least)

    def split(self, t: Shots, medium: Images, key: int) -> Batch:
        table = table_of(medium)
        found = read_colors(t, self.cut(t.size), key)
        ab = found.ab[found.is_asked]  # (P, h, w, 2) of the pictures that are not grey
        bins, shares = table.bins.encode(ab.reshape(-1, 2))  # (M, K), M = P h w
        logs = np.take_along_axis(table.log_given(found.coarse[found.is_asked].ravel()), bins, 1)
        y = {
            "positions": np.flatnonzero(found.is_asked),  # (P,) the pictures that are asked
            "bins": bins.astype(np.int16),
            "shares": shares,
            "given_lightness": -(shares * logs).sum(1),  # (M,) the loss of p(ab | L)
            "ab": ab,
        }
        return Batch(
            {"lightness": torch.from_numpy(found.lightness[:, None] / 100)},
            {name: torch.from_numpy(values) for name, values in y.items()},
            {"color": len(bins)}, (1,) * len(found.is_asked), len(found.is_asked),
        )  # fmt: skip

    def build(self, model: dict[str, Any], medium: Images) -> PreTrainedModel:
        config, trunk = build_trunk(model, self.image_size)
        bins = table_of(medium).bins
        settings = {
            "centers": bins.centers.tolist(),
            "prior": bins.prior.tolist(),
            "rebalance": self.rebalance,
            "image_size": self.image_size,
            "reduction": self.reduction,
            "channels": [channels for channels, *_ in map_shapes(trunk, self.image_size)],
            "width": self.head_width,
            "mean": float(np.mean(medium.mean)),
            "std": float(np.mean(medium.std)),
        }
        return make_colorizer(config, trunk, settings)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        x, y = batch.x, batch.y
        logits = model(x["lightness"])[y["positions"]].flatten(0, 2).float()  # (M, Q)
        bins, shares = y["bins"].long(), y["shares"]
        weights = torch.from_numpy(model.settings.weights).to(logits.device)
        total: Tensor = RebalancedCrossEntropy.apply(logits, bins, shares, weights)
        if model.training:
            return {"color": total}
        correct = (logits.argmax(1) == bins[:, 0]).sum().float()
        return {"color": total, "color_correct": correct, "color_given_lightness": y["given_lightness"].sum()}

    def show(self, batch: Batch, medium: Images) -> list[Exhibit]:
        return describe_colors(batch)

    def samples(self, model: Any, medium: Images, seed: int, unseen: list[Batch]) -> list[Exhibit]:
        table = table_of(medium)
        return [*draw_sheet(model, table, unseen), *compare(model, table, unseen)]

    def saved_beside(self, model: PreTrainedModel, medium: Images) -> Processor:
        return medium.processor_for(self.image_size)

    def remarks(self, batches: list[Batch], medium: Images) -> list[str]:
        bins = table_of(medium).bins
        pictures = sum(len(batch.sizes) for batch in batches)
        asked = sum(len(batch.y["positions"]) for batch in batches)
        commonest = int(bins.prior.argmax())
        a, b = bins.centers[commonest].tolist()
        return [
            f"Colours: {len(bins)} bins of ab occur; the commonest, a = {a} and b = {b}, has {bins.prior.max():.1%} of "
            f"the pixels. Of {pictures:,} pictures {pictures - asked:,} are grey and ask nothing. Colours are asked "
            f"for at 1/{self.reduction} of the sides; JPEG files of 4:2:0 hold them at 1/2."
        ]


class RebalancedCrossEntropy(torch.autograd.Function):
    """The sum over M pixels of the cross-entropy of softmax(z), z (M, Q), to targets over K bins, the main one first:
    bins and shares (M, K). Its gradient is that of the cross-entropy of softmax(z + log w), times the weight w (Q,) of
    a pixel's main bin."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, bins: Tensor, shares: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(logits, bins, shares, weights)
        return -(shares * logits.log_softmax(1).gather(1, bins)).sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        logits, bins, shares, weights = ctx.saved_tensors
        found = (logits + weights.log()).softmax(1).scatter_add_(1, bins, -shares)
        return found.mul_(weights[bins[:, :1]] * gradient), None, None, None
