"""How good are labels or scores, by GLUE's measures?  Each configuration is one of them, over scikit-learn or scipy.

matthews          Matthews correlation (Matthews 1975): CoLA, and the diagnostics
accuracy          SST-2, MNLI, QNLI, RTE, WNLI
f1_and_accuracy   F1 of label 1, and accuracy: MRPC, QQP
correlations      Pearson's r and Spearman's rho: STS-B
accuracy_and_macro_f1   also the mean of the labels' F1: the user's own files

Fractions, correlations from −1 to 1. A correlation with a constant is undefined, 0/0: it is given as 0.0, no better
than chance, and the result then also has "undefined": 1.0. F1 without a true or predicted positive is 0.0.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
import numpy.typing as npt
from scipy.stats import ConstantInputWarning, pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

Values = npt.NDArray[Any]  # (N,)


class GlueScores(evaluate.Metric):
    """evaluate.load(this folder, CONFIGURATION).compute(predictions=…, references=…) -> {name: float}"""

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in MEASURES:
            raise ValueError(f"no configuration {self.config_name!r}; there are {', '.join(MEASURES)}")
        kind = datasets.Value("float64" if self.config_name == "correlations" else "int64")
        features = datasets.Features({"predictions": kind, "references": kind})
        return evaluate.MetricInfo(description=__doc__, citation="", inputs_description="", features=features)

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        return MEASURES[self.config_name](np.asarray(references), np.asarray(predictions))


def matthews(references: Values, predictions: Values) -> dict[str, float]:
    if is_constant(references) or is_constant(predictions):
        return {"matthews_correlation": 0.0, "undefined": 1.0}
    return {"matthews_correlation": float(matthews_corrcoef(references, predictions))}


def accuracy(references: Values, predictions: Values) -> dict[str, float]:
    return {"accuracy": float(accuracy_score(references, predictions))}


def f1_and_accuracy(references: Values, predictions: Values) -> dict[str, float]:
    """The harmonic mean of precision and recall of label 1, and accuracy."""
    f1 = f1_score(references, predictions, pos_label=1, average="binary", zero_division=0.0)
    return {"f1": float(f1), **accuracy(references, predictions)}


def accuracy_and_macro_f1(references: Values, predictions: Values) -> dict[str, float]:
    """The share of labels that are right, and F1, the mean over the labels that occur."""
    macro = f1_score(references, predictions, average="macro", zero_division=0.0)
    return {**accuracy(references, predictions), "macro_f1": float(macro)}


def correlations(references: Values, predictions: Values) -> dict[str, float]:
    """Correlation of two rows of scores, and of their ranks."""
    if not np.isfinite(predictions).all():
        raise ValueError("a predicted score is NaN or infinite: it has no correlation")
    if is_constant(references) or is_constant(predictions):
        return {"pearson": 0.0, "spearmanr": 0.0, "undefined": 1.0}
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConstantInputWarning)
        pearson, spearman = pearsonr(predictions, references), spearmanr(predictions, references)
    return {"pearson": float(pearson.statistic), "spearmanr": float(spearman.statistic)}


def is_constant(values: Values) -> bool:
    return bool((values == values[0]).all())


MEASURES = {
    "matthews": matthews,
    "accuracy": accuracy,
    "accuracy_and_macro_f1": accuracy_and_macro_f1,
    "f1_and_accuracy": f1_and_accuracy,
    "correlations": correlations,
}
