"""What is a table made of?  Rows of systems, columns of metrics, and cells: scores over seeds.

A mark at a cell, explained under the table, says what sets its score apart from the others in the column.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from finetune.table.published import DEV_ROWS, TRAINING_ROWS
from finetune.table.results import Result, Scores

Reason = Callable[[Result, str], str]  # (a run, the split that a score is of) -> why it is marked; "" if it is not


@dataclass(frozen=True)
class Measure:
    """One number of a results line."""

    task: str
    split: str
    metric: str

    def of(self, scores: Scores) -> float | None:
        value = scores.get(self.split, {}).get(self.metric)
        return None if value is None else 100 * value


@dataclass(frozen=True)
class Column:
    """A heading, what stands under it, and the measures it shows."""

    title: str
    subtitle: str
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class Cell:
    """One measure of one system: a value (percent) a seed, of the best of the settings that were tried."""

    measure: Measure
    values: tuple[float, ...]
    settings: int = 1
    runs: tuple[Result, ...] = ()  # that the values are of
    all_runs: tuple[Result, ...] = ()  # of every setting

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def marks(self) -> str:
        """Return the marks of what sets this cell apart, such as † for a training on a part of the rows."""
        found = [mark for mark, _, reason in MARKS if any(reason(run, self.measure.split) for run in self.runs)]
        return "".join(dict.fromkeys(found))


@dataclass(frozen=True)
class Row:
    """One system and its cells; a measure that it has no score for is not among them."""

    system: str
    kind: Literal["published", "majority", "random", "pretrained"]
    cells: dict[Measure, Cell]
    origin: str = ""

    def average(self, columns: Sequence[Column]) -> float | None:
        cells = [self.cells.get(measure) for measure in list_measures(columns)]
        return None if None in cells else fmean(cell.median for cell in cells if cell)


@dataclass(frozen=True)
class Table:
    """What is printed, in whatever format."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    averaged: bool
    details: tuple["Detail", ...] = ()
    failures: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()  # what is not finished or could not be read


@dataclass(frozen=True)
class Detail:
    """How one system came to its scores of one task."""

    system: str
    task: str
    seeds: tuple[int, ...]
    setting: str  # that was chosen, of a grid
    num_settings: int
    best: str  # the best dev run: its headline, seed and setting
    minutes: float  # a job, in the median
    total_minutes: float  # of all jobs, failed ones and other settings too
    memory: float  # GB, the most of a job's main process; 0.0 if that is not known
    memory_of: str  # "job" if each was measured by itself, else "process"
    sizes: tuple[dict[str, int], ...]  # all that differ
    on: tuple[str, ...]  # processes, hardware and precision, all that differ


def list_measures(columns: Sequence[Column]) -> list[Measure]:
    return [measure for column in columns for measure in column.measures]


# Marks


def find_training_part(run: Result, split: str) -> str:
    """Fewer rows than the benchmark or the user's file has, or less than an epoch of them."""
    rows, full = next(iter(run.sizes.values()), 0), max(TRAINING_ROWS.get(run.task, 0), run.drawn_from)
    parts = []
    if run.sizes and rows < full:
        parts.append(f"{rows:,} of {full:,} rows")
    if run.held_out:
        what = "what is left" if parts else f"{rows:,} rows"
        parts.append(f"{what}, {run.held_out:.0%} of the file being held out for dev")
    if run.passes < 1:
        parts.append(f"{100 * run.passes:.3g} % of an epoch")
    return f"{run.task} on {' and '.join(parts)}" if parts else ""


def find_scored_part(run: Result, split: str) -> str:
    """Fewer dev rows than the benchmark has."""
    rows, full = run.sizes.get(split, 0), DEV_ROWS.get((run.task, split), 0)
    return f"{run.task} on {rows:,} of {full:,} {split} rows" if 0 < rows < full else ""


def find_choice(run: Result, split: str) -> str:
    """The model is the best of several steps by its score on dev rows, which are those of the table."""
    return f"{run.task}, {run.chosen}" if run.chosen else ""


MARKS: tuple[tuple[str, str, Reason], ...] = (
    ("†", "Trained on a part", find_training_part),
    ("†", "Scored on a part", find_scored_part),
    ("‡", "Of the best checkpoint of the training, chosen on dev rows", find_choice),
)
