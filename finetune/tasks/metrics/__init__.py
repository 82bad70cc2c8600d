"""How good are the predictions for a split?  The task's metric, from the modules beside this file.

They are loaded from the folder `metrics` through `evaluate`, so no network is needed.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import evaluate
from datasets import Dataset

from finetune.tasks.task import Head, Task, named

METRICS = Path(__file__).parent


def score(task: Task, predictions: Any, rows: Dataset) -> dict[str, float]:
    """The task's numbers for `predictions`, one for each row: fractions, and correlations from −1 to 1.

    predictions: classification and choice (N,) int; regression (N,) float; tagging N sequences of int, one a word;
    span {id: text}. Raises ValueError if they are not one for each row (and word), or if the rows have no answers.
    """
    answers = "answers" if task.head == "span" else "label"
    if answers not in rows.column_names:
        raise ValueError(f"{task.name}: this split has no answers to judge by: they are not public")
    if len(predictions) != len(rows):
        raise ValueError(f"{task.name}: {len(predictions)} predictions for {len(rows)} rows")
    predicted, right = COMPARED[task.head](task, predictions, rows)
    return dict(metric(task.metric).compute(predictions=predicted, references=right))


@cache
def metric(name: str) -> evaluate.Metric:
    """The metric "module" or "module/configuration". It keeps what it is given in memory."""
    module, _, configuration = name.partition("/")
    return evaluate.load(str(METRICS / module), configuration or None, keep_in_memory=True)


def numbers(task: Task, predictions: Any, rows: Dataset) -> tuple[list[float], list[float]]:
    """Labels or scores as they are."""
    return list(predictions), rows["label"][:]


def tags(task: Task, predictions: Sequence[Sequence[int]], rows: Dataset) -> tuple[list[list[str]], list[list[str]]]:
    """The names of the tags."""
    right = rows["label"][:]
    for row, (found, expected) in enumerate(zip(predictions, right, strict=True)):
        if len(found) != len(expected):
            raise ValueError(f"{task.name}: {len(found)} predicted tags for the {len(expected)} words of row {row}")
    return [named(task, found) for found in predictions], [named(task, expected) for expected in right]


def texts(task: Task, predictions: Mapping[str, str], rows: Dataset) -> tuple[list[str], list[list[str]]]:
    """The predicted text of each row, in the rows' order, and its references."""
    missing = [id_ for id_ in rows["id"] if id_ not in predictions]
    if missing:
        raise ValueError(f"{task.name}: no prediction for question {missing[0]!r} ({len(missing)} such questions)")
    return [predictions[id_] for id_ in rows["id"]], [answers["text"] or [""] for answers in rows["answers"]]


COMPARED: dict[Head, Callable[[Task, Any, Dataset], tuple[list[Any], list[Any]]]] = {
    "classification": numbers,
    "regression": numbers,
    "choice": numbers,
    "tagging": tags,
    "span": texts,
}
