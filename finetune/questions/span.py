"""Where in a context is the answer to a question?  Extractive question answering: Devlin et al. 2019, section 4.2.

A long context becomes several windows; `finetune.questions.windows` reads the answer off them.
"""

import math
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from markupsafe import escape
from torch import Tensor, nn
from transformers import AutoModelForQuestionAnswering, PreTrainedModel, PreTrainedTokenizerFast

from engine.run.disk import whole_file
from engine.run.finite import strict_json
from engine.train.batch import Batch
from finetune.ask.playground.boxes import Text
from finetune.ask.playground.markup import highlight, percent, table, with_title
from finetune.questions import encoding
from finetune.questions.encoding import NO_LABEL, Columns, Encoded, Predictions
from finetune.questions.question import Question
from finetune.questions.windows import (
    Span,
    Windows,
    choose_answers,
    choose_threshold,
    compute_null_odds,
    find_answer_tokens,
    find_best_spans,
    find_most_central,
)
from finetune.table import sections as page
from finetune.tasks.fields import Fields
from finetune.tasks.metrics import score
from finetune.tasks.metrics.answers import exact_match, f1, f1_or_nothing
from finetune.tasks.task import Task

LONGEST_QUESTION = 64  # tokens; a longer one loses its end
DOC_STRIDE = 128  # tokens that neighbouring windows share
BEST_SHOWN = 10  # answers on the page


class SpanQuestion(Question):
    """Where the answer starts and where it ends, in each window; the mean of two cross-entropies.

    Padding is no candidate. In transformers' own loss it is, so that there a window's loss depends on its company.
    """

    name = "span"
    auto_class = AutoModelForQuestionAnswering
    pipeline = "question-answering"
    answer_column = "answers"
    layouts = ({"question": "question", "context": "context"},)
    window = 384  # as in the published recipes
    cut = "with a question cut"
    unit = "questions"
    beyond = "becomes several windows"
    lost = "answers that no window holds whole"
    page_title = "Answer"
    page_boxes = (
        Text("Question", "When was the tower finished?", 1),
        Text(
            "Context",
            "The tower was built by Gustave Eiffel and his company. Work began in 1887, and it was finished in "
            "1889 for the World's Fair in Paris.",
            6,
        ),
    )

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
        columns = encoding.start_columns(tokenizer)
        windows = Windows()
        cut: list[int] = []
        num_tokens = 0
        for number, part in enumerate(encoding.split_rows(rows)):
            questions, contexts = (part[name] for name in task.columns)
            questions, num_asked = shorten_questions(questions, tokenizer, longest)
            cut += [max(0, length - longest) for length in num_asked]
            num_tokens += sum(num_asked)
            batch = tokenizer(
                questions, contexts, truncation="only_second", max_length=max_length,
                stride=overlap, return_overflowing_tokens=True, return_offsets_mapping=True,
            )  # fmt: skip
            encoding.append_batch(columns, batch)
            windows.row += [number * encoding.ROWS_PER_CALL + row for row in batch["overflow_to_sample_mapping"]]
            windows.offsets += [np.array(offsets, np.int32) for offsets in batch["offset_mapping"]]
            for window in batch.encodings or ():
                in_context = window.sequence_ids
                windows.first.append(in_context.index(1) if 1 in in_context else 0)
                windows.num_context.append(in_context.count(1))
            if task.unanswerable:
                windows.null += [null_token(ids, tokenizer) for ids in batch["input_ids"]]
        windows.central += find_most_central(np.array(windows.row), np.array(windows.num_context), overlap)
        num_lost = 0
        if "answers" in rows.column_names:
            answers = rows["answers"][:]
            columns["start"], columns["end"] = find_answer_tokens(windows, answers)
            num_lost = count_unheld(windows, columns["start"], answers)
        return Encoded(columns, partial(decode_logits, windows=windows, rows=rows), cut, num_tokens, num_lost)

    def trainable(self, columns: Columns) -> Columns:
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

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """(start logits (T,), end logits (T,)) for each window."""
        found = model(**batch.x)
        start, end = found.start_logits.float().cpu().numpy(), found.end_logits.float().cpu().numpy()
        return list(zip(start, end, strict=True))

    def decide(self, model: PreTrainedModel, predictions: Predictions) -> Predictions:
        """By the threshold that was chosen on dev, if one was."""
        return choose_answers(predictions.probabilities, getattr(model.config, "null_threshold", 0.0))

    def choose_on_dev(self, task: Task, model: PreTrainedModel, predictions: Predictions, rows: Dataset) -> Predictions:
        """Choose how much better "no answer" has to be, for the best F1 on these rows: `config.null_threshold`."""
        if not task.unanswerable:
            vars(model.config).pop("null_threshold", None)  # of a model that was fine-tuned for SQuAD v2.0 before
            return predictions
        model.config.null_threshold = choose_threshold(f1_or_nothing, predictions, rows)
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
            files["null_odds.json"] = {id_: compute_null_odds(spans) for id_, spans in found.items()}
            files["eval.json"] = list_official_scores(task, predictions, rows)
        for name, content in files.items():
            whole_file(folder / name, strict_json(content, ensure_ascii=False).encode())

    def align(self, task: Task, predictions: Any, rows: Dataset) -> tuple[list[Any], list[Any]]:
        """The predicted text of each row, in the rows' order, and its references."""
        missing = [id_ for id_ in rows["id"] if id_ not in predictions]
        if missing:
            raise ValueError(f"{task.name}: no prediction for question {missing[0]!r} ({len(missing)} such questions)")
        return [predictions[id_] for id_ in rows["id"]], [answers["text"] or [""] for answers in rows["answers"]]

    def guess(self, task: Task, train: Dataset, rows: Dataset) -> Any:
        """The context's first sentence, whatever the question; where a question may have no answer, none."""
        if task.unanswerable:
            return dict.fromkeys(rows["id"], "")
        starts = [re.split(r"(?<=[.?!])\s", context.strip(), maxsplit=1)[0] for context in rows["context"]]
        return dict(zip(rows["id"], starts, strict=True))

    def describe_collapse(self, task: Task, predictions: Predictions) -> str:
        return "" if any(predictions.answers.values()) else "gives the empty answer to every question"

    def format_answers(self, task: Task, predictions: Predictions, rows: Sequence[Fields]) -> Iterator[Fields]:
        """The best answer with its place, and all the best ones with their probabilities."""
        for answer, spans in self.pairs(predictions, [str(number) for number in range(len(rows))]):
            best = [
                {"text": span.text, "probability": encoding.round_probability(span.probability)}
                | {"start": span.start, "end": span.end}
                for span in spans
            ]
            place = next((span for span in best if span["text"] == answer), {})
            yield {"prediction": answer, **place, "best": best}

    def name_reference(self, task: Task, reference: Any) -> Any:
        return reference["text"]

    def pairs(self, predictions: Predictions, ids: Sequence[str]) -> Iterator[tuple[Any, Any]]:
        for id_ in ids:
            yield predictions.answers[id_], predictions.probabilities and predictions.probabilities[id_]

    def confidence(self, answer: Any, probabilities: Any) -> Any:
        share = find_share(answer, probabilities)
        return round(share, encoding.DIGITS) if math.isfinite(share) else None

    def sections(self, task: Task, rows: Dataset, predictions: Predictions) -> list[page.Section]:
        ids = rows["id"][:]
        references = [answers["text"] for answers in rows["answers"]]
        pairs = list(self.pairs(predictions, ids))
        given = [answer for answer, _ in pairs]
        shares = np.array([best_f1(answer, texts) for answer, texts in zip(given, references, strict=True)])
        sure = np.array([find_share(answer, spans or []) for answer, spans in pairs])
        mistakes = [
            page.Mistake(ids[row], " | ".join(dict.fromkeys(references[row])) or "(none)", given[row] or "(none)",
                    f"{sure[row]:.1%}" if np.isfinite(sure[row]) else "",
                    [("question", escape(rows[row]["question"])),
                     ("context", page.mark_excerpt(rows[row]["context"], references[row], given[row]))])
            for row in page.find_worst(shares < 0.5, sure)
        ]  # fmt: skip
        return [
            *([] if all(references) else [page.by_having_an_answer(references, given)]),
            page.by_length(task, rows, shares, "F1"),
            page.by_question_word(rows, shares),
            page.Section(
                "The surest mistakes", "The right answer is underlined, the model's is shaded.", mistakes=mistakes
            ),
        ]

    def describe_answers(self, task: Task, table: Dataset) -> str:
        given = [answer["text"] for answer in table["answers"]]
        lengths = [len(text.split()) for texts in given for text in texts[:1]]
        without = sum(not texts for texts in given)
        several = sum(map(len, given)) / max(1, len(given) - without)
        return (
            f"{len(given) - without:,} questions with {several:.1f} references each, of "
            f"{np.median(lengths or [0]):.0f} words in the median, {max(lengths or [0])} at most; "
            f"{without:,} without an answer"
        )

    def show_answer(self, task: Task, row: Fields) -> str:
        return " | ".join(dict.fromkeys(row["answers"]["text"])) or "(none)"

    def show(self, answer: Fields) -> str:
        """The context with the answer marked, and the best other answers."""
        found = [(answer["start"], answer["end"], "")] if answer["prediction"] else []
        rows = [[span["text"] or "(no answer)", percent(span["probability"])] for span in answer["best"][:BEST_SHOWN]]
        none = "" if answer["prediction"] else "<p>No answer.</p>"
        best = with_title("The best answers", table(["answer", "share"], rows))
        return none + highlight(answer["context"], found) + best


def find_share(answer: str, spans: Sequence[Span]) -> float:
    """The probability of an answer that is given; NaN where it is none of the spans."""
    return next((float(span.probability) for span in spans if span.text == answer), math.nan)


def best_f1(answer: str, references: Sequence[str]) -> float:
    return max((f1(answer, text) for text in references), default=float(not answer))


def list_official_scores(task: Task, predictions: Predictions, rows: Dataset) -> dict[str, float]:
    """The scores of the answers and of the best thresholds on these rows, named as in the official v2.0 script."""
    scores = {
        name.replace("exact_match", "exact"): value for name, value in score(task, predictions.answers, rows).items()
    }
    thresholds: dict[str, float] = {}
    for name, measure in (("exact", exact_match), ("f1", f1_or_nothing)):
        threshold = choose_threshold(measure, predictions, rows)
        best = score(task, choose_answers(predictions.probabilities, threshold).answers, rows)
        scores[f"best_{name}"] = best["exact_match" if name == "exact" else "f1"]
        thresholds[f"best_{name}_thresh"] = threshold
    has = sum(bool(answers["text"]) for answers in rows["answers"])
    percent = {name: 100 * value for name, value in scores.items()}
    return percent | thresholds | {"total": len(rows), "HasAns_total": has, "NoAns_total": len(rows) - has}


def count_unheld(windows: Windows, starts: npt.NDArray[np.int64], answers: Sequence[dict[str, list[Any]]]) -> int:
    """How many rows have an answer that none of their windows holds whole: nothing teaches it.  starts (W,)"""
    elsewhere = np.array(windows.null) if windows.null else NO_LABEL
    held = set(np.asarray(windows.row)[starts != elsewhere].tolist())
    return sum(bool(answer["text"]) and row not in held for row, answer in enumerate(answers))


def shorten_questions(texts: list[str], tokenizer: PreTrainedTokenizerFast, most: int) -> tuple[list[str], list[int]]:
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
    found = find_best_spans(logits[0], logits[1], windows, rows)
    return choose_answers(found, null_threshold=0.0)
