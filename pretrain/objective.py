"""What is split off, and what is the loss?  (x, y) = split(t); train p(y | x).

The task of a pretraining: its data collator (`split`), its model with its head (`build`), and its loss. A new objective
is one file in `pretrain/objectives/` with one subclass of `Objective`; the file's name is the recipe's
`objective.name`. Splitting works on a whole batch at a time, because NumPy is fast only so, and stays independent of
the batch: an example's draws are a function of (key, index) alone, where the key stands for the seed, the epoch and the
chapter.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from corpus.medium import Chapters, Medium
from corpus.text.source import Whitespace
from engine.publish.curves import Panels
from engine.publish.exhibits import Exhibit
from engine.run.checkpoint import Processor
from engine.run.nearest import suggest
from engine.train.batch import Batch
from engine.train.cross_entropy import projected_cross_entropy
from networks import heads
from pretrain.terms import Term, baselines_of, metrics_of, panels_of

M = TypeVar("M", bound=Medium)


@dataclass(frozen=True, kw_only=True)
class Objective(ABC, Generic[M]):
    """One way to split t, which is of the medium M. The fields are the recipe's `objective:` section."""

    name: str  # which objective
    medium: ClassVar[type[Medium]]
    size_key: ClassVar[str]  # the field that says how many units an example has: max_seq_length, block_size, image_size
    pipeline: ClassVar[str]  # transformers' pipeline for such a model, or the Hub's word for what it does
    model_type: ClassVar[str] = ""  # transformers' name for what is trained where the recipe's `model:` names none
    together: ClassVar[bool] = False  # compared within its whole global batch (in-batch negatives): no accumulation
    asks_again: ClassVar[bool] = False  # evaluated on what it is trained on, asked anew, and not on what is held out
    asks_nothing: ClassVar[str] = ""  # of what nothing is asked, in words
    legend: ClassVar[str] = ""  # how to read what `show` gives
    whitespace: ClassVar[Whitespace] = "clean"  # of text: how it is treated where a source does not say

    @staticmethod
    def section_names() -> list[str]:
        """The objectives there are."""
        import pretrain.objectives as room

        return [module.name for module in pkgutil.iter_modules(room.__path__)]

    @staticmethod
    def from_section(name: str) -> type["Objective"]:
        """Return the objective class in `pretrain/objectives/NAME.py`. Errors: ValueError with the names there are."""
        names = Objective.section_names()
        if name not in names:
            raise ValueError(f"unknown objective {name!r}{suggest(name, names)} (objectives: {', '.join(names)})")
        module = importlib.import_module(f"pretrain.objectives.{name}")
        return next(
            found
            for found in vars(module).values()
            if isinstance(found, type) and issubclass(found, Objective) and found.__module__ == module.__name__
        )

    @property
    @final
    def size(self) -> int:
        """How large an example is, whatever the recipe calls it: tokens in it, special ones included, or pixels."""
        return int(getattr(self, self.size_key))

    @property
    def needs_sentences(self) -> bool:
        """Whether its examples are made of sentences."""
        return False

    @property
    @abstractmethod
    def terms(self) -> tuple[Term, ...]:
        """What is asked: metrics, baselines and curves follow from it."""

    @property
    @abstractmethod
    def in_short(self) -> str:
        """The objective in a few words, for a model card."""

    def check(self, medium: M) -> None:
        """Refuse a medium that lacks what this objective needs. Errors: ValueError."""

    def study(self, train: Chapters, medium: M) -> M:
        """What has to be known of the material to train on before there is a model: the medium with it, in its stamp
        too. The same on all processes."""
        return medium

    @abstractmethod
    def units(self, chapter: Any, size: int, medium: M, key: int) -> Any:
        """Group a chapter's material into examples of `size` units: an object with `len()`,
        `take(index (B,)) -> t` and `report()`."""

    @abstractmethod
    def split(self, t: Any, medium: M, key: int) -> Batch:
        """Cut B examples into (x, y). Pure: the same arguments give the same batch on any worker or process."""

    @abstractmethod
    def build(self, model: dict[str, Any], medium: M) -> PreTrainedModel:
        """Make p(y | x) with fresh weights. Errors: ValueError for impossible sizes."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Judge one forward pass. Return SUMS: one per key of `batch.counts`, which is minimised as sum / count, and,
        when the model is not training, what else the terms tell of (`pretrain.terms`)."""

    @abstractmethod
    def show(self, batch: Batch, medium: M) -> list[Exhibit]:
        """Show each example of a batch to a person: a Markdown line, or a picture, or more, for each."""

    def samples(self, model: nn.Module, medium: M, seed: int, unseen: list[Batch]) -> list[Exhibit]:
        """What the model makes up, or guesses in held-out `unseen`: the same questions always."""
        return []

    def saved_beside(self, model: PreTrainedModel, medium: M) -> Processor:
        """What is saved beside the model: the medium's processor."""
        return medium.processor

    @final
    def metrics(self, sums: dict[str, float], counts: dict[str, int]) -> dict[str, float]:
        """Turn sums over a whole evaluation into named values."""
        return metrics_of(self.terms, sums, counts)

    @final
    def baselines(self, batches: Sequence[Batch]) -> dict[str, float]:
        """What a guesser that sees no x reaches on `batches`, under the names of `metrics`."""
        return baselines_of(self.terms, batches)

    @property
    @final
    def panels(self) -> Panels:
        """Which curves are worth a look."""
        return panels_of(self.terms)

    def remarks(self, batches: list[Batch], medium: M) -> list[str]:
        """What a reader must know of material that becomes such batches, in Markdown lines. Errors: ValueError for a
        setting that can do nothing with it."""
        return []


def vocabulary_sums(model: nn.Module, gathered: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Judge a language model at the M places that were gathered from what `networks.heads.encode` found: the sum of
    -log p of `tokens` (M,) in nats, and how many guesses are right (NaN where a gradient is asked for)."""
    config: Any = model.config
    if heads.is_known(config.model_type):
        states = heads.transform(model, gathered)
        return projected_cross_entropy(states, *heads.projection(model), tokens)
    return cross_entropy_sum(gathered, tokens), correct_sum(gathered, tokens)


def cross_entropy_sum(logits: Tensor, target: Tensor) -> Tensor:
    """Sum of -log p(target) in nats over the N rows of `logits` (N, K), computed in fp32."""
    return nn.functional.cross_entropy(logits.float(), target, reduction="sum")


def correct_sum(logits: Tensor, target: Tensor) -> Tensor:
    """How many of the N rows of `logits` (N, K) have their largest value at `target` (N,)."""
    return (logits.argmax(-1) == target).sum().to(torch.float32)
