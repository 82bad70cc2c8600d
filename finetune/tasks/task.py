"""What is a task, where do its rows come from, and how is it found by its name?

A data set with its columns, the kind of question (`finetune.questions`), the labels, and the metric.
"""

import hashlib
import importlib
import json
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from datasets import Dataset

import finetune.tasks
from engine.run.nearest import suggest

if TYPE_CHECKING:
    from finetune.questions.question import Question

Rows = dict[str, Dataset]  # split name → its rows


@dataclass(frozen=True)
class DataSource:
    """Where labelled rows come from: the recipe's `data:` section. There is no default."""

    source: Literal["folder", "hub", "sample"]  # official files | the Hub's copy | made from the installed packages
    path: str = ""  # folder: the one that holds the official files; hub: another repository than the task's own
    revision: str = ""  # hub: branch, tag or commit; empty: the task's own
    files: dict[str, str] = field(default_factory=dict)  # folder: split → file, where it has not its official name
    cut_dev_by: Literal["", "question"] = ""  # folder, where train is missing: cut dev in two, no question in both
    columns: dict[str, Any] = field(default_factory=dict)  # own files: our name of a column → the file's
    hold_out: float = 0.0  # own files without a dev file: the share of the training rows that is held out
    context: Literal["sentence", "document"] = "sentence"  # conll2003: what a sentence is read with
    skip_broken_rows: bool = False  # folder: leave out broken rows, and say how many

    def __post_init__(self) -> None:
        if not 0 <= self.hold_out < 1:
            raise ValueError(f"hold_out is {self.hold_out}; it is a share of the rows from 0 to below 1, such as 0.1")


@dataclass(frozen=True)
class HubData:
    """A data set on the Hub: its repository, its configuration (may be empty) and the revision that holds it."""

    repo: str
    config: str = ""
    revision: str = "main"


@dataclass(frozen=True)
class Task:
    """One labelled problem, e.g. "glue/rte".

    `load` gives split name → rows. Every row has an "id" (str) and the `columns`; splits with answers also have "label"
    (int, float for regression, a list of int for tagging) or, for spans, "answers"
    ({"text": [...], "answer_start": [...]}). `load` raises ValueError for a bad row and FileNotFoundError for a missing
    file. `metric` names one of `finetune/tasks/metrics/metrics.py`; `headline` is the key of its numbers that picks the
    best run.
    """

    name: str
    question: "Question"
    labels: tuple[str, ...]  # () for regression, choice and span; IOB2 tags for tagging
    columns: tuple[str, ...]  # ("sentence",) | ("sentence1", "sentence2") | ("words",) | …; (): the files decide
    metric: str
    headline: str
    load: Callable[[DataSource], Rows]
    train_split: str = "train"
    dev_splits: tuple[str, ...] = ("dev",)
    test_splits: tuple[str, ...] = ("test",)
    unanswerable: bool = False  # spans: a question may have no answer
    language: str = ""  # of the texts, ISO 639; empty: the files decide
    trained_as: str = ""  # the task whose model predicts this one, which has nothing to train on: AX by MNLI's


def find_task(name: str) -> Task:
    """The task of this name. Raises ValueError, naming the nearest and all the known ones."""
    tasks = all_tasks()
    if name in tasks:
        return tasks[name]
    raise ValueError(f"unknown task {name!r}{suggest(name, tasks) or '.'} Known tasks: {', '.join(sorted(tasks))}")


def all_tasks() -> dict[str, Task]:
    """Every task by its name: the rows of `TASKS` in each file of `finetune/tasks` that has some."""
    files = sorted(file.name for file in pkgutil.iter_modules(finetune.tasks.__path__))
    modules = [importlib.import_module(f"finetune.tasks.{file}") for file in files]
    return {task.name: task for module in modules for task in getattr(module, "TASKS", {}).values()}


def open_task(task: Task, source: DataSource) -> tuple[Task, Rows]:
    """The task with its rows; what the user's own files decide, columns and labels, is read off them."""
    rows = task.load(source)
    if task.columns:
        return task, rows
    features = rows[task.train_split].features
    answer = getattr(features["label"], "feature", features["label"])
    columns = tuple(name for name in features if name not in ("id", "label"))
    return replace(task, columns=columns, labels=tuple(getattr(answer, "names", ()))), rows


def checksums(rows: Rows) -> dict[str, str]:
    """SHA-256 (hex) of each split's rows, with the names of its labels: what two processes must have alike."""
    found = {}
    for split, table in rows.items():
        total = hashlib.sha256(repr(sorted(table.features.items())).encode())
        for name in sorted(table.column_names):
            total.update(json.dumps(table[name][:]).encode())
        found[split] = total.hexdigest()
    return found


def provenance(rows: Rows) -> str:
    """Where each split was read from, for a results file: "train: glue/RTE/train.tsv; dev: glue/RTE/dev.tsv".

    `load` writes it into each split's `info.description`: the file, or the Hub repository with its commit, and what was
    done to it (cut in two, broken rows left out).
    """
    return "; ".join(f"{split}: {table.info.description}" for split, table in rows.items())
