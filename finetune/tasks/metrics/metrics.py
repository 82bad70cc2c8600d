"""Which metrics are there?  All of ours, as one module of `evaluate`: each is a configuration of it.

evaluate.load(this folder, "f1_and_accuracy").compute(predictions=…, references=…) -> {name: float}
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import evaluate
import numpy as np

from finetune.tasks.metrics import answers, entities, labels


@dataclass(frozen=True)
class Entry:
    """A metric: how it is computed, and the types of a prediction and of a right answer."""

    compute: Callable[[Any, Any], dict[str, float]]
    prediction: Any
    reference: Any


LABEL, NUMBER, TEXT = datasets.Value("int64"), datasets.Value("float64"), datasets.Value("string")
TEXTS = datasets.List(TEXT)
METRICS = {
    "matthews": Entry(labels.correlate_labels, LABEL, LABEL),  # CoLA, and the diagnostics
    "accuracy": Entry(labels.count_right, LABEL, LABEL),  # SST-2, MNLI, QNLI, RTE, WNLI
    "f1_and_accuracy": Entry(labels.score_positives, LABEL, LABEL),  # MRPC, QQP
    "correlations": Entry(labels.correlate_scores, NUMBER, NUMBER),  # STS-B
    "accuracy_and_macro_f1": Entry(labels.score_all_labels, LABEL, LABEL),  # the user's own files
    "entities": Entry(entities.score_entities, TEXTS, TEXTS),  # CoNLL-2003
    "tag_accuracy": Entry(entities.score_tags, TEXTS, TEXTS),
    "squad_v1.1": Entry(answers.score_v1, TEXT, TEXTS),
    "squad_v2.0": Entry(answers.score_v2, TEXT, TEXTS),
}


class TaskMetric(evaluate.Metric):
    """The metric that the configuration names."""

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in METRICS:
            raise ValueError(f"no configuration {self.config_name!r}; there are {', '.join(METRICS)}")
        entry = METRICS[self.config_name]
        features = datasets.Features({"predictions": entry.prediction, "references": entry.reference})
        return evaluate.MetricInfo(description=__doc__, citation="", inputs_description="", features=features)

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        entry = METRICS[self.config_name]
        if entry.reference in (LABEL, NUMBER):
            return entry.compute(np.asarray(predictions), np.asarray(references))
        return entry.compute(predictions, references)
