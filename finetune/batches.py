"""Which labelled examples stand together?  Batches of like lengths (bucketing, collate), so that little is padded."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedTokenizerFast

from engine.train import draws
from engine.train.batch import Batch
from engine.train.batches import Position
from finetune.decoder import WithLanguageModel
from finetune.questions.encoding import Columns
from finetune.questions.question import Question

EVALUATION_TOKENS = 8192  # of a batch that is only read
INPUTS = ("input_ids", "token_type_ids")
Objective = Question | WithLanguageModel


class LabelledEpoch:
    """One pass over encoded rows, in an order that is a function of (seed, epoch).

    The order is random, then sorted by length within groups of `GROUP` batches, whose batches are shuffled again: a
    batch holds like lengths, and which rows meet still changes from epoch to epoch.
    """

    GROUP = 50

    def __init__(self, columns: Columns, question: Objective, pad: int, global_batch: int, seed: int, number: int):
        self.is_last = True  # an epoch is one chapter
        self.cursor: dict[str, Any] = {}
        self.next_cursor: dict[str, Any] = {}
        self.columns, self.question, self.pad = columns, question, pad
        lengths = count_lengths(columns)
        self.longest = int(lengths.max())
        self.order = _like_lengths_together(lengths, global_batch, self.GROUP, seed, number)

    def batch(self, index: npt.NDArray[np.int64]) -> Batch:
        x = pad_examples(self.columns, index, self.pad, self.longest)
        y = self.question.target(self.columns, index.tolist(), x["input_ids"].shape[1])
        return make_batch(x, y, self.question.counts(x, y))


def make_epochs(
    columns: Columns, question: Objective, tokenizer: PreTrainedTokenizerFast, global_batch: int, seed: int
) -> Callable[[Position, int], LabelledEpoch]:
    """Return a function that opens the epoch in which a position stands."""
    pad = tokenizer.pad_token_id
    return lambda position, _: LabelledEpoch(columns, question, pad, global_batch, seed, position.epoch)


def make_evaluation_batches(
    columns: Columns, tokenizer: PreTrainedTokenizerFast, num_tokens: int = EVALUATION_TOKENS
) -> tuple[list[Batch], npt.NDArray[np.int64]]:
    """Return batches without y, longest first, of up to `num_tokens` places, and the row of each example in them.

    An example that is longer than that has a batch to itself.
    """
    lengths = count_lengths(columns)
    rows = np.argsort(-lengths, kind="stable")
    longest = int(lengths.max())
    batches, start = [], 0
    while start < len(rows):
        size = max(1, num_tokens // round_width(int(lengths[rows[start]]), longest))
        batches.append(
            make_batch(pad_examples(columns, rows[start : start + size], tokenizer.pad_token_id, longest), {}, {})
        )
        start += size
    return batches, rows


def make_batch(x: dict[str, torch.Tensor], y: dict[str, torch.Tensor], counts: dict[str, int]) -> Batch:
    """A batch of padded texts (B, T) or (B, C, T). Its sizes are each example's real tokens, of all its choices."""
    return Batch(x, y, counts, tuple(x["attention_mask"].flatten(1).sum(1).tolist()), x["input_ids"].numel())


def pad_examples(columns: Columns, index: npt.NDArray[np.int64], pad: int, longest: int) -> dict[str, torch.Tensor]:
    """Lay the inputs of the examples `index` out as (B, T), or (B, C, T) for C choices, with their attention mask.

    C is the most choices that one of them has. What others lack is a choice of one token, for the head to pass over.
    T is the longest of them, a little rounded up but not beyond `longest`: kernels are chosen, and on a CPU compiled
    and kept, for each width, so some twenty widths take less memory than all of them.
    """
    inputs = columns["input_ids"]
    num_choices = (max(len(inputs[row]) for row in index),) if inputs[index[0]].ndim > 1 else ()
    shape = (len(index), *num_choices, round_width(max(inputs[row].shape[-1] for row in index), longest))
    x = {name: np.full(shape, pad if name == "input_ids" else 0) for name in INPUTS if name in columns}
    x["attention_mask"] = np.zeros(shape, np.int64)
    for place, row in enumerate(index):
        *own, length = inputs[row].shape  # own: the number of its choices, if there are such
        there: tuple[int | slice, ...] = (place, *map(slice, own), slice(length))
        x["attention_mask"][there] = columns["attention_mask"][row] if "attention_mask" in columns else 1
        for name in INPUTS:
            if name in columns:
                x[name][there] = columns[name][row]
        for number in own:  # a row of padding alone would give NaN
            x["input_ids"][place, number:, 0] = inputs[row][0, 0]
            x["attention_mask"][place, number:, 0] = 1
    return {name: torch.from_numpy(table) for name, table in x.items()}


def count_lengths(columns: Columns) -> npt.NDArray[np.int64]:
    """The tokens of each example (N,), of the longest choice where there are several."""
    return np.array([ids.shape[-1] for ids in columns["input_ids"]])


def round_width(length: int, longest: int) -> int:
    """The places of a batch whose longest example has `length` tokens: the next multiple of an eighth of its octave.

    So at most an eighth is rounded up: 12 stays 12, 35 becomes 36, 70 becomes 72, 200 becomes 208.
    """
    step = max(1, 2 ** ((length - 1).bit_length() - 1) // 8) if length > 1 else 1
    return min(-(-length // step) * step, longest)


def _like_lengths_together(
    lengths: npt.NDArray[np.int64], batch: int, group: int, seed: int, number: int
) -> npt.NDArray[np.int64]:
    order = draws.permutation(draws.stream("order", seed, number), len(lengths))
    size = batch * group
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    grouped = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in groups])
    whole = len(grouped) // batch
    shuffled = draws.permutation(draws.stream("batches", seed, number), whole)
    batches = grouped[: whole * batch].reshape(whole, batch)[shuffled].ravel()
    return np.concatenate([batches, grouped[whole * batch :]])  # the smaller last batch stays last
