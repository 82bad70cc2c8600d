"""How good are labels or scores, by GLUE's measures?  Over scikit-learn and scipy.

Fractions, correlations from −1 to 1. A correlation with a constant is undefined, 0/0: it is given as 0.0, no better
than chance, and the result then also has "undefined": 1.0. F1 without a true or predicted positive is 0.0.
"""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import ConstantInputWarning, pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

Values = npt.NDArray[Any]  # (N,)


def correlate_labels(predictions: Values, references: Values) -> dict[str, float]:
    if is_constant(references) or is_constant(predictions):
        return {"matthews_correlation": 0.0, "undefined": 1.0}
    return {"matthews_correlation": float(matthews_corrcoef(references, predictions))}


def count_right(predictions: Values, references: Values) -> dict[str, float]:
    return {"accuracy": float(accuracy_score(references, predictions))}


def score_positives(predictions: Values, references: Values) -> dict[str, float]:
    """The harmonic mean of precision and recall of label 1, and accuracy."""
    f1 = f1_score(references, predictions, pos_label=1, average="binary", zero_division=0.0)
    return {"f1": float(f1), **count_right(predictions, references)}


def score_all_labels(predictions: Values, references: Values) -> dict[str, float]:
    """The share of labels that are right, and F1, the mean over the labels that occur."""
    macro = f1_score(references, predictions, average="macro", zero_division=0.0)
    return {**count_right(predictions, references), "macro_f1": float(macro)}


def correlate_scores(predictions: Values, references: Values) -> dict[str, float]:
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
