"""Which of several choices continues a text?  Zellers et al. 2018; Devlin et al. 2019, section 4.4.

Multiple choice. Each choice is read with the text, as a pair; one vector gives each a score, and a softmax over the
choices decides.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from datasets import ClassLabel, Dataset
from torch import Tensor, nn
from transformers import AutoModelForMultipleChoice, PreTrainedTokenizerFast

from engine.train.batch import Batch
from finetune.ask.playground.boxes import Text
from finetune.ask.playground.markup import bars
from finetune.questions import encoding
from finetune.questions.encoding import Columns, Encoded, Predictions
from finetune.questions.own_answers import CHOICES, OwnAnswers
from finetune.questions.question import Layout, Question
from finetune.tasks.fields import Fields, get_choices, get_text, join_words, show_value, to_label
from finetune.tasks.task import Task

LONGEST_NUMBER = 10  # digits of a choice's number: int() refuses thousands in words of its own


class OwnChoices(OwnAnswers):
    """The number of the right choice, from 0. Rows may have unlike numbers of choices."""

    name = "choice"
    columns = CHOICES
    metric = "accuracy"
    headline = "accuracy"

    def read(self, value: Any, row: Fields) -> int:
        last = len(row["choices"]) - 1
        number = to_label(value).removesuffix(".0")  # tables with a missing number have all their numbers so
        if not (number.isascii() and number.isdecimal() and len(number) < LONGEST_NUMBER) or int(number) > last:
            raise ValueError(f"the label {show_value(value)} is no choice; allowed: 0 to {last}")
        return int(number)

    def feature(self, labels: Sequence[str]) -> ClassLabel:
        return ClassLabel(names=list(labels))

    def list_labels(self, found: set[str], rows: Sequence[Fields]) -> list[str]:
        """As many as a row of any split offers."""
        return [str(number) for number in range(max(len(row["choices"]) for row in rows))]


class Choice(Question):
    """One of C choices; cross-entropy over those that the row offers: the logits of others are −∞."""

    name = "choice"
    auto_class = AutoModelForMultipleChoice
    pipeline = "multiple-choice"
    layouts = (
        {"text": "text", "choices": "choices"},
        {"choices": "choices"},
        {"text": "sent1", "beginning": "sent2", "choices": "ending0,ending1,ending2,ending3"},  # SWAG
    )
    own = (OwnChoices(),)
    page_title = "Choose"
    page_boxes = (
        Text("Beginning", "She opened the umbrella because"),
        Text(
            "Choices, a line each",
            "it had begun to rain.\nthe sun was too bright to see.\nhe likes cheese.",
            4,
            line_each=True,
        ),
    )

    def config(self, task: Task) -> dict[str, Any]:
        return {}

    def encode(self, task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoded:
        """Columns of arrays (C, T), T the longest of a row's choices; the longer of text and choice loses its end."""
        *text, choices = task.columns
        names = [name for name in tokenizer.model_input_names if name != "position_ids"]
        columns: dict[str, Any] = {name: [] for name in names}
        cut: list[int] = []
        num_tokens = 0
        for part in encoding.split_rows(rows):
            num_choices = [len(row) for row in part[choices]]
            flat = [choice for row in part[choices] for choice in row]
            texts = [[t for t, n in zip(part[name], num_choices, strict=True) for _ in range(n)] for name in text]
            batch = tokenizer(*texts, flat, truncation="longest_first", max_length=max_length)
            lost = encoding.count_cut_tokens(batch, tokenizer, max_length, *texts, flat)
            num_tokens += sum(map(len, batch["input_ids"])) + sum(lost)
            ends = np.cumsum([0, *num_choices])
            for first, last in pairwise(ends):
                cut.append(sum(lost[first:last]))
                for name in names:
                    pad = tokenizer.pad_token_id if name == "input_ids" else 0
                    columns[name].append(stack(batch[name][first:last], pad))
        if "label" in rows.column_names:
            columns["label"] = np.asarray(rows["label"][:], np.int64)
        decode = partial(choose, num_choices=[len(ids) for ids in columns["input_ids"]])
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

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """The logits of the choices (C,), those that pad the batch included: `choose` knows how many there are."""
        return list(model(**batch.x).logits.float().cpu().numpy())

    def columns(self, layout: Layout) -> tuple[str, ...]:
        return tuple(name for name in layout if name != "beginning")

    def read_fields(self, fields: Fields, layout: Layout) -> Fields:
        """The choices are a list, or stand in a column each. SWAG's are a beginning with one of four endings."""
        choices = get_choices(fields, layout["choices"].split(","))
        beginning = f"{get_text(fields, layout['beginning'])} " if "beginning" in layout else ""
        text = {"text": get_text(fields, layout["text"])} if "text" in layout else {}
        return {**text, "choices": [beginning + choice for choice in choices]}

    def format_answers(self, task: Task, predictions: Predictions, rows: Sequence[Fields]) -> Iterator[Fields]:
        """The number of the best choice, from 0, and the probability of each."""
        for row, answer, probabilities in zip(rows, predictions.answers, predictions.probabilities, strict=True):
            offered = probabilities[: len(row["choices"])]
            yield {"prediction": int(answer), "probabilities": [encoding.round_probability(value) for value in offered]}

    def input_texts(self, task: Task, table: Dataset) -> list[list[str]]:
        """With the longest of a row's choices."""
        *text, choices = task.columns
        return [*([join_words(value) for value in table[name]] for name in text),
                [max(row, key=len) for row in table[choices]]]  # fmt: skip

    def read_boxes(self, task: Task, values: Sequence[str]) -> Fields:
        text, choices = values
        return {"text": text, "choices": [line.strip() for line in choices.splitlines() if line.strip()]}

    def show(self, answer: Fields) -> str:
        shares = zip(answer["choices"], answer["probabilities"], strict=True)
        return bars(sorted(shares, key=lambda choice: -choice[1]))


def choose(outputs: Sequence[Any], num_choices: Sequence[int]) -> Predictions:
    """The likeliest of each row's own choices; where it has fewer than C, the others have probability 0."""
    logits = np.full((len(outputs), max(num_choices)), -np.inf, np.float32)  # (N, C)
    for row, (output, number) in enumerate(zip(outputs, num_choices, strict=True)):
        logits[row, :number] = output[:number]
    return Predictions(logits.argmax(-1), encoding.softmax(logits))


def stack(rows: Sequence[Sequence[int]], pad: int) -> np.ndarray:
    """Rows of like lengths as one array (C, T)."""
    table = np.full((len(rows), max(map(len, rows))), pad, np.int32)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return table
