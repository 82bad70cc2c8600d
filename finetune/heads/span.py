"""Where in a context is the answer to a question?  Devlin et al. 2019, section 4.2.

A long context becomes several windows; `finetune.spans` reads the answer off them.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import AutoModelForQuestionAnswering, PreTrainedTokenizerFast

from engine.batch import Batch
from finetune.encoding import NO_LABEL, ROWS_PER_CALL, Columns, Encoded, Predictions, append, empty, parts
from finetune.head import Head
from finetune.spans import Windows, answer_tokens, decode_spans, most_central
from finetune.task import Task

LONGEST_QUESTION = 64  # tokens; a longer one loses its end
DOC_STRIDE = 128  # tokens that neighbouring windows share


class Span(Head):
    """Where the answer starts and where it ends, in each window; the mean of two cross-entropies.

    Padding is no candidate. In transformers' own loss it is, so that there a window's loss depends on its company.
    """

    auto_class = AutoModelForQuestionAnswering

    def config(self, task: Task) -> dict[str, Any]:
        return {}

    def encode(self, task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoded:
        """A question with its context, in as many windows as it takes.

        Neighbouring windows share `DOC_STRIDE` tokens (at most half a window's room, where windows are short). Devlin's
        script calls so the step from one window to the next; this is the meaning in transformers' examples.
        """
        room = max_length - tokenizer.num_special_tokens_to_add(pair=True)
        longest = min(LONGEST_QUESTION, room // 2)
        overlap = min(DOC_STRIDE, (room - longest) // 2)
        columns = empty(tokenizer)
        windows = Windows()
        for number, part in enumerate(parts(rows)):
            asked, contexts = (part[name] for name in task.columns)
            batch = tokenizer(
                shortened(asked, tokenizer, longest), contexts, truncation="only_second", max_length=max_length,
                stride=overlap, return_overflowing_tokens=True, return_offsets_mapping=True,
            )  # fmt: skip
            append(columns, batch)
            windows.row += [number * ROWS_PER_CALL + row for row in batch["overflow_to_sample_mapping"]]
            windows.offsets += [np.array(offsets, np.int32) for offsets in batch["offset_mapping"]]
            for encoding in batch.encodings or ():
                in_context = encoding.sequence_ids
                windows.first.append(in_context.index(1) if 1 in in_context else 0)
                windows.num_context.append(in_context.count(1))
        windows.central += most_central(np.array(windows.row), np.array(windows.num_context), overlap)
        if "answers" in rows.column_names:
            columns["start"], columns["end"] = answer_tokens(windows, rows["answers"][:])
        return Encoded(columns, partial(decode_logits, windows=windows, rows=rows))

    def trained_on(self, columns: Columns) -> Columns:
        """Without the windows that do not hold the answer."""
        kept = np.flatnonzero(np.asarray(columns["start"]) != NO_LABEL).tolist()
        return {name: [column[example] for example in kept] for name, column in columns.items()}

    def target(self, columns: Columns, index: Sequence[int], width: int) -> dict[str, Tensor]:
        return {name: torch.tensor([int(columns[name][row]) for row in index]) for name in ("start", "end")}  # (B,)

    def counts(self, x: dict[str, Tensor], y: dict[str, Tensor]) -> dict[str, int]:
        return {"loss": len(y["start"])}

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        found, padding = model(**batch.x), batch.x["attention_mask"] == 0
        start = found.start_logits.float().masked_fill(padding, -torch.inf)  # (B, T)
        end = found.end_logits.float().masked_fill(padding, -torch.inf)  # (B, T)
        sums = [
            nn.functional.cross_entropy(logits, batch.y[name], reduction="sum")
            for name, logits in (("start", start), ("end", end))
        ]
        return {"loss": (sums[0] + sums[1]) / 2}

    def read(self, model: nn.Module, batch: Batch) -> list[Any]:
        """(start logits (T,), end logits (T,)) for each window."""
        found = model(**batch.x)
        start, end = found.start_logits.float().cpu().numpy(), found.end_logits.float().cpu().numpy()
        return list(zip(start, end, strict=True))


def shortened(texts: list[str], tokenizer: PreTrainedTokenizerFast, most: int) -> list[str]:
    """The texts, cut where they have more than `most` tokens."""
    batch = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    places = batch["offset_mapping"]
    return [
        text[: offsets[most - 1][1]] if len(offsets) > most else text
        for text, offsets in zip(texts, places, strict=True)
    ]


def decode_logits(
    answers: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]], windows: Windows, rows: Dataset
) -> Predictions:
    """The best answer of each question, from (start logits, end logits) of each window, padding included."""
    width = max(len(offsets) for offsets in windows.offsets)
    logits = np.full((2, len(windows.offsets), width), -np.inf, np.float32)
    for window, (pair, offsets) in enumerate(zip(answers, windows.offsets, strict=True)):
        for side in (0, 1):
            logits[side, window, : len(offsets)] = pair[side][: len(offsets)]
    return Predictions(decode_spans(logits[0], logits[1], windows, rows))
