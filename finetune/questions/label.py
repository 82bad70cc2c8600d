"""Which label does a text have, or a pair of texts?  Sequence classification: Devlin et al. 2019, section 4.1."""

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import ClassLabel, Dataset
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from engine.train.batch import Batch
from finetune.ask.playground.boxes import Text
from finetune.ask.playground.markup import bars
from finetune.questions import encoding
from finetune.questions.encoding import Columns, Encoded, Predictions
from finetune.questions.own_answers import TEXTS, OwnAnswers
from finetune.questions.question import Layout, Question
from finetune.tasks.fields import Fields, clean_text, to_label
from finetune.tasks.task import Task

MISSING = ("none", "null", "na", "n/a", "<na>")  # labels, where all the others are numbers
USAGE = """from transformers import pipeline

judge = pipeline("text-classification", model="{model}")
print(judge({example}))"""


class OwnLabels(OwnAnswers):
    name = "classification"
    columns = TEXTS
    metric = "accuracy_and_macro_f1"
    headline = "accuracy"

    def read(self, value: Any, row: Fields) -> str:
        label = clean_text(to_label(value)).strip()
        if label.lower() == "nan":
            raise ValueError(f"the label is {label}, as an empty field is written; a class needs another name")
        return label

    def feature(self, labels: Sequence[str]) -> ClassLabel:
        return ClassLabel(names=list(labels))

    def labels_in(self, answer: str) -> set[str]:
        return {answer}

    def list_labels(self, found: set[str], rows: Sequence[Fields]) -> list[str]:
        """Numbers by size, then names by the alphabet."""
        if len(found) < 2:
            raise ValueError(f"every training row has the label {found.pop()!r}: nothing to learn")
        return sorted(found, key=by_size)

    def encode(self, answer: str, code: Callable[[str], int]) -> int:
        return code(answer)

    def find_missing(self, answers: Sequence[str]) -> set[str]:
        """Such as NA, in a file where every other label is a number."""
        marks = {label for label in answers if label.lower() in MISSING}
        others = set(answers) - marks
        return marks if others and all(map(is_number, others)) else set()


class TextQuestion(Question):
    """What is asked of a text or a pair, and answered by K numbers: by labels or a score."""

    auto_class = AutoModelForSequenceClassification
    pipeline = "text-classification"
    problem_type: ClassVar[str]
    dtype: ClassVar[Any]  # of a row's answer
    layouts = (
        {"text": "text"},
        {"text": "sentence"},
        {"text": "text", "text_pair": "text_pair"},
        {"text": "sentence1", "text_pair": "sentence2"},
        {"text": "premise", "text_pair": "hypothesis"},
        {"text": "question", "text_pair": "sentence"},
        {"text": "question1", "text_pair": "question2"},
        {"text": "#1 String", "text_pair": "#2 String"},
    )
    page_boxes = (
        Text("Text", "A man is playing a guitar on the stage."),
        Text("Second text, for pairs", "A man is making music.", for_pairs=True),
    )

    def config(self, task: Task) -> dict[str, Any]:
        texts = {"text_columns": list(task.columns)} if task.columns else {}  # whether it reads pairs, later on
        return {**super().config(task), "problem_type": self.problem_type, **texts}

    def encode(self, task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoded:
        """Column "label". Where a pair is too long, the longer of the two loses its end first."""
        columns = encoding.start_columns(tokenizer)
        cut: list[int] = []
        for part in encoding.split_rows(rows):
            texts = [part[name] for name in task.columns]
            batch = tokenizer(*texts, truncation="longest_first", max_length=max_length)
            cut += encoding.count_cut_tokens(batch, tokenizer, max_length, *texts)
            encoding.append_batch(columns, batch)
        if "label" in rows.column_names:
            columns["label"] = np.asarray(rows["label"][:], self.dtype)
        return Encoded(columns, self.decode, cut, sum(map(len, columns["input_ids"])) + sum(cut))

    @abstractmethod
    def decode(self, outputs: Sequence[Any]) -> Predictions:
        """The predictions, from an output for each row."""

    def counts(self, x: dict[str, Tensor], y: dict[str, Tensor]) -> dict[str, int]:
        return {"loss": len(y["label"])}

    def check_layout(self, task: Task, layout: Layout) -> None:
        if task.columns and len(layout) != len(task.columns):
            wanted = "single texts: say --columns text=COLUMN" if len(task.columns) == 1 else (
                "pairs: say --columns text=COLUMN text_pair=COLUMN"
            )  # fmt: skip
            raise ValueError(f"{task.name} was fine-tuned for {wanted}")

    def usage(self, task: Task, model: PreTrainedModel) -> str:
        pair = len(task.columns) == 2
        example = '{"text": "A man is eating.", "text_pair": "Someone eats."}' if pair else '"It was a fine evening."'
        return USAGE.replace("{example}", example)

    def read_boxes(self, task: Task, values: Sequence[str]) -> Fields:
        """A pair, if the model was fine-tuned for pairs; where that is not known, if there is a second text."""
        text, pair = values
        is_pair = len(task.columns) == 2 if task.columns else bool(pair.strip())
        return {"text": text, "text_pair": pair} if is_pair else {"text": text}


class Label(TextQuestion):
    """One of K labels; cross-entropy."""

    name = "classification"
    problem_type = "single_label_classification"
    dtype = np.int64
    own = (OwnLabels(),)
    page_title = "Classify"
    weights: Tensor | None = None  # of the labels (K,), see `weigh_labels`

    def fits(self, config: PreTrainedConfig) -> bool:
        return super().fits(config) and not is_regression(config)

    def decode(self, outputs: Sequence[Any]) -> Predictions:
        logits = np.asarray(outputs)  # (N, K)
        return Predictions(logits.argmax(-1), encoding.softmax(logits))

    def target(self, columns: Columns, index: Sequence[int], width: int) -> dict[str, Tensor]:
        return {"label": torch.tensor([columns["label"][row] for row in index])}  # (B,)

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits = model(**batch.x).logits.float()  # (B, K)
        weights = None if self.weights is None else self.weights.to(logits.device, non_blocking=True)
        return {"loss": nn.functional.cross_entropy(logits, batch.y["label"], weights, reduction="sum")}

    def weigh_labels(self, task: Task, train: Dataset) -> "Label":
        """As scikit-learn's `class_weight="balanced"`: a row counts N / (K · rows of its label), so 1 in the mean, and
        the rows of each label count as much as those of any other. K: labels that have rows."""
        counts = np.bincount(train["label"][:], minlength=len(task.labels))
        own = copy.copy(self)
        own.weights = torch.tensor(counts.sum() / ((counts > 0).sum() * np.maximum(counts, 1)), dtype=torch.float32)
        return own

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """The logits of the labels (K,)."""
        return list(model(**batch.x).logits.float().cpu().numpy())

    def format_answers(self, task: Task, predictions: Predictions, rows: Sequence[Fields]) -> Iterator[Fields]:
        for answer, probabilities in zip(predictions.answers, predictions.probabilities, strict=True):
            by_label = dict(zip(task.labels, map(encoding.round_probability, probabilities), strict=True))
            yield {"prediction": task.labels[answer], "probabilities": by_label}

    def name_answer(self, task: Task, answer: Any) -> Any:
        return task.labels[answer]

    def show_answer(self, task: Task, row: Fields) -> str:
        return task.labels[row["label"]]

    def show(self, answer: Fields) -> str:
        return bars(sorted(answer["probabilities"].items(), key=lambda label: -label[1]))


def is_regression(config: PreTrainedConfig) -> bool:
    return config.problem_type == "regression" or config.num_labels == 1


def by_size(label: str) -> tuple[bool, float, str]:
    """The order of labels, the same in every process: also 1.1 and 1.10, which are equal as numbers, have theirs."""
    return (False, float(label), label) if is_number(label) else (True, 0.0, label)


def is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
