"""Where in a context is the answer to a question?  Devlin et al. 2019, section 4.2.

A long context becomes several windows; `finetune.questions.windows` reads the answer off them.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import AutoModelForQuestionAnswering, PreTrainedModel, PreTrainedTokenizerFast

from engine.run.disk import whole_file
from engine.run.finite import strict_json
from engine.train.batch import Batch
from finetune.questions.encoding import NO_LABEL, ROWS_PER_CALL, Columns, Encoded, Predictions, append, empty, parts
from finetune.questions.question import Head
from finetune.questions.windows import (
    Span,
    Windows,
    answer_tokens,
    best_spans,
    best_threshold,
    chosen,
    most_central,
    null_odds,
)
from finetune.tasks.metrics import score
from finetune.tasks.metrics.squad_scores.squad_scores import exact_match, f1_or_nothing, with_words
from finetune.tasks.task import Task

LONGEST_QUESTION = 64  # tokens; a longer one loses its end
DOC_STRIDE = 128  # tokens that neighbouring windows share


class SpanHead(Head):
    """Where the answer starts and where it ends, in each window; the mean of two cross-entropies.

    Padding is no candidate. In transformers' own loss it is, so that there a window's loss depends on its company.
    """

    auto_class = AutoModelForQuestionAnswering

    def config(self, task: Task) -> dict[str, Any]:
        return {"num_labels": 2}  # a start and an end, whatever the model was fine-tuned for before

    def encode(self, task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoded:
        """A question with its context, in as many windows as it takes.

        Neighbouring windows share `DOC_STRIDE` tokens (at most half a window's room, where windows are short). Devlin's
        script calls so the step from one window to the next; this is the meaning in transformers' examples. Where a
        question may have no answer, windows without one point at the [CLS] token (their section 4.3).
        """
        room = max_length - tokenizer.num_special_tokens_to_add(pair=True)
        longest = min(LONGEST_QUESTION, room // 2)
        overlap = min(DOC_STRIDE, (room - longest) // 2)
        columns = empty(tokenizer)
        windows = Windows()
        cut: list[int] = []
        num_tokens = 0
        for number, part in enumerate(parts(rows)):
            asked, contexts = (part[name] for name in task.columns)
            asked, num_asked = shortened(asked, tokenizer, longest)
            cut += [max(0, length - longest) for length in num_asked]
            num_tokens += sum(num_asked)
            batch = tokenizer(
                asked, contexts, truncation="only_second", max_length=max_length,
                stride=overlap, return_overflowing_tokens=True, return_offsets_mapping=True,
            )  # fmt: skip
            append(columns, batch)
            windows.row += [number * ROWS_PER_CALL + row for row in batch["overflow_to_sample_mapping"]]
            windows.offsets += [np.array(offsets, np.int32) for offsets in batch["offset_mapping"]]
            for encoding in batch.encodings or ():
                in_context = encoding.sequence_ids
                windows.first.append(in_context.index(1) if 1 in in_context else 0)
                windows.num_context.append(in_context.count(1))
            if task.unanswerable:
                windows.null += [null_token(ids, tokenizer) for ids in batch["input_ids"]]
        windows.central += most_central(np.array(windows.row), np.array(windows.num_context), overlap)
        num_lost = 0
        if "answers" in rows.column_names:
            answers = rows["answers"][:]
            columns["start"], columns["end"] = answer_tokens(windows, answers)
            num_lost = num_unheld(windows, columns["start"], answers)
        return Encoded(columns, partial(decode_logits, windows=windows, rows=rows), cut, num_tokens, num_lost)

    def trained_on(self, columns: Columns) -> Columns:
        """Without the windows that have nothing to point at: no answer, and no token that stands for that."""
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

    def decide(self, model: PreTrainedModel, predictions: Predictions) -> Predictions:
        """By the threshold that was chosen on dev, if one was."""
        return decided(predictions.probabilities, getattr(model.config, "null_threshold", 0.0))

    def settle(self, task: Task, model: PreTrainedModel, predictions: Predictions, rows: Dataset) -> Predictions:
        """Choose how much better "no answer" has to be, for the best F1 on these rows: `config.null_threshold`."""
        if not task.unanswerable:
            vars(model.config).pop("null_threshold", None)  # of a model that was fine-tuned for SQuAD v2.0 before
            return predictions
        model.config.null_threshold = threshold_for(f1_or_nothing, predictions, rows)
        return self.decide(model, predictions)

    def export(self, folder: Path, task: Task, rows: Dataset, predictions: Predictions) -> None:
        """Write what the field's scripts read and write, under their names: the answers, the n best, and for SQuAD
        v2.0 the odds of no answer and eval.json, as the official script prints it for them (percent)."""
        found: dict[str, list[Span]] = predictions.probabilities
        files: dict[str, Any] = {"predictions.json": predictions.answers, "nbest_predictions.json": {
            id_: [{name: getattr(span, name) for name in ("text", "probability", "start_logit", "end_logit")}
                  for span in spans] for id_, spans in found.items()
        }}  # fmt: skip
        if task.unanswerable:
            files["null_odds.json"] = {id_: null_odds(spans) for id_, spans in found.items()}
            files["eval.json"] = evaluated(task, predictions, rows)
        for name, content in files.items():
            whole_file(folder / name, strict_json(content, ensure_ascii=False).encode())


def evaluated(task: Task, predictions: Predictions, rows: Dataset) -> dict[str, float]:
    """The scores of the answers and of the best thresholds on these rows, named as in the official v2.0 script."""
    scores = {
        name.replace("exact_match", "exact"): value for name, value in score(task, predictions.answers, rows).items()
    }
    thresholds: dict[str, float] = {}
    for name, measure in (("exact", exact_match), ("f1", f1_or_nothing)):
        threshold = threshold_for(measure, predictions, rows)
        best = score(task, decided(predictions.probabilities, threshold).answers, rows)
        scores[f"best_{name}"] = best["exact_match" if name == "exact" else "f1"]
        thresholds[f"best_{name}_thresh"] = threshold
    has = sum(bool(answers["text"]) for answers in rows["answers"])
    percent = {name: 100 * value for name, value in scores.items()}
    return percent | thresholds | {"total": len(rows), "HasAns_total": has, "NoAns_total": len(rows) - has}


def threshold_for(measure: Callable[[str, str], float], predictions: Predictions, rows: Dataset) -> float:
    """The null threshold with which the best spans score most on these rows."""
    found = predictions.probabilities
    ids, references = rows["id"][:], [with_words(answers["text"]) for answers in rows["answers"]]
    best = [next((span.text for span in found[id_] if span.start >= 0), "") for id_ in ids]
    answered = [max(measure(text, right) for right in texts) for text, texts in zip(best, references, strict=True)]
    unanswered = [max(measure("", right) for right in texts) for texts in references]
    odds = np.array([null_odds(found[id_]) for id_ in ids])
    return best_threshold(odds, np.array(answered), np.array(unanswered))


def num_unheld(windows: Windows, starts: npt.NDArray[np.int64], answers: Sequence[dict[str, list[Any]]]) -> int:
    """How many rows have an answer that none of their windows holds whole: nothing teaches it.  starts (W,)"""
    elsewhere = np.array(windows.null) if windows.null else NO_LABEL
    held = set(np.asarray(windows.row)[starts != elsewhere].tolist())
    return sum(bool(answer["text"]) and row not in held for row, answer in enumerate(answers))


def shortened(texts: list[str], tokenizer: PreTrainedTokenizerFast, most: int) -> tuple[list[str], list[int]]:
    """The texts, cut where they have more than `most` tokens, and how many each had."""
    batch = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    places = batch["offset_mapping"]
    kept = [
        text[: offsets[most - 1][1]] if len(offsets) > most else text
        for text, offsets in zip(texts, places, strict=True)
    ]
    return kept, [len(offsets) for offsets in places]


def null_token(ids: Sequence[int], tokenizer: PreTrainedTokenizerFast) -> int:
    """Where "no answer" is read: at the [CLS] token, which in a decoder is the last one. Errors: ValueError."""
    if tokenizer.cls_token_id not in ids:
        raise ValueError("questions without an answer need a [CLS] token to point at, and this tokenizer puts none in")
    return list(ids).index(tokenizer.cls_token_id)


def decode_logits(
    outputs: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]], windows: Windows, rows: Dataset
) -> Predictions:
    """The best spans of each question, from (start logits, end logits) of each window, padding included."""
    width = max(len(offsets) for offsets in windows.offsets)
    logits = np.full((2, len(windows.offsets), width), -np.inf, np.float32)
    for window, (pair, offsets) in enumerate(zip(outputs, windows.offsets, strict=True)):
        for side in (0, 1):
            logits[side, window, : len(offsets)] = pair[side][: len(offsets)]
    found = best_spans(logits[0], logits[1], windows, rows)
    return decided(found, null_threshold=0.0)


def decided(found: dict[str, list[Span]], null_threshold: float) -> Predictions:
    """The answers to questions with these best spans."""
    return Predictions({id_: chosen(spans, null_threshold) for id_, spans in found.items()}, found)
