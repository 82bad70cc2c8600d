"""What is split off, and how is the guess judged?  (x, y) = split(t); train p(y | x).

A new objective is one file in `pretrain/objectives/` with one subclass of `Objective`; the file's name is the recipe's
`objective.name`. Splitting works on a whole batch at a time, because NumPy is fast only so, and stays independent of
the batch: an example's draws are a function of (key, index) alone, where the key stands for the seed, the epoch and the
chapter.
"""

import difflib
import importlib
import math
import pkgutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerFast

import networks  # noqa: F401, it makes its model types known to AutoConfig
from corpus.chapters import Chapter
from corpus.source import Whitespace
from engine.batch import Batch
from engine.curves import Panels
from pretrain.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """One way to split t. The fields are the recipe's `objective:` section."""

    name: str
    panels: ClassVar[Panels]  # which curves are worth a look, by panel
    pipeline: ClassVar[Literal["fill-mask", "text-generation"]]  # transformers' pipeline for such a model
    special_tokens: ClassVar[tuple[str, ...]]  # that a tokenizer must have
    whitespace: ClassVar[Whitespace] = "clean"  # how it is treated where a source does not say

    @staticmethod
    def from_section(name: str) -> type["Objective"]:
        """Return the objective class in `pretrain/objectives/NAME.py`. Errors: ValueError with the names there are."""
        import pretrain.objectives as room

        names = [module.name for module in pkgutil.iter_modules(room.__path__)]
        if name not in names:
            nearest = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise ValueError(f"unknown objective {name!r}{hint} (objectives: {', '.join(names)})")
        module = importlib.import_module(f"pretrain.objectives.{name}")
        return next(
            found
            for found in vars(module).values()
            if isinstance(found, type) and issubclass(found, Objective) and found.__module__ == module.__name__
        )

    @property
    def needs_sentences(self) -> bool:
        """Whether its examples are made of sentences."""
        return False

    @abstractmethod
    def units(self, chapter: Chapter, length: int, vocabulary: Vocabulary, key: int) -> Any:
        """Group a chapter's text into examples of `length` tokens: an object with `len()`, `take(index (B,)) -> t` and
        `report()`."""

    @abstractmethod
    def split(self, t: Any, vocabulary: Vocabulary, key: int) -> Batch:
        """Cut B examples into (x, y). Pure: the same arguments give the same batch on any worker or process."""

    @abstractmethod
    def build(self, model: dict[str, Any], vocabulary: Vocabulary) -> PreTrainedModel:
        """Make p(y | x) with fresh weights: a transformers architecture. Errors: ValueError for impossible sizes."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Judge one forward pass. Return SUMS: one per key of `batch.counts`, which is minimised as sum / count, and,
        when the model is not training, further sums for `metrics`."""

    @property
    @abstractmethod
    def in_short(self) -> str:
        """The objective in a few words, for a model card."""

    @abstractmethod
    def metrics(self, sums: dict[str, float], counts: dict[str, int]) -> dict[str, float]:
        """Turn sums over a whole evaluation into named values."""

    @abstractmethod
    def baselines(self, batches: list[Batch]) -> dict[str, float]:
        """What a guesser that sees no x reaches on `batches`, under the names of `metrics`."""

    @abstractmethod
    def in_words(self, batch: Batch, tokenizer: PreTrainedTokenizerFast) -> list[str]:
        """Show each example of a batch to a person: a Markdown line or more for each."""

    def remarks(self, batches: list[Batch], vocabulary: Vocabulary) -> list[str]:
        """What a reader must know of a text that becomes such batches, in Markdown lines. Errors: ValueError for a
        setting that can do nothing with it."""
        return []

    def samples(
        self, model: nn.Module, tokenizer: PreTrainedTokenizerFast, seed: int, unseen: list[Batch]
    ) -> list[str]:
        """What the model makes up, or guesses in held-out `unseen`, a Markdown line each: the same questions always."""
        return []


def configuration(settings: dict[str, Any], objective: str, kinds: tuple[str, ...], vocabulary: Vocabulary) -> Any:
    """Return the transformers config of the recipe's `model:` section, whose `model_type` must be one of `kinds`; the
    first one where it is left out.

    Errors: ValueError for another kind, a vocabulary that is too small, and a key that the config does not know:
    transformers itself keeps an unknown key and goes on with the default of the one that was meant.
    """
    settings = {"model_type": kinds[0], "vocab_size": vocabulary.size, **settings}
    if settings["model_type"] not in kinds:
        any_of = " or ".join(f"`{kind}`" for kind in kinds)
        raise ValueError(f"model.model_type is {settings['model_type']!r}; the {objective} objective trains a {any_of}")
    if settings["vocab_size"] < vocabulary.size:
        raise ValueError(
            f"model.vocab_size is {settings['vocab_size']}, smaller than the tokenizer's {vocabulary.size} entries; "
            "leave it out to take the tokenizer's"
        )
    default = AutoConfig.for_model(settings["model_type"])
    known = set(default.to_dict()) | set(default.attribute_map) | {"attn_implementation"}
    for key in settings:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise ValueError(f"unknown key 'model.{key}'{hint} (keys: {', '.join(sorted(known))})")
    return AutoConfig.for_model(**settings)


def perplexity(loss: float) -> float:
    """exp of a mean loss in nats; infinite where a float ends."""
    return math.inf if loss > 709 else math.exp(loss)


def cross_entropy_sum(logits: Tensor, target: Tensor) -> Tensor:
    """Sum of -log p(target) in nats over the N rows of `logits` (N, K), computed in fp32."""
    return nn.functional.cross_entropy(logits.float(), target, reduction="sum")


def correct_sum(logits: Tensor, target: Tensor) -> Tensor:
    """How many of the N rows of `logits` (N, K) have their largest value at `target` (N,)."""
    return (logits.argmax(-1) == target).sum().to(torch.float32)


def unigram(tokens: Tensor) -> tuple[float, float]:
    """The entropy in nats of the distribution of `tokens` (M,), the least loss of a guesser that sees no x; and the
    share of the commonest one, the most it gets right."""
    share = torch.bincount(tokens).double() / len(tokens)
    return -torch.special.xlogy(share, share).sum().item(), share.max().item()
