"""What sets a score apart from the others in its column?  A mark at the cell, and a note under the table."""

from collections.abc import Callable

from finetune.table.published import DEV_ROWS, TRAINING_ROWS
from finetune.table.results import Result

Reason = Callable[[Result, str], str]  # (a run, the split that a score is of) -> why it is marked; "" if it is not


def part_trained_on(run: Result, split: str) -> str:
    """Fewer rows than the benchmark or the user's file has, or less than an epoch of them."""
    rows, full = next(iter(run.sizes.values()), 0), TRAINING_ROWS.get(run.task, 0)
    parts = []
    if run.sizes and rows < full:
        parts.append(f"{rows:,} of {full:,} rows")
    if run.held_out:
        parts.append(f"{rows:,} rows, {run.held_out:.0%} of the file being held out for dev")
    if run.passes < 1:
        parts.append(f"{100 * run.passes:.3g} % of an epoch")
    return f"{run.task} on {' and '.join(parts)}" if parts else ""


def part_scored_on(run: Result, split: str) -> str:
    """Fewer dev rows than the benchmark has."""
    rows, full = run.sizes.get(split, 0), DEV_ROWS.get((run.task, split), 0)
    return f"{run.task} on {rows:,} of {full:,} {split} rows" if 0 < rows < full else ""


MARKS: tuple[tuple[str, str, Reason], ...] = (
    ("†", "Trained on a part", part_trained_on),
    ("†", "Scored on a part", part_scored_on),
)
