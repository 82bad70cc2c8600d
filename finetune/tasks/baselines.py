"""What scores a guess that has looked at no text?  Any model has to beat it."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from datasets import Dataset

from finetune.tasks.metrics import score
from finetune.tasks.task import Head, Task


def majority(task: Task, train: Dataset, rows: Dataset) -> dict[str, float]:
    """The task's numbers for the best constant answer: the commonest label of `train`, or its mean score.

    Words are all outside of entities, which is what most are. For spans, where no constant makes sense, it is the
    context's first sentence, whatever the question.
    """
    return score(task, GUESSES[task.head](task, train, rows), rows)


def commonest_label(task: Task, train: Dataset, rows: Dataset) -> np.ndarray:
    """The label that stands most often in `train`; of equal ones the first in `task.labels`."""
    counts = np.bincount(train["label"][:], minlength=len(task.labels))
    return np.full(len(rows), counts.argmax())


def mean_score(task: Task, train: Dataset, rows: Dataset) -> np.ndarray:
    """The mean, which has the least squared error (and no correlation with anything)."""
    return np.full(len(rows), np.mean(train["label"][:]))


def no_entities(task: Task, train: Dataset, rows: Dataset) -> list[list[int]]:
    """Every word outside; of tags that know no outside, the commonest one."""
    commonest = np.bincount([tag for tags in train["label"] for tag in tags]).argmax()
    outside = task.labels.index("O") if "O" in task.labels else int(commonest)
    return [[outside] * len(words) for words in rows[task.columns[0]]]


def first_sentence(task: Task, train: Dataset, rows: Dataset) -> dict[str, str]:
    """The context up to the first full stop, question or exclamation mark that a blank follows; where a question may
    have no answer, none."""
    if task.unanswerable:
        return dict.fromkeys(rows["id"], "")
    starts = [re.split(r"(?<=[.?!])\s", context.strip(), maxsplit=1)[0] for context in rows["context"]]
    return dict(zip(rows["id"], starts, strict=True))


GUESSES: dict[Head, Callable[[Task, Dataset, Dataset], Any]] = {
    "classification": commonest_label,
    "regression": mean_score,
    "choice": commonest_label,
    "tagging": no_entities,
    "span": first_sentence,
}
