"""What is put on top of the encoder?  A head: how rows are encoded for it, how it is judged, how its answer is read.

One file in `finetune/questions` for each kind of question, after Devlin et al. 2019, section 4. The classes are
transformers' own, so what is saved opens anywhere. A loss is a SUM over the answers that were asked for.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from engine.train.batch import Batch
from finetune.questions.encoding import Columns, Encoded, Predictions
from finetune.tasks.task import Task


class Head(ABC):
    """One kind of question: the class that answers it, its inputs, its target, its loss, and how it is read."""

    auto_class: Any

    def config(self, task: Task) -> dict[str, Any]:
        """What the model's config has to say of this task: labels by name."""
        labels = task.labels or ("score",)
        return {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}

    @abstractmethod
    def encode(self, task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoded:
        """Encode rows, with their answers if they have them."""

    def trained_on(self, columns: Columns) -> Columns:
        """The columns to train on: all of them, unless some examples have nothing to teach."""
        return columns

    @abstractmethod
    def target(self, columns: Columns, index: Sequence[int], width: int) -> dict[str, Tensor]:
        """Make y of the examples `index`, whose inputs are `width` tokens wide."""

    @abstractmethod
    def counts(self, x: dict[str, Tensor], y: dict[str, Tensor]) -> dict[str, int]:
        """How many answers y asks for, by loss term."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Judge one forward pass: {"loss": sum over answers}."""

    @abstractmethod
    def read(self, model: nn.Module, batch: Batch) -> list[Any]:
        """Predict: one output for each of the batch's examples, which `Encoded.decode` turns into predictions."""

    def decide(self, model: PreTrainedModel, predictions: Predictions) -> Predictions:
        """Apply what was chosen on dev rows and stands in `model.config`; most heads chose nothing."""
        return predictions

    def settle(self, task: Task, model: PreTrainedModel, predictions: Predictions, rows: Dataset) -> Predictions:
        """Choose what is chosen on dev rows after training, keep it in `model.config`; return what that makes of them.

        Most heads choose nothing.
        """
        return predictions

    def export(self, folder: Path, task: Task, rows: Dataset, predictions: Predictions) -> None:  # noqa: B027, optional
        """Write dev predictions in the formats that the field's own tools read, where there are such."""
