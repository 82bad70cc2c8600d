"""What does a step of a recipe need?  Each phase is tried on made-up material, so that no corpus has to be there."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, PreTrainedModel

from corpus.images.medium import Images
from corpus.medium import Medium
from corpus.text.medium import Text
from corpus.text.vocabulary import Vocabulary
from engine.run.precision import Precision, choose_precision, use_matmul
from engine.train.batch import Batch
from engine.train.flops import Card, count_flops
from engine.train.forecast import Memory, foreseen_memory, measured_seconds
from engine.train.plan import Phase
from pretrain.network import kind_of
from pretrain.recipe import PretrainRecipe
from tokenizer.load import load_tokenizer

TRIAL = 1.0  # seconds that a micro-batch may take when it is tried; of a larger one, some rows are


@dataclass(frozen=True)
class Stage:
    """A phase of a recipe, as one of several processes meets it."""

    recipe: PretrainRecipe
    phase: Phase
    medium: Medium
    processes: int
    bf16: bool
    on_gpu: bool

    def batch(self, rows: int) -> Batch:
        """Examples of made-up material, as the objective cuts them."""
        objective, size = self.recipe.objective, self.phase.size
        units = objective.units(self.medium.fake(rows, size), size, self.medium, key=0)
        return objective.split(units.take(np.arange(rows)), self.medium, key=0)

    def build(self) -> PreTrainedModel:
        """The model with fresh weights. A card's attention kernels keep no probabilities, whatever their dropout."""
        settings = self.recipe.model
        if self.on_gpu and isinstance(self.medium, Text):
            known = AutoConfig.for_model(kind_of(settings, self.recipe.objective.model_type)).to_dict()
            names = ("attention_probs_dropout_prob", "attn_pdrop")
            settings = {**settings, **{name: 0.0 for name in names if name in known}}
        return self.recipe.objective.build(settings, self.medium)

    def outline(self) -> PreTrainedModel:
        """The model without its numbers."""
        with torch.device("meta"):
            return self.build()

    @property
    def units(self) -> float:
        """That an example has room for."""
        return float(self.medium.count(self.phase.size))

    @property
    def micro_batches(self) -> int:
        """Of a step, on each process."""
        return self.recipe.plan.global_batch_size // (self.phase.device_batch * self.processes)

    @cached_property
    def flops(self) -> float:
        """Of a step, forward and backward, on all processes."""
        rows = self.phase.device_batch
        return self._flops_of(self.batch(rows)) / rows * self.recipe.plan.global_batch_size

    @cached_property
    def memory(self) -> Memory:
        """Of one process."""
        recipe, batch = self.recipe, self.batch(self.phase.device_batch)
        return foreseen_memory(
            self.build, recipe.objective.loss, batch, recipe.optimizer, self.bf16, self.micro_batches > 1,
            getattr(self.outline().config, "vocab_size", 0), recipe.plan.gradient_checkpointing,
        )  # fmt: skip

    def tried_seconds(self, peak: float) -> float:
        """Of a step on this machine's CPU, whose peak is `peak` FLOP/s: a micro-batch, or some rows of it, is timed."""
        recipe, rows = self.recipe, self.phase.device_batch
        row = self.flops / recipe.plan.global_batch_size
        batch = self.batch(max(1, min(rows, int(TRIAL * 0.3 * peak / row))))
        micro, optimizers = measured_seconds(
            self.build, recipe.objective.loss, batch, recipe.optimizer, self.bf16, recipe.plan.gradient_checkpointing
        )
        return micro / self._flops_of(batch) * row * rows * self.micro_batches + optimizers

    def _flops_of(self, batch: Batch) -> float:
        return count_flops(self.outline(), self.recipe.objective.loss, batch)


def medium_of(recipe: PretrainRecipe) -> Medium:
    """The medium of the recipe, without its material."""
    return Images() if recipe.objective.medium is Images else text_of(recipe)


def text_of(recipe: PretrainRecipe) -> Text:
    """Text in the recipe's tokenizer, or, where it is not there yet, in `model.vocab_size` made-up entries."""
    try:
        return Text(Vocabulary.of(load_tokenizer(recipe.tokenizer_source, recipe.tokenizer_revision)))
    except (OSError, ValueError) as error:
        size = recipe.model.get("vocab_size")
        if size is None:
            raise ValueError(f"{error}; to plan without it, say model.vocab_size in the recipe") from None
        special = {name: place for place, name in enumerate(("pad", "cls", "sep", "mask", "eos"))}
        goes_on = np.arange(size) % 2 == 1
        return Text(Vocabulary(size, special, np.arange(len(special), size), goes_on, np.ones(size, bool)))


def parameters_by_part(model: nn.Module) -> dict[str, int]:
    """Parameters of the parts of the backbone (`bert.encoder`) and of the heads (`cls`); a tied one counts once."""
    backbone = getattr(model, "base_model_prefix", "")
    found: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        first, *rest = name.split(".")
        found[f"{first}.{rest[0]}" if first == backbone else first] += parameter.numel()
    return dict(found)


def trains_in_bf16(recipe: PretrainRecipe, gpu: Card | None) -> bool:
    """As the run would choose; this machine's matrix kernels are chosen, too."""
    if gpu:
        return recipe.mixed_precision == "bf16" or (recipe.mixed_precision == "auto" and gpu.bf16 is not None)
    chosen, _ = choose_precision(Precision(recipe.mixed_precision, recipe.matmul), torch.device("cpu"))
    use_matmul(chosen.matmul)
    return chosen.mixed_precision == "bf16"
