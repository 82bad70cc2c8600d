"""Which label has a text, or a pair of texts, or which score?  Devlin et al. 2019, section 4.1."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from engine.train.batch import Batch
from finetune.questions.encoding import Columns, Encoded, Predictions, append, empty, parts, softmax, tokens_cut
from finetune.questions.question import Head
from finetune.tasks.task import Task


class Classification(Head):
    """One of K labels for a text or a pair; cross-entropy."""

    auto_class = AutoModelForSequenceClassification
    problem_type = "single_label_classification"
    kind: Any = np.int64

    def config(self, task: Task) -> dict[str, Any]:
        texts = {"text_columns": list(task.columns)} if task.columns else {}  # whether it reads pairs, later on
        return {**super().config(task), "problem_type": self.problem_type, **texts}

    def encode(self, task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoded:
        """Column "label". Where a pair is too long, the longer of the two loses its end first."""
        columns = empty(tokenizer)
        cut: list[int] = []
        for part in parts(rows):
            texts = [part[name] for name in task.columns]
            batch = tokenizer(*texts, truncation="longest_first", max_length=max_length)
            cut += tokens_cut(batch, tokenizer, max_length, *texts)
            append(columns, batch)
        if "label" in rows.column_names:
            columns["label"] = np.asarray(rows["label"][:], self.kind)
        return Encoded(columns, self.decode, cut, sum(map(len, columns["input_ids"])) + sum(cut))

    def decode(self, outputs: Sequence[Any]) -> Predictions:
        logits = np.asarray(outputs)  # (N, K)
        return Predictions(logits.argmax(-1), softmax(logits))

    def target(self, columns: Columns, index: Sequence[int], width: int) -> dict[str, Tensor]:
        return {"label": torch.tensor([columns["label"][row] for row in index])}  # (B,)

    def counts(self, x: dict[str, Tensor], y: dict[str, Tensor]) -> dict[str, int]:
        return {"loss": len(y["label"])}

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits = model(**batch.x).logits.float()  # (B, K)
        return {"loss": nn.functional.cross_entropy(logits, batch.y["label"], reduction="sum")}

    def read(self, model: nn.Module, batch: Batch) -> list[Any]:
        """The logits of the labels (K,)."""
        return list(model(**batch.x).logits.float().cpu().numpy())


class Regression(Classification):
    """One number for a text or a pair; squared error."""

    problem_type = "regression"
    kind = np.float64

    def decode(self, outputs: Sequence[Any]) -> Predictions:
        return Predictions(np.asarray(outputs, self.kind))

    def target(self, columns: Columns, index: Sequence[int], width: int) -> dict[str, Tensor]:
        return {"label": torch.tensor([columns["label"][row] for row in index], dtype=torch.float32)}  # (B,)

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        score = model(**batch.x).logits.float().squeeze(-1)  # (B,)
        return {"loss": nn.functional.mse_loss(score, batch.y["label"], reduction="sum")}

    def read(self, model: nn.Module, batch: Batch) -> list[Any]:
        """The score."""
        return model(**batch.x).logits.float().squeeze(-1).tolist()
