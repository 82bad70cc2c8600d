"""What is asked of a row, and how is it learnt, answered, scored and shown?  The base class of the kinds of question.

A kind is a head on top of the encoder, after Devlin et al. 2019, section 4. It is one file of `finetune/questions`, and
nothing outside that folder tells one kind from another. The models' classes are transformers' own, so what is saved
opens anywhere.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from engine.train.batch import Batch
from finetune.ask.playground.boxes import Box
from finetune.questions.encoding import DIGITS, Columns, Encoded, Predictions
from finetune.questions.own_answers import OwnAnswers
from finetune.table.sections import Section, label_sections
from finetune.tasks.fields import Fields, get_text, join_words, shorten
from finetune.tasks.task import Task

Layout = dict[str, str]  # what the model is given → the file's column that holds it

USAGE = """# one JSON object a line, with the keys {columns}:
#   python -m finetune.predict {model} questions.jsonl
from transformers import AutoModelFor{kind}

model = AutoModelFor{kind}.from_pretrained("{model}")"""


class Question(ABC):
    """One kind of question.

    Where a kind does not say otherwise, an answer is one of several classes: its number stands in the column `label`.
    """

    name: ClassVar[str]
    auto_class: ClassVar[Any]  # AutoModelFor…
    pipeline: ClassVar[str]  # the Hub's name for what the model does

    # The model: inputs, loss, outputs

    def config(self, task: Task) -> dict[str, Any]:
        """What the model's config has to say of this task: labels by name."""
        labels = task.labels or ("score",)
        return {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}

    def fits(self, config: PreTrainedConfig) -> bool:
        """Whether a saved model answers this kind of question."""
        return (config.architectures or [""])[0].endswith(self.architecture)

    @property
    def architecture(self) -> str:
        """How the names of the models' classes end, such as ForTokenClassification."""
        return str(self.auto_class.__name__).removeprefix("AutoModel")

    @abstractmethod
    def encode(self, task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoded:
        """Encode rows, with their answers if they have them."""

    def trainable(self, columns: Columns) -> Columns:
        """The columns to train on: all examples, unless some have no target."""
        return columns

    @abstractmethod
    def target(self, columns: Columns, index: Sequence[int], width: int) -> dict[str, Tensor]:
        """Make y of the examples `index`, whose inputs are `width` tokens wide."""

    @abstractmethod
    def counts(self, x: dict[str, Tensor], y: dict[str, Tensor]) -> dict[str, int]:
        """How many answers y asks for, by loss term."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """One forward pass: {"loss": SUM over the answers}."""

    def weigh_labels(self, task: Task, train: Dataset) -> "Question":
        """The same question, whose loss counts the rows of each label of `train` equally. Errors: ValueError if its
        answers are not labels of whole rows."""
        raise ValueError(
            f"class_weight: balanced is for tasks with one label a row, and {task.name} has none; leave it out, or say "
            "it in settings for the tasks that have, such as settings: {own/classification: {class_weight: balanced}}"
        )

    @abstractmethod
    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """One output for each of the batch's examples, which `Encoded.decode` turns into predictions."""

    def decide(self, model: PreTrainedModel, predictions: Predictions) -> Predictions:
        """Apply what was chosen on dev rows and stands in `model.config`."""
        return predictions

    def choose_on_dev(self, task: Task, model: PreTrainedModel, predictions: Predictions, rows: Dataset) -> Predictions:
        """Choose what is chosen on dev rows after training, such as a threshold, and keep it in `model.config`.

        Return what that makes of the predictions.
        """
        return predictions

    # Scores

    answer_column: ClassVar[str] = "label"

    def align(self, task: Task, predictions: Any, rows: Dataset) -> tuple[list[Any], list[Any]]:
        """Predictions and right answers, as the task's metric takes them. Errors: ValueError if they do not match."""
        return list(predictions), rows["label"][:]

    def guess(self, task: Task, train: Dataset, rows: Dataset) -> Any:
        """Answers that need no look at the texts, the baseline: here the commonest label of `train`.

        Of equally common ones it is the first in `task.labels`.
        """
        return np.full(len(rows), np.bincount(train["label"][:], minlength=len(task.labels)).argmax())

    def describe_collapse(self, task: Task, predictions: Predictions) -> str:
        """Say in words that every row is given one answer; "" if they differ."""
        first = predictions.answers[0]
        if not all(answer == first for answer in predictions.answers) or len(predictions.answers) < 2:
            return ""
        return f"answers {self.name_answer(task, first)!r} to every row"

    # The rows of a file, and a line for each

    layouts: ClassVar[tuple[Layout, ...]]  # as files usually have it
    window: ClassVar[int] = 0  # tokens that are read at a time, where a text may be longer; 0: all
    cut: ClassVar[str] = "cut at max_seq_length {max_length}"  # in words, of rows that are too long

    def columns(self, layout: Layout) -> tuple[str, ...]:
        """The columns of the task, in the order in which the model reads them."""
        return tuple(layout)

    def check_layout(self, task: Task, layout: Layout) -> None:  # noqa: B027, optional
        """Refuse a layout that the model was not fine-tuned for. Errors: ValueError."""

    def read_fields(self, fields: Fields, layout: Layout) -> Fields:
        """The task's columns of one row. Errors: ValueError for a field that is missing, empty or of another type."""
        return {name: get_text(fields, column) for name, column in layout.items()}

    @abstractmethod
    def format_answers(self, task: Task, predictions: Predictions, rows: Sequence[Fields]) -> Iterator[Fields]:
        """What a line of the output holds for each row: "prediction", and how sure the model is of it."""

    # Predictions of a split

    def name_answer(self, task: Task, answer: Any) -> Any:
        """An answer as people read it: a label by its name."""
        return answer.item() if isinstance(answer, np.generic) else answer

    def name_reference(self, task: Task, reference: Any) -> Any:
        """A right answer as people read it."""
        return self.name_answer(task, reference)

    def pairs(self, predictions: Predictions, ids: Sequence[str]) -> Iterable[tuple[Any, Any]]:
        """Each row's answer and its probabilities, None where there are none, in the rows' order."""
        probabilities = predictions.probabilities
        return zip(predictions.answers, repeat(None) if probabilities is None else probabilities)  # noqa: B905

    def confidence(self, answer: Any, probabilities: Any) -> Any:
        """The probability of the answer."""
        return round(float(probabilities[answer]), DIGITS)

    def export(self, folder: Path, task: Task, rows: Dataset, predictions: Predictions) -> None:  # noqa: B027, optional
        """Write dev predictions in the formats that the field's own tools read, where there are such."""

    # Pages: what the model gets wrong, the data report, the model card, the playground

    type_scores: ClassVar[tuple[str, ...]] = ()  # how the names of scores begin that stand in a table of their own
    unit: ClassVar[str] = "rows"  # what may be cut
    beyond: ClassVar[str] = "is cut off"  # what happens to a text beyond max_length
    lost: ClassVar[str] = ""  # what `Encoded.num_lost` counts
    page_title: ClassVar[str]
    page_boxes: ClassVar[tuple[Box, ...]]

    def sections(self, task: Task, rows: Dataset, predictions: Predictions) -> list[Section]:
        """The parts of the page of mistakes."""
        return label_sections(task, rows, predictions)

    def describe_answers(self, task: Task, table: Dataset) -> str:
        """How the answers of a split are distributed."""
        counts = np.bincount(table["label"][:], minlength=len(task.labels))
        names = task.labels or [f"choice {number}" for number in range(len(counts))]
        return ", ".join(
            f"{name} {count:,} ({count / len(table):.1%})" for name, count in zip(names, counts, strict=True)
        )

    def input_texts(self, task: Task, table: Dataset) -> list[list[str]]:
        """The texts whose tokens are counted, by column."""
        return [[join_words(value) for value in table[column]] for column in task.columns]

    def show_row(self, task: Task, row: Fields) -> list[str]:
        """A row as lines of Markdown."""
        return [
            f"- **{self.show_answer(task, row)}**",
            *(f"  - {c}: {shorten(join_words(row[c]))}" for c in task.columns),
        ]

    def show_answer(self, task: Task, row: Fields) -> str:
        return f"{row['label']:g}"

    def usage(self, task: Task, model: PreTrainedModel) -> str:
        """Code that uses the model, for its card; {model} stands for its name."""
        kind = type(model).__name__.rpartition("For")[2]
        return USAGE.replace("{columns}", ", ".join(task.columns)).replace("{kind}", kind)

    def read_boxes(self, task: Task, values: Sequence[str]) -> Fields:
        """The fields of a row, from what a person wrote into `page_boxes`."""
        return dict(zip(self.layouts[0], values, strict=True))

    @abstractmethod
    def show(self, answer: Fields) -> str:
        """An answer as HTML: a row's fields with the line of `format_answers`."""

    # The user's own files

    own: ClassVar[tuple[OwnAnswers, ...]] = ()
