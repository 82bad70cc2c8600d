"""What do labelled rows become for a model, and what do its outputs become for the rows?  What all kinds share.

Tokenized rows (encodings) and predictions.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import BatchEncoding, PreTrainedTokenizerFast

Columns = dict[str, Sequence[Any]]

DIGITS = 6  # of a probability or a score that is written down
NO_LABEL = -100  # what cross-entropy leaves out
ROWS_PER_CALL = 1000  # the tokenizer's own record of a row is large: bounded memory on any number of rows


@dataclass(frozen=True)
class Predictions:
    """What a model says of the rows of a split, in their order.

    answers, which `finetune.tasks.metrics.score` judges, and how sure the model is of them:
      classification   labels (N,) int64                       (N, K) float32 probabilities of the labels
      choice           choices (N,) int64                      (N, C) float32 probabilities of the choices
      regression       scores (N,) float64                     None
      tagging          N arrays (num_words,) of tags           N arrays (num_words, K) float32
      span             {id: text}                              {id: its best spans, best first}
    """

    answers: Any
    probabilities: Any = None


@dataclass(frozen=True)
class Encoded:
    """The ids of all rows, and how a model's outputs for them are read.

    columns: by name, one value an example: a row, or for spans a window. "input_ids" (T,); "token_type_ids" (T,) if the
    tokenizer's model wants them; and, if the rows have answers, the answers, in the columns that the question's
    `target` reads.
    decode: from one output an example, as the question's `predict` gives it, in order, to the predictions for the rows.
    cut: how many tokens each row (N,) has that are not read, beyond the maximal length; for spans, of its question.
    num_tokens: what the rows have, those that are cut off too; for spans, the questions.
    num_lost: words without a token, beyond `max_length` or dropped by the tokenizer, which have no tag; for spans, rows
    whose answer no window holds whole.
    """

    columns: Columns
    decode: Callable[[Sequence[Any]], Predictions]
    cut: Sequence[int]
    num_tokens: int
    num_lost: int = 0

    @property
    def num_cut(self) -> int:
        return sum(tokens > 0 for tokens in self.cut)


def split_rows(rows: Dataset) -> Iterator[dict[str, list[Any]]]:
    """The rows in columns, `ROWS_PER_CALL` at a time."""
    for start in range(0, len(rows), ROWS_PER_CALL):
        yield rows[start : start + ROWS_PER_CALL]


def start_columns(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The columns that this tokenizer's model takes."""
    return {name: [] for name in ("input_ids", "token_type_ids") if name in tokenizer.model_input_names}


def append_batch(columns: dict[str, Any], batch: BatchEncoding) -> None:
    for name, column in columns.items():
        column += [np.array(values, np.int32) for values in batch[name]]


def count_cut_tokens(
    batch: BatchEncoding, tokenizer: PreTrainedTokenizerFast, max_length: int, *texts: Sequence[str]
) -> list[int]:
    """How many tokens each row of a batch lost when `texts` (a row's text, or its pair) were cut at `max_length`."""
    lengths = [len(ids) for ids in batch["input_ids"]]
    full = [row for row, length in enumerate(lengths) if length >= max_length]  # the others are whole
    cut = [0] * len(lengths)
    if full:
        whole = tokenizer(*([column[row] for row in full] for column in texts), verbose=False)["input_ids"]
        for row, ids in zip(full, whole, strict=True):
            cut[row] = len(ids) - lengths[row]
    return cut


def softmax(logits: Any) -> Any:
    """Probabilities over the last axis, float32."""
    logits = np.asarray(logits, np.float32)
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def round_probability(number: Any) -> float:
    """A probability or a score as it is written. Errors: ValueError for what is no number."""
    if not math.isfinite(number):
        raise ValueError(
            "the model's output is not a number (NaN): its weights are damaged, or its precision is too low"
        )
    return round(float(number), DIGITS)
