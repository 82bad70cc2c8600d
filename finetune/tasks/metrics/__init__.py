"""How good are the predictions for a split?  The metrics, for `evaluate`, of all tasks.

The table of them, `metrics.py`, is loaded through `evaluate.load` by its path, so no network is needed.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset

from finetune.tasks.task import Task

if TYPE_CHECKING:
    import evaluate

METRICS = Path(__file__).parent


def score(task: Task, predictions: Any, rows: Dataset) -> dict[str, float]:
    """The task's numbers for `predictions`, one for each row: fractions, and correlations from −1 to 1.

    predictions: the `answers` of `finetune.questions.encoding.Predictions`. Raises ValueError if they are not one for
    each row (and word), or if the rows have no answers.
    """
    if task.question.answer_column not in rows.column_names:
        raise ValueError(f"{task.name}: this split has no answers to judge by: they are not public")
    if len(predictions) != len(rows):
        raise ValueError(f"{task.name}: {len(predictions)} predictions for {len(rows)} rows")
    predicted, right = task.question.align(task, predictions, rows)
    return dict(load_metric(task.metric).compute(predictions=predicted, references=right))


def score_baseline(task: Task, train: Dataset, rows: Dataset) -> dict[str, float]:
    """The task's numbers for a guess that looks at no text, such as the commonest label of `train` (majority class)."""
    return score(task, task.question.guess(task, train, rows), rows)


@cache
def load_metric(name: str) -> "evaluate.Metric":
    """The metric of this name. It keeps what it is given in memory."""
    import evaluate  # one to two seconds, and most programs score nothing

    return evaluate.load(str(METRICS), name, keep_in_memory=True)
