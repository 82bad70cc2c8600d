"""Which seed is this a transformation of?  Exemplar networks: one class for each seed patch.

Dosovitskiy et al. 2014 (TPAMI 2016). t is a seed patch, x is one random transformation of it (shift, scale, rotation,
contrast, colour), y is the seed's number, one of N classes. Held-out examples are new transformations of the same
seeds, for other pictures have no class here: what the features are worth on other pictures is what probes tell.

Where N is large, `softmax: memory` takes the place of a layer with weights for each class: see `networks.exemplar`.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from corpus.images.medium import FakePictures, Images
from corpus.images.pictures import Ints, PictureChapter
from corpus.images.seeds import Seeds, choose_seeds
from corpus.images.transformations import Transformations, draw_parameters, transform
from engine.publish.exhibits import Exhibit
from engine.run.checkpoint import Processor
from engine.run.recipe import check_least
from engine.train.batch import Batch
from engine.train.together import rows_of_all
from networks.exemplar import ExemplarNet, MemoryNet
from pretrain.network import build_trunk
from pretrain.objective import Objective, correct_sum, cross_entropy_sum
from pretrain.pretext.exemplar_sheets import draw_invariance, show_mistakes, show_variants, windows_of
from pretrain.terms import Term


@dataclass(frozen=True)
class Draws:
    """B seeds of a collection, each to be transformed for the `draw`-th time."""

    seeds: Seeds
    number: Ints  # (B,)
    draw: Ints  # (B,)


class Variants:
    """N seeds, each `variants` times in an epoch."""

    def __init__(self, seeds: Seeds, variants: int):
        self.seeds, self.variants = seeds, variants

    def __len__(self) -> int:
        return len(self.seeds) * self.variants

    def take(self, index: Ints) -> Draws:
        return Draws(self.seeds, index % len(self.seeds), index // len(self.seeds))

    def report(self) -> list[str]:
        number, size = len(self.seeds), self.seeds.size
        pictures = len(np.unique(self.seeds.pictures))
        return [
            f"{number:,} seed patches of {size} x {size} pixels from {pictures:,} pictures, each transformed "
            f"{self.variants} times in an epoch; held out are other transformations of the same seeds."
        ]


@dataclass(frozen=True, kw_only=True)
class Exemplar(Objective[Images]):
    """A transformed patch predicts which seed it is made of."""

    image_size: int = 32  # pixels of a patch's side
    seeds: int = 8000  # N, the classes
    variants: int = 100  # of each seed in an epoch; the next epoch has others
    shorter_side: int = 96  # pixels that a picture's shorter side is reduced to before patches are cut
    softmax: Literal["weights", "memory"] = "weights"  # memory: for many seeds, of which each is seen rarely
    feature_size: int = 128  # numbers of a memory's features
    temperature: float = 0.07  # of the softmax over a memory
    momentum: float = 0.5  # how much a memory keeps of what it had when its seed is seen again
    transformations: Transformations = field(default_factory=Transformations)

    medium = Images
    size_key = "image_size"
    pipeline = "image-feature-extraction"
    asks_again = True
    legend = "A seed, with what lies around it as far as transformations reach, and what becomes of it."

    def __post_init__(self) -> None:
        check_least(self, 2, "seeds")
        check_least(self, 1, "variants", "feature_size")
        check_least(self, self.image_size, "shorter_side")
        if not self.temperature > 0 or not 0 <= self.momentum < 1:
            raise ValueError(
                f"temperature is {self.temperature} and momentum {self.momentum}; the one is above 0, such as 0.07, "
                "the other from 0 to below 1, such as 0.5"
            )

    @property
    def together(self) -> bool:  # type: ignore[override]
        """A memory takes in what a whole step has seen, at once."""
        return self.softmax == "memory"

    @property
    def terms(self) -> tuple[Term, ...]:
        return (Term("seed", "Which seed", "seeds", among=self.seeds),)

    @property
    def in_short(self) -> str:
        return f"exemplar networks, {self.seeds:,} seeds (Dosovitskiy et al. 2014)"

    @cached_property
    def chosen(self) -> dict[tuple[int, bytes, int], Seeds]:
        """The seeds of each chapter that was opened: they are chosen once."""
        return {}

    def units(self, chapter: PictureChapter, size: int, images: Images, key: int) -> Variants:
        """Errors: ValueError for pictures that give fewer seeds, and where a chapter has a part of the pictures."""
        if not chapter.is_last or chapter.cursor:
            raise ValueError(
                "exemplar chooses its seeds among all pictures, and they are several chapters: raise "
                "images.chapter_images"
            )
        which = (len(chapter.pictures), np.sort(chapter.members).tobytes(), size)
        if which not in self.chosen:
            found = choose_seeds(chapter.pictures, chapter.members, self.seeds, size, max(size, self.shorter_side))
            if len(found) < self.seeds and not isinstance(chapter.pictures, FakePictures):
                raise ValueError(
                    f"objective.seeds asks for {self.seeds:,} seeds, and {len(chapter.members):,} pictures have only "
                    f"{len(found):,} patches of {size} x {size} pixels that do not overlap: lower it to that, or give "
                    "more pictures"
                )
            self.chosen[which] = found
        return Variants(self.chosen[which], self.variants)

    def split(self, t: Draws, images: Images, key: int) -> Batch:
        drawn = draw_parameters(self.transformations, key, t.number, t.draw)
        patches = transform(windows_of(t.seeds, t.number), t.seeds.size, drawn, t.seeds.colours)  # (B, 3, S, S)
        x = {"pixel_values": images.normalised(patches)}
        y = {"seeds": torch.from_numpy(t.number)}
        return Batch(x, y, {"seed": len(t.number)}, (1,) * len(t.number), len(t.number))

    def build(self, model: dict[str, Any], images: Images) -> PreTrainedModel:
        config, trunk = build_trunk(model, self.image_size)
        if self.softmax == "memory":
            return MemoryNet(config, trunk, self.seeds, self.feature_size, self.temperature, self.momentum)
        return ExemplarNet(config, trunk, self.seeds)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        found, seeds = model(batch.x["pixel_values"]), batch.y["seeds"]
        logits = model.scores(found)  # (B, N)
        if self.softmax == "memory" and model.training:
            asked = 0 if batch.is_filler else len(seeds)
            model.remember(rows_of_all(found[:asked]), rows_of_all(seeds[:asked]))
        sums = {"seed": cross_entropy_sum(logits, seeds)}
        return sums if model.training else sums | {"seed_correct": correct_sum(logits, seeds)}

    def saved_beside(self, model: PreTrainedModel, images: Images) -> Processor:
        return images.processor_for(self.image_size)

    def show(self, batch: Batch, images: Images) -> list[Exhibit]:
        """Each example's seed, and what became of it, beside other transformations of it."""
        return [show_variants(self._latest, number, self.transformations) for number in batch.y["seeds"].tolist()]

    def samples(self, model: Any, images: Images, seed: int, unseen: list[Batch]) -> list[Exhibit]:
        """How far features move as a patch is changed more and more; and which seeds were confused."""
        return [draw_invariance(model, self._latest, images), *show_mistakes(model, self._latest, images, unseen[0])]

    @property
    def _latest(self) -> Seeds:
        """The seeds that were chosen last."""
        return next(reversed(self.chosen.values()))
