"""What is put on top of the encoder, how is it judged, and how is its answer read?  One head for each kind of task.

After Devlin et al. 2019, section 4. The classes are transformers' own, so what is saved opens anywhere. A loss is a SUM
over the answers that were asked for.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from engine.batch import Batch
from finetune.task import Task

NOT_ASKED = -100  # the label of a token that is not the first of its word


class Head(ABC):
    """One kind of answer: the class that gives it, its target, its loss, and how a prediction is read."""

    auto_class: Any

    def config(self, task: Task) -> dict[str, Any]:
        """What the model's config has to say of this task: labels by name."""
        labels = task.labels or ("score",)
        return {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}

    @abstractmethod
    def target(self, columns: dict[str, Sequence[Any]], index: Sequence[int], width: int) -> dict[str, Tensor]:
        """Make y of the examples `index`, whose inputs are `width` tokens wide."""

    @abstractmethod
    def count(self, y: dict[str, Tensor]) -> int:
        """How many answers y asks for."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Judge one forward pass: {"loss": sum over answers}."""

    @abstractmethod
    def read(self, model: nn.Module, batch: Batch) -> list[Any]:
        """Predict: one answer for each of the batch's examples."""


class Classification(Head):
    """One of K labels for a text or a pair; cross-entropy."""

    auto_class = AutoModelForSequenceClassification
    problem_type = "single_label_classification"

    def config(self, task: Task) -> dict[str, Any]:
        return {**super().config(task), "problem_type": self.problem_type}

    def target(self, columns: dict[str, Sequence[Any]], index: Sequence[int], width: int) -> dict[str, Tensor]:
        return {"label": torch.tensor([columns["label"][row] for row in index])}  # (B,)

    def count(self, y: dict[str, Tensor]) -> int:
        return len(y["label"])

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits = model(**batch.x).logits.float()  # (B, K)
        return {"loss": nn.functional.cross_entropy(logits, batch.y["label"], reduction="sum")}

    def read(self, model: nn.Module, batch: Batch) -> list[Any]:
        return model(**batch.x).logits.argmax(-1).tolist()


class Regression(Classification):
    """One number for a text or a pair; squared error."""

    problem_type = "regression"

    def target(self, columns: dict[str, Sequence[Any]], index: Sequence[int], width: int) -> dict[str, Tensor]:
        return {"label": torch.tensor([columns["label"][row] for row in index], dtype=torch.float32)}  # (B,)

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        score = model(**batch.x).logits.float().squeeze(-1)  # (B,)
        return {"loss": nn.functional.mse_loss(score, batch.y["label"], reduction="sum")}

    def read(self, model: nn.Module, batch: Batch) -> list[Any]:
        return model(**batch.x).logits.float().squeeze(-1).tolist()


class Tagging(Head):
    """One of K tags for each word, read at its first token; cross-entropy."""

    auto_class = AutoModelForTokenClassification

    def target(self, columns: dict[str, Sequence[Any]], index: Sequence[int], width: int) -> dict[str, Tensor]:
        tags = np.full((len(index), width), NOT_ASKED)
        for row, example in enumerate(index):
            own = columns["labels"][example]
            tags[row, : len(own)] = own
        return {"tags": torch.from_numpy(tags)}  # (B, T)

    def count(self, y: dict[str, Tensor]) -> int:
        return int((y["tags"] != NOT_ASKED).sum())

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits = model(**batch.x).logits.float()  # (B, T, K)
        tags = batch.y["tags"].flatten()
        return {
            "loss": nn.functional.cross_entropy(logits.flatten(0, 1), tags, ignore_index=NOT_ASKED, reduction="sum")
        }

    def read(self, model: nn.Module, batch: Batch) -> list[Any]:
        """The tag at each token (T,), padding included: which tokens begin words is the encoding's knowledge."""
        return list(model(**batch.x).logits.argmax(-1).cpu().numpy())


class Span(Head):
    """Where the answer starts and where it ends, in each window; the mean of two cross-entropies.

    Padding is no candidate. In transformers' own loss it is, so that there a window's loss depends on its company.
    """

    auto_class = AutoModelForQuestionAnswering

    def config(self, task: Task) -> dict[str, Any]:
        return {}

    def target(self, columns: dict[str, Sequence[Any]], index: Sequence[int], width: int) -> dict[str, Tensor]:
        return {name: torch.tensor([int(columns[name][row]) for row in index]) for name in ("start", "end")}  # (B,)

    def count(self, y: dict[str, Tensor]) -> int:
        return len(y["start"])

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


HEADS: dict[str, Head] = {
    "classification": Classification(),
    "regression": Regression(),
    "tagging": Tagging(),
    "span": Span(),
}
