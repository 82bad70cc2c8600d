"""What stands in the table?  Our systems under the published ones, task by task, the median over seeds.

The GLUE table is that of Devlin et al. 2019 (table 1). A cell is the score which the paper reports: F1 for QQP and
MRPC, Spearman for STS-B, Matthews for CoLA, accuracy else. The average is over the nine columns, MNLI's two apart and
WNLI left out, and is always computed. Whatever is not one of the nine stands in a second table.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Literal

from finetune.table.marks import MARKS
from finetune.table.published import PUBLISHED, PUBLISHED_BEYOND
from finetune.table.results import INITS, Result, Scores


@dataclass(frozen=True)
class Measure:
    """One number of a results line."""

    task: str
    split: str
    metric: str

    def of(self, scores: Scores) -> float | None:
        """Return this number in percent, or None where it is not known."""
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
        """Return the median over seeds, percent."""
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
        """Return the mean over every measure of the columns, or None as long as one is missing."""
        cells = [self.cells.get(measure) for measure in measures_of(columns)]
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


def _one(title: str, subtitle: str, task: str, metric: str) -> Column:
    return Column(title, subtitle, (Measure(task, "dev", metric),))


GLUE = (
    Column(
        "MNLI-(m/mm)",
        "392k",
        (Measure("glue/mnli", "dev_matched", "accuracy"), Measure("glue/mnli", "dev_mismatched", "accuracy")),
    ),
    _one("QQP", "363k", "glue/qqp", "f1"),
    _one("QNLI", "108k", "glue/qnli", "accuracy"),
    _one("SST-2", "67k", "glue/sst2", "accuracy"),
    _one("CoLA", "8.5k", "glue/cola", "matthews_correlation"),
    _one("STS-B", "5.7k", "glue/stsb", "spearmanr"),
    _one("MRPC", "3.5k", "glue/mrpc", "f1"),
    _one("RTE", "2.5k", "glue/rte", "accuracy"),
)
GLUE_TASKS = {measure.task for column in GLUE for measure in column.measures}

SHORT = {
    "exact_match": "EM",
    "f1": "F1",
    "strict_f1": "strict F1",
    "matthews_correlation": "Matthews",
    "pearson": "Pearson",
    "spearmanr": "Spearman",
}


def tables(results: Sequence[Result], left_out: Sequence[str] = ()) -> list[Table]:
    """Return the GLUE table and the table of what lies beyond it, each only if there are results for it.

    `left_out` is said under the first one.
    """
    inside = [result for result in results if result.task in GLUE_TASKS]
    beyond = [result for result in results if result.task not in GLUE_TASKS]
    found = [*([glue_table(inside)] if inside else []), *([beyond_table(beyond)] if beyond else [])]
    return [replace(table, left_out=tuple(left_out) if table is found[0] else ()) for table in found]


def glue_table(results: Sequence[Result]) -> Table:
    """Return the nine columns of the paper and their average: the published rows, and under them ours, if any."""
    ours = [*majority_rows(results, GLUE), *system_rows(scored(results), GLUE)]
    notes = [
        "Published rows are scores of the GLUE test server (Devlin et al. 2019, arXiv 1810.04805v1, table 1); QNLI "
        "there is its first version, since replaced.",
        *(of_our_rows(ours) if ours else []),
    ]
    rows = (*published_rows(), *ours)
    return Table("GLUE", GLUE, rows, tuple(notes), True, details(rows, results), failures(results))


def of_our_rows(ours: Sequence[Row]) -> list[str]:
    """Say what our rows are scores of, and what they lack."""
    return [
        "Rows of ours are scores on the development sets, the median over seeds, and in brackets the lowest and the "
        "highest. The column heads give the rows of the full training sets.",
        *mark_notes(ours),
        *(missing_note(row, GLUE) for row in ours if row.kind != "majority" and row.average(GLUE) is None),
        *row_notes(ours),
    ]


SCORES_OF_COLUMNS = (
    "The median over seeds, and in brackets the lowest and the highest, of the split and the score that the column "
    "names."
)


def beyond_table(results: Sequence[Result]) -> Table:
    """Return a column for each other task."""
    tasks = dict.fromkeys(result.task for result in scored(results))
    columns = tuple(beyond_column(task, scored(results)) for task in tasks)
    known = published_beyond(columns)
    ours = (*majority_rows(results, columns), *system_rows(scored(results), columns))
    notes = (
        *([SCORES_OF_COLUMNS] if ours else []),
        *(["Published rows: Devlin et al. 2019, development sets."] if known else []),
        *mark_notes(ours),
        *row_notes(ours),
    )
    rows = (*known, *ours)
    return Table("Beyond GLUE", columns, rows, notes, False, details(rows, results), failures(results))


def beyond_column(task: str, results: Sequence[Result]) -> Column:
    """Return a task's headline on every split it was scored on; SQuAD is customarily given as EM/F1.

    Beside the F1 of entities stands the strict one.
    """
    first = next(result for result in results if result.task == task)
    metrics = ("exact_match", "f1") if task.startswith("squad/") else (first.headline,)
    if "strict_f1" in next(iter(first.metrics.values())):
        metrics = (first.headline, "strict_f1")
    measures = tuple(Measure(task, split, metric) for split in first.metrics for metric in metrics)
    subtitle = f"{'/'.join(first.metrics)} {'/'.join(SHORT.get(metric, metric) for metric in metrics)}"
    return Column(task, subtitle, measures)


def published_rows() -> list[Row]:
    """Return the paper's five systems."""
    return [
        Row(
            system,
            "published",
            {measure: Cell(measure, (v,)) for measure, v in zip(measures_of(GLUE), values, strict=True)},
        )
        for system, values in PUBLISHED.items()
    ]


def published_beyond(columns: Sequence[Column]) -> list[Row]:
    """Return what the paper reports of the columns' tasks, on their dev splits."""
    rows = []
    for system, values in PUBLISHED_BEYOND.items():
        cells = {
            measure: Cell(measure, (values[measure.task, measure.metric],))
            for measure in measures_of(columns)
            if measure.split == "dev" and (measure.task, measure.metric) in values
        }
        rows += [Row(system, "published", cells)] if cells else []
    return rows


def majority_rows(results: Sequence[Result], columns: Sequence[Column]) -> list[Row]:
    """Return what the commonest label would score, as the results lines tell it: one row, or none if they do not."""
    scores = {result.task: result.majority for result in results}
    values = {measure: measure.of(scores.get(measure.task, {})) for measure in measures_of(columns)}
    cells = {measure: Cell(measure, (value,)) for measure, value in values.items() if value is not None}
    return [Row("Majority class", "majority", cells)] if cells else []


def system_rows(results: Sequence[Result], columns: Sequence[Column]) -> list[Row]:
    """Return a row for each label and initialisation: labels as first met, and of each the random one first."""
    labels = dict.fromkeys(result.label for result in results)
    groups = [
        [result for result in results if (result.label, result.init) == (label, init)]
        for label in labels
        for init in INITS
    ]
    return [system_row(group, columns) for group in groups if group]


def system_row(results: Sequence[Result], columns: Sequence[Column]) -> Row:
    """Return one system's row from all of its results."""
    cells = [
        cell
        for task in dict.fromkeys(result.task for result in results)
        for cell in task_cells([result for result in results if result.task == task], columns)
    ]
    label, init = results[0].label, results[0].init
    name = label if init == "pretrained" else f"{label}, random init"
    return Row(name, "pretrained" if init == "pretrained" else "random", {c.measure: c for c in cells}, origin(results))


def task_cells(results: Sequence[Result], columns: Sequence[Column]) -> list[Cell]:
    """Return one task's cells: of several settings, that with the best median headline counts."""
    settings = [
        [result for result in results if result.setting == setting]
        for setting in dict.fromkeys(result.setting for result in results)
    ]
    best = max(settings, key=lambda runs: median(run.value or 0.0 for run in runs))
    best = sorted(best, key=lambda run: run.seed)
    having = {
        measure: [run for run in best if not (run.is_strict and measure.metric == "f1")]
        for measure in measures_of(columns)
        if measure.task == results[0].task
    }
    return [
        Cell(measure, tuple(score(run, measure) for run in runs), len(settings), tuple(runs), tuple(results))
        for measure, runs in having.items()
        if runs
    ]


def score(result: Result, measure: Measure) -> float:
    """Return a measure of a result that must have it, percent."""
    value = measure.of(result.metrics)
    if value is None:
        raise ValueError(
            f"{result.where}: {result.task} has no {measure.split} {measure.metric}, which the table shows"
        )
    return value


def measures_of(columns: Sequence[Column]) -> list[Measure]:
    """Return every measure of the columns, from left to right."""
    return [measure for column in columns for measure in column.measures]


# How the scores came about


def scored(results: Sequence[Result]) -> list[Result]:
    """Return the results of jobs that came to a score, degenerate ones too: they count in a median."""
    return [result for result in results if result.value is not None]


def failures(results: Sequence[Result]) -> tuple[str, ...]:
    """Say of each job that failed, or gives every row the same answer, which it is and what happened."""
    return tuple(
        f"{result.task}, {result.label}{', random init' * (result.init == 'random')}, seed {result.seed}"
        f"{', ' + result.tried if result.tried else ''}: {result.failure} "
        f"({'it has no score' if result.value is None else 'its score counts in the median'})"
        for result in results
        if result.failure
    )


def details(rows: Iterable[Row], results: Sequence[Result]) -> tuple[Detail, ...]:
    """Return how each of our rows came to its scores, task by task."""
    found = []
    for row in rows:
        first = {cell.measure.task: cell for cell in reversed(row.cells.values()) if cell.runs}
        for task, cell in reversed(first.items()):
            same = [run for run in results if run.task == task and run.label == cell.runs[0].label]
            everything = [run for run in same if run.init == cell.runs[0].init]
            best = max(cell.all_runs, key=lambda run: run.value or 0.0)
            on = [f"{run.processes} process(es), {run.hardware}, {run.precision}" for run in cell.runs]
            sizes = {tuple(run.sizes.items()): run.sizes for run in cell.runs}
            found.append(
                Detail(
                    row.system, task, tuple(run.seed for run in cell.runs), cell.runs[0].tried, cell.settings,
                    f"{100 * (best.value or 0.0):.1f}, seed {best.seed}{', ' + best.tried if best.tried else ''}",
                    median(run.minutes for run in cell.runs), sum(run.minutes for run in everything),
                    max(run.memory for run in everything),
                    "job" if all(run.memory_of == "job" for run in everything) else "process",
                    tuple(sizes.values()), tuple(dict.fromkeys(on)),
                )
            )  # fmt: skip
    return tuple(found)


# Notes under a table


def mark_notes(rows: Sequence[Row]) -> list[str]:
    """Say what the marks at the cells stand for, of which tasks and, where our systems differ, of which of them."""
    ours = [row for row in rows if row.kind in INITS]
    notes = []
    for mark, meaning, reason in MARKS:
        said: dict[str, list[str]] = {}  # reason -> systems
        for row in ours:
            for words in dict.fromkeys(
                reason(run, cell.measure.split) for cell in row.cells.values() for run in cell.runs
            ):
                said.setdefault(words, []).append(row.system)
        said.pop("", None)
        told = [
            words if len(systems) == len(ours) else f"{words} ({', '.join(systems)})" for words, systems in said.items()
        ]
        notes += [f"{mark} {meaning}: {'; '.join(told)}."] if told else []
    return notes


def missing_note(row: Row, columns: Sequence[Column]) -> str:
    """Say what a row lacks for an average."""
    lacking = [c.title for c in columns if any(measure not in row.cells for measure in c.measures)]
    return f"{row.system} has no average: {', '.join(lacking)} not run."


def row_notes(rows: Iterable[Row]) -> list[str]:
    """Say of each row of ours where it comes from, and how its setting was chosen."""
    return [f"{row.system}: {seeds_of(row)}{chosen(row)}{row.origin}." for row in rows if row.origin]


def seeds_of(row: Row) -> str:
    """Say how many seeds stand behind a row's cells, such as `1 seed` or `2 to 5 seeds`."""
    counts = sorted({len(cell.values) for cell in row.cells.values()})
    if len(counts) > 1:
        return f"{counts[0]} to {counts[-1]} seeds"
    return f"{counts[0]} seed{'s' if counts[0] > 1 else ''}"


def chosen(row: Row) -> str:
    """Say that a choice among settings was made on the very rows that are reported."""
    most = max(cell.settings for cell in row.cells.values())
    return f", the best of up to {most} settings, chosen on the same rows" if most > 1 else ""


def origin(results: Sequence[Result]) -> str:
    """Say which commits, hardware and data made these results, and which models, if there are several of one name."""
    commits = sorted({shortened(result.commit) for result in results})
    models = sorted({result.model for result in results if result.model})
    parts = [
        f"model given as {' and '.join(models)}" if len(models) > 1 else "",
        f"commit {' and '.join(commits)}",
        *sorted({result.hardware for result in results}),
        *sorted({result.data for result in results}),
    ]
    return "".join(f"; {part}" for part in parts if part)


def shortened(commit: str) -> str:
    """The first twelve digits of a commit, and whether the code was edited since.

    >>> shortened("0123456789abcdef0123456789abcdef01234567+changes")
    '0123456789ab+changes'
    """
    digits, plus, changes = commit.partition("+")
    return digits[:12] + plus + changes or "unknown"
