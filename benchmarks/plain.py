"""What would a user run otherwise?  The plain transformers way, as its examples have it.

`run_mlm_no_trainer.py` and `run_clm_no_trainer.py` of transformers' examples, less their logging and command lines:
texts tokenized by `datasets.map`, chained and cut into blocks, a collator in a DataLoader, `BertForMaskedLM`,
`GPT2LMHeadModel` or our LSTM with its loss at every position by its own `labels`, torch's AdamW as it is, gradients
clipped at 1.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Literal

import datasets
import torch
from torch import nn
from torch.utils.data import DataLoader, Sampler
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    default_data_collator,
)

import networks  # noqa: F401, it makes the LSTM known

Family = Literal["bert", "gpt2"]
MASK_RATE = 0.15
MAX_NORM = 1.0


def group_texts(examples: dict[str, list[list[int]]], length: int) -> dict[str, list[list[int]]]:
    """Chain the texts of a batch and cut them into blocks of `length` tokens; what is left at the end is dropped."""
    chained = {name: list(chain(*rows)) for name, rows in examples.items()}
    total = len(chained["input_ids"]) // length * length
    return {name: [row[at : at + length] for at in range(0, total, length)] for name, row in chained.items()}


def blocks(
    texts: datasets.Dataset, tokenizer: PreTrainedTokenizerFast, family: Family, length: int
) -> datasets.Dataset:
    """The column `text` as blocks of `length` tokens (run_mlm's and run_clm's `main`, the part before training)."""

    def tokenized(rows: dict[str, list[str]]) -> Any:
        return tokenizer(rows["text"], return_special_tokens_mask=family == "bert", verbose=False)

    def grouped(rows: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        found = group_texts(rows, length)
        return found if family == "bert" else found | {"labels": found["input_ids"]}

    return texts.map(tokenized, batched=True, remove_columns=texts.column_names).map(grouped, batched=True)


def collator(tokenizer: PreTrainedTokenizerFast, family: Family, seed: int | None = None) -> Callable[[Any], Any]:
    """What makes a batch of blocks: run_mlm's masking, or for run_clm nothing but stacking."""
    if family == "gpt2":
        return default_data_collator
    return DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASK_RATE, seed=seed)


def architecture(model: dict[str, Any], vocab_size: int) -> PreTrainedModel:
    """The model of this configuration, as its library starts it, with its dropout."""
    config: Any = AutoConfig.for_model(**model, vocab_size=vocab_size)
    made: Any = BertForMaskedLM if model["model_type"] == "bert" else MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    return made(config)


class Plain:
    """A model in the plain loop: `steps(n)` takes n optimizer steps and gives their losses
    as they are on the device.

    `rate(step)` is the learning rate of step 1, 2, ...; `bf16` is torch's autocast, as Accelerate's mixed precision.
    `order`, if given, is the sampler of the examples' DataLoader in place of a shuffle.
    """

    def __init__(
        self,
        model: nn.Module,
        examples: datasets.Dataset,
        collate: Callable[[Any], Any],
        batch: int,
        rate: Callable[[int], float],
        bf16: bool = False,
        workers: int = 0,
        order: Sampler[int] | Iterable[int] | None = None,
    ):
        self.model, self.bf16, self.rate, self.step = model, bf16, rate, 0
        self.device = next(model.parameters()).device
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=rate(1))
        self.loader: DataLoader[Any] = DataLoader(
            examples, batch_size=batch, sampler=order, shuffle=order is None, collate_fn=collate, drop_last=True,
            num_workers=workers, pin_memory=self.device.type == "cuda",
        )  # fmt: skip
        self._batches = self._endless()

    def steps(self, number: int) -> Iterator[torch.Tensor]:
        self.model.train()
        for _ in range(number):
            batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in next(self._batches).items()}
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                loss = self.model(**batch).loss
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), MAX_NORM)
            self.step += 1
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(self.step)
            self.optimizer.step()
            self.optimizer.zero_grad()
            yield loss.detach()

    def _endless(self) -> Iterator[dict[str, torch.Tensor]]:
        while True:
            yield from self.loader
