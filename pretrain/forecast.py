"""What does a step of a recipe need?  Each phase is tried on a made-up text, so that no corpus has to be there."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import AutoConfig, PreTrainedModel

from corpus.text.chapters import Chapter
from corpus.text.store import Store
from engine.train.batch import Batch
from engine.train.flops import count_flops
from engine.train.forecast import Memory, foreseen_memory, measured_seconds
from engine.train.plan import Phase
from pretrain.recipe import PretrainRecipe
from pretrain.vocabulary import Vocabulary
from tokenizer.load import load_tokenizer

SENTENCE = 25  # tokens, in Wikipedia and books
TRIAL = 1.0  # seconds that a micro-batch may take when it is tried; of a larger one, some rows are


@dataclass(frozen=True)
class Stage:
    """A phase of a recipe, as one of several processes meets it."""

    recipe: PretrainRecipe
    phase: Phase
    vocabulary: Vocabulary
    processes: int
    bf16: bool
    on_gpu: bool

    def batch(self, rows: int) -> Batch:
        """Examples of a made-up text, as the objective cuts them."""
        objective, length = self.recipe.objective, self.phase.length
        store = MadeUp(self.vocabulary, documents=rows + 8, sentences=2 * length // SENTENCE + 2)
        chapter = Chapter(cast(Store, store), np.arange(len(store)), is_last=True)
        units = objective.units(chapter, length, self.vocabulary, key=0)
        return objective.split(units.take(np.arange(rows)), self.vocabulary, key=0)

    def build(self) -> PreTrainedModel:
        """The model with fresh weights. A card's attention kernels keep no probabilities, whatever their dropout."""
        settings = self.recipe.model
        if self.on_gpu:
            known = AutoConfig.for_model(settings.get("model_type", "bert")).to_dict()
            names = ("attention_probs_dropout_prob", "attn_pdrop")
            settings = {**settings, **{name: 0.0 for name in names if name in known}}
        return self.recipe.objective.build(settings, self.vocabulary)

    def outline(self) -> PreTrainedModel:
        """The model without its numbers."""
        with torch.device("meta"):
            return self.build()

    @property
    def micro_batches(self) -> int:
        """Of a step, on each process."""
        return self.recipe.plan.global_batch // (self.phase.device_batch * self.processes)

    @cached_property
    def flops(self) -> float:
        """Of a step, forward and backward, on all processes."""
        rows = self.phase.device_batch
        return self._flops_of(self.batch(rows)) / rows * self.recipe.plan.global_batch

    @cached_property
    def memory(self) -> Memory:
        """Of one process."""
        recipe, batch = self.recipe, self.batch(self.phase.device_batch)
        return foreseen_memory(
            self.build, recipe.objective.loss, batch, recipe.optimizer, self.bf16, self.micro_batches > 1,
            self.outline().config.vocab_size, recipe.plan.checkpoint_activations,
        )  # fmt: skip

    def tried_seconds(self, peak: float) -> float:
        """Of a step on this machine's CPU, whose peak is `peak` FLOP/s: a micro-batch, or some rows of it, is timed."""
        recipe, rows = self.recipe, self.phase.device_batch
        row = self.flops / recipe.plan.global_batch
        batch = self.batch(max(1, min(rows, int(TRIAL * 0.3 * peak / row))))
        micro, optimizers = measured_seconds(
            self.build, recipe.objective.loss, batch, recipe.optimizer, self.bf16, recipe.plan.checkpoint_activations
        )
        return micro / self._flops_of(batch) * row * rows * self.micro_batches + optimizers

    def _flops_of(self, batch: Batch) -> float:
        return count_flops(self.outline(), self.recipe.objective.loss, batch)


class MadeUp:
    """A store (corpus.text.store) of documents that are nowhere: all alike, of sentences of SENTENCE tokens."""

    folder = Path("a made-up text")

    def __init__(self, vocabulary: Vocabulary, documents: int, sentences: int):
        self._ordinary, self._documents, self._sentences = vocabulary.ordinary, documents, sentences
        self.num_sentences = documents * sentences
        self.num_tokens = self.num_sentences * SENTENCE

    def __len__(self) -> int:
        return self._documents

    def tokens(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return self._ordinary[index * 7919 % len(self._ordinary)]

    def offsets(self, documents: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        size = self._sentences + 1
        places = documents[:, None] * self._sentences + np.arange(size)
        return places.ravel() * SENTENCE, np.arange(len(documents) + 1) * size


def vocabulary_of(recipe: PretrainRecipe) -> Vocabulary:
    """The tokenizer's, or, where it is not there yet, one of `model.vocab_size` made-up entries."""
    try:
        return Vocabulary.of(load_tokenizer(recipe.tokenizer))
    except (OSError, ValueError) as error:
        size = recipe.model.get("vocab_size")
        if size is None:
            raise ValueError(f"{error}; to plan without it, say model.vocab_size in the recipe") from None
        special = {name: place for place, name in enumerate(("pad", "cls", "sep", "mask", "eos"))}
        goes_on = np.arange(size) % 2 == 1
        return Vocabulary(size, special, np.arange(len(special), size), goes_on, np.ones(size, bool))


def parameters_by_part(model: nn.Module) -> dict[str, int]:
    """Parameters of the parts of the backbone (`bert.encoder`) and of the heads (`cls`); a tied one counts once."""
    backbone = getattr(model, "base_model_prefix", "")
    found: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        first, *rest = name.split(".")
        found[f"{first}.{rest[0]}" if first == backbone else first] += parameter.numel()
    return dict(found)
