"""What stands in the table (leaderboard)?  Our systems under the published ones, the median over seeds.

The GLUE table is that of Devlin et al. 2019 (table 1). A cell is the score which the paper reports: F1 for QQP and
MRPC, Spearman for STS-B, Matthews for CoLA, accuracy else. The average is over the nine columns, MNLI's two apart and
WNLI left out, and is always computed. Whatever is not one of the nine stands in a second table.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median

from finetune.table import notes
from finetune.table.cells import Cell, Column, Detail, Measure, Row, Table, list_measures
from finetune.table.published import PUBLISHED, PUBLISHED_BEYOND
from finetune.table.results import INITS, Result


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
    "map": "mAP",
}


def make_tables(results: Sequence[Result], left_out: Sequence[str] = ()) -> list[Table]:
    """Return the GLUE table and the table of what lies beyond it, each only if there are results for it.

    `left_out` is listed under the first one.
    """
    inside = [result for result in results if result.task in GLUE_TASKS]
    beyond = [result for result in results if result.task not in GLUE_TASKS]
    found = [*([make_glue_table(inside)] if inside else []), *([make_beyond_table(beyond)] if beyond else [])]
    return [replace(table, left_out=tuple(left_out) if table is found[0] else ()) for table in found]


def make_glue_table(results: Sequence[Result]) -> Table:
    """Return the nine columns of the paper and their average: the published rows, and under them ours, if any."""
    ours = [*make_majority_rows(results, GLUE), *make_system_rows(drop_failed(results), GLUE)]
    footnotes = [
        "Published rows are scores of the GLUE test server (Devlin et al. 2019, arXiv 1810.04805v1, table 1); QNLI "
        "there is its first version, since replaced.",
        *(notes.list_glue_notes(ours, GLUE) if ours else []),
    ]
    rows = (*list_published_rows(), *ours)
    return Table("GLUE", GLUE, rows, tuple(footnotes), True, list_details(rows, results), notes.list_failures(results))


def make_beyond_table(results: Sequence[Result]) -> Table:
    """Return a column for each other task."""
    tasks = dict.fromkeys(result.task for result in drop_failed(results))
    columns = tuple(make_beyond_column(task, drop_failed(results)) for task in tasks)
    known = list_published_beyond(columns)
    ours = (*make_majority_rows(results, columns), *make_system_rows(drop_failed(results), columns))
    footnotes = (
        *([notes.SCORES_OF_COLUMNS] if ours else []),
        *(["Published rows: Devlin et al. 2019, development sets."] if known else []),
        *notes.list_mark_notes(ours),
        *notes.list_row_notes(ours),
    )
    rows = (*known, *ours)
    return Table(
        "Beyond GLUE", columns, rows, footnotes, False, list_details(rows, results), notes.list_failures(results)
    )


def make_beyond_column(task: str, results: Sequence[Result]) -> Column:
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


def list_published_rows() -> list[Row]:
    return [
        Row(
            system,
            "published",
            {measure: Cell(measure, (v,)) for measure, v in zip(list_measures(GLUE), values, strict=True)},
        )
        for system, values in PUBLISHED.items()
    ]


def list_published_beyond(columns: Sequence[Column]) -> list[Row]:
    """Return what the paper reports of the columns' tasks, on their dev splits."""
    rows = []
    for system, values in PUBLISHED_BEYOND.items():
        cells = {
            measure: Cell(measure, (values[measure.task, measure.metric],))
            for measure in list_measures(columns)
            if measure.split == "dev" and (measure.task, measure.metric) in values
        }
        rows += [Row(system, "published", cells)] if cells else []
    return rows


def make_majority_rows(results: Sequence[Result], columns: Sequence[Column]) -> list[Row]:
    """Return what the commonest label would score, as the results lines tell it: one row, or none if they do not."""
    scores = {result.task: result.majority for result in results}
    values = {measure: measure.of(scores.get(measure.task, {})) for measure in list_measures(columns)}
    cells = {measure: Cell(measure, (value,)) for measure, value in values.items() if value is not None}
    return [Row("Majority class", "majority", cells)] if cells else []


def make_system_rows(results: Sequence[Result], columns: Sequence[Column]) -> list[Row]:
    """Return a row for each label and initialisation: labels as first met, and of each the random one first."""
    labels = dict.fromkeys(result.label for result in results)
    groups = [
        [result for result in results if (result.label, result.init) == (label, init)]
        for label in labels
        for init in INITS
    ]
    return [make_system_row(group, columns) for group in groups if group]


def make_system_row(results: Sequence[Result], columns: Sequence[Column]) -> Row:
    cells = [
        cell
        for task in dict.fromkeys(result.task for result in results)
        for cell in make_cells([result for result in results if result.task == task], columns)
    ]
    label, init = results[0].label, results[0].init
    name = label if init == "pretrained" else f"{label}, random init"
    return Row(
        name,
        "pretrained" if init == "pretrained" else "random",
        {c.measure: c for c in cells},
        notes.describe_origin(results),
    )


def make_cells(results: Sequence[Result], columns: Sequence[Column]) -> list[Cell]:
    """Return one task's cells: of several settings, that with the best median headline counts."""
    settings = [
        [result for result in results if result.setting == setting]
        for setting in dict.fromkeys(result.setting for result in results)
    ]
    best = max(settings, key=lambda runs: median(run.value or 0.0 for run in runs))
    best = sorted(best, key=lambda run: run.seed)
    having = {
        measure: [run for run in best if not (run.is_strict and measure.metric == "f1")]
        for measure in list_measures(columns)
        if measure.task == results[0].task
    }
    return [
        Cell(measure, tuple(find_score(run, measure) for run in runs), len(settings), tuple(runs), tuple(results))
        for measure, runs in having.items()
        if runs
    ]


def find_score(result: Result, measure: Measure) -> float:
    value = measure.of(result.metrics)
    if value is None:
        raise ValueError(
            f"{result.where}: {result.task} has no {measure.split} {measure.metric}, which the table shows"
        )
    return value


# How the scores came about


def drop_failed(results: Sequence[Result]) -> list[Result]:
    return [result for result in results if result.value is not None]


def list_details(rows: Iterable[Row], results: Sequence[Result]) -> tuple[Detail, ...]:
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
