"""What must a reader of the table know?  Its footnotes: marks, provenance, how settings were chosen, failed runs."""

from collections.abc import Iterable, Sequence

from finetune.table.cells import MARKS, Column, Row
from finetune.table.results import INITS, Result

SCORES_OF_COLUMNS = (
    "The median over seeds, and in brackets the lowest and the highest, of the split and the score that the column "
    "names."
)


def list_glue_notes(ours: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """Say what our rows are scores of, and what they lack."""
    return [
        "Rows of ours are scores on the development sets, the median over seeds, and in brackets the lowest and the "
        "highest. The column heads give the rows of the full training sets.",
        *list_mark_notes(ours),
        *(describe_missing(row, columns) for row in ours if row.kind != "majority" and row.average(columns) is None),
        *list_row_notes(ours),
    ]


def list_failures(results: Sequence[Result]) -> tuple[str, ...]:
    """Say of each job that failed, or gives every row the same answer, which it is and what happened."""
    return tuple(
        f"{result.task}, {result.label}{', random init' * (result.init == 'random')}, seed {result.seed}"
        f"{', ' + result.tried if result.tried else ''}: {result.failure} "
        f"({'it has no score' if result.value is None else 'its score counts in the median'})"
        for result in results
        if result.failure
    )


def list_mark_notes(rows: Sequence[Row]) -> list[str]:
    """Say what the marks at the cells stand for, of which tasks and, where our systems differ, of which of them."""
    ours = [row for row in rows if row.kind in INITS]
    notes = []
    for mark, meaning, reason in MARKS:
        systems_of: dict[str, list[str]] = {}  # reason -> systems
        for row in ours:
            reasons = dict.fromkeys(reason(run, c.measure.split) for c in row.cells.values() for run in c.runs)
            for words in filter(None, reasons):
                systems_of.setdefault(words, []).append(row.system)
        parts = [
            words if len(systems) == len(ours) else f"{words} ({', '.join(systems)})"
            for words, systems in systems_of.items()
        ]
        notes += [f"{mark} {meaning}: {'; '.join(parts)}."] if parts else []
    return notes


def describe_missing(row: Row, columns: Sequence[Column]) -> str:
    lacking = [c.title for c in columns if any(measure not in row.cells for measure in c.measures)]
    return f"{row.system} has no average: {', '.join(lacking)} not run."


def list_row_notes(rows: Iterable[Row]) -> list[str]:
    """Say of each row of ours where it comes from, and how its setting was chosen."""
    return [f"{row.system}: {count_seeds(row)}{describe_choice(row)}{row.origin}." for row in rows if row.origin]


def count_seeds(row: Row) -> str:
    """Say how many seeds stand behind a row's cells, such as `1 seed` or `2 to 5 seeds`."""
    counts = sorted({len(cell.values) for cell in row.cells.values()})
    if len(counts) > 1:
        return f"{counts[0]} to {counts[-1]} seeds"
    return f"{counts[0]} seed{'s' if counts[0] > 1 else ''}"


def describe_choice(row: Row) -> str:
    """Say that a choice among settings was made on the very rows that are reported."""
    most = max(cell.settings for cell in row.cells.values())
    return f", the best of up to {most} settings, chosen on the same rows" if most > 1 else ""


def describe_origin(results: Sequence[Result]) -> str:
    """Say which commits, hardware and data made these results, and which models, if there are several of one name."""
    commits = sorted({shorten_commit(result.commit) for result in results})
    models = sorted({result.model for result in results if result.model})
    parts = [
        f"model given as {' and '.join(models)}" if len(models) > 1 else "",
        f"commit {' and '.join(commits)}",
        *sorted({result.hardware for result in results}),
        *sorted({result.data for result in results}),
    ]
    return "".join(f"; {part}" for part in parts if part)


def shorten_commit(commit: str) -> str:
    """The first twelve digits of a commit, and whether the code was edited since.

    >>> shorten_commit("0123456789abcdef0123456789abcdef01234567+changes")
    '0123456789ab+changes'
    """
    digits, plus, changes = commit.partition("+")
    return digits[:12] + plus + changes or "unknown"
