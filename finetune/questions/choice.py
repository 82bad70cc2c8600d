"""Which of several choices goes on from a text?  Zellers et al. 2018; Devlin et al. 2019, section 4.4.

Each choice is read with the text, as a pair; one vector gives each a score, and a softmax over the choices decides.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import AutoModelForMultipleChoice, PreTrainedTokenizerFast

from engine.train.batch import Batch
from finetune.questions.encoding import Columns, Encoded, Predictions, parts, softmax, tokens_cut
from finetune.questions.question import Head
from finetune.tasks.task import Task


class Choice(Head):
    """One of C choices; cross-entropy over those that the row offers: the logits of others are −∞."""

    auto_class = AutoModelForMultipleChoice

    def config(self, task: Task) -> dict[str, Any]:
        return {}

    def encode(self, task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoded:
        """Columns of arrays (C, T), T the longest of a row's choices; the longer of text and choice loses its end."""
        *text, choices = task.columns
        names = [name for name in tokenizer.model_input_names if name != "position_ids"]
        columns: dict[str, Any] = {name: [] for name in names}
        cut: list[int] = []
        num_tokens = 0
        for part in parts(rows):
            num_choices = [len(row) for row in part[choices]]
            flat = [choice for row in part[choices] for choice in row]
            texts = [[t for t, n in zip(part[name], num_choices, strict=True) for _ in range(n)] for name in text]
            batch = tokenizer(*texts, flat, truncation="longest_first", max_length=max_length)
            lost = tokens_cut(batch, tokenizer, max_length, *texts, flat)
            num_tokens += sum(map(len, batch["input_ids"])) + sum(lost)
            ends = np.cumsum([0, *num_choices])
            for first, last in pairwise(ends):
                cut.append(sum(lost[first:last]))
                for name in names:
                    pad = tokenizer.pad_token_id if name == "input_ids" else 0
                    columns[name].append(together(batch[name][first:last], pad))
        if "label" in rows.column_names:
            columns["label"] = np.asarray(rows["label"][:], np.int64)
        decode = partial(decoded, num_choices=[len(ids) for ids in columns["input_ids"]])
        return Encoded(columns, decode, cut, num_tokens)

    def target(self, columns: Columns, index: Sequence[int], width: int) -> dict[str, Tensor]:
        return {
            "label": torch.tensor([columns["label"][row] for row in index]),  # (B,)
            "num_choices": torch.tensor([len(columns["input_ids"][row]) for row in index]),  # (B,)
        }

    def counts(self, x: dict[str, Tensor], y: dict[str, Tensor]) -> dict[str, int]:
        return {"loss": len(y["label"])}

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits = model(**batch.x).logits.float()  # (B, C)
        lacking = torch.arange(logits.shape[1], device=logits.device) >= batch.y["num_choices"][:, None]
        logits = logits.masked_fill(lacking, -torch.inf)
        return {"loss": nn.functional.cross_entropy(logits, batch.y["label"], reduction="sum")}

    def read(self, model: nn.Module, batch: Batch) -> list[Any]:
        """The logits of the choices (C,), those that pad the batch included: `decoded` knows how many there are."""
        return list(model(**batch.x).logits.float().cpu().numpy())


def decoded(outputs: Sequence[Any], num_choices: Sequence[int]) -> Predictions:
    """The likeliest of each row's own choices; where it has fewer than C, the others have probability 0."""
    logits = np.full((len(outputs), max(num_choices)), -np.inf, np.float32)  # (N, C)
    for row, (output, number) in enumerate(zip(outputs, num_choices, strict=True)):
        logits[row, :number] = output[:number]
    return Predictions(logits.argmax(-1), softmax(logits))


def together(rows: Sequence[Sequence[int]], pad: int) -> np.ndarray:
    """Rows of like lengths as one array (C, T)."""
    table = np.full((len(rows), max(map(len, rows))), pad, np.int32)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return table
