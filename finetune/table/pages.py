"""How is a table written down?  As Markdown, as one HTML page with a plot of the spread, or as JSON."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engine.publish.curves import INK, PALETTE, as_svg, ink_style, save
from engine.publish.page import template
from engine.run.disk import whole_file
from engine.run.finite import strict_json
from finetune.table.cells import Cell, Column, Detail, Measure, Row, Table, list_measures
from finetune.table.results import Result
from finetune.table.standings import SHORT, make_tables

MISSING = "–"
NOTHING = Markup("")


def markdown(found: Sequence[Table]) -> str:
    """Write the tables as GitHub's Markdown, which has one head row: the training sizes are the first row under it."""
    return "\n\n".join(_markdown_table(table) for table in found)


def _markdown_table(table: Table) -> str:
    average = ["Average"] if table.averaged else []
    head = ["System", *(column.title for column in table.columns), *average]
    sizes = ["", *(column.subtitle for column in table.columns), *("-" for _ in average)]
    rows = [[row.system, *format_row(row, table)] for row in table.rows]
    lines = [head, ["---", *("---:" for _ in head[1:])], sizes, *rows]
    notes = [f"- {note}" for note in table.notes]
    parts = [f"## {table.title}", *([_rows(lines), "\n".join(notes)] if table.rows else [])]  # all may have failed
    if table.left_out:
        parts.append("Not in this table:\n\n" + "\n".join(f"- {what}" for what in table.left_out))
    if table.failures:
        parts.append("Failed runs:\n\n" + "\n".join(f"- {failure}" for failure in table.failures))
    if table.details:
        parts.append(
            _rows([DETAILS, ["---", "---", *("---:" for _ in DETAILS[2:])], *map(format_detail, table.details)])
        )
        parts.append(MEMORY)
    return "\n\n".join(parts)


def _rows(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in lines)


def html(found: Sequence[Table], before: Markup = NOTHING, after: Markup = NOTHING, title: str = "") -> str:
    """Write the tables as one page that needs nothing beside it, between what another program says of them."""
    return template(Path(__file__).with_suffix(".html")).render(
        tables=found, before=before, after=after, title=title, memory=MEMORY, format_cell=format_cell,
        format_average=format_average, format_spread=format_spread, plot=plot, widths=WIDTHS, titles=DETAILS,
        format_detail=format_detail,
    )  # fmt: skip


def as_json(found: Sequence[Table]) -> str:
    """Write the tables as JSON, scores in percent and unrounded."""
    return strict_json({"tables": [_json_table(table) for table in found]}, indent=2, ensure_ascii=False)


def _json_table(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "columns": [
            {"title": c.title, "subtitle": c.subtitle, "measures": [vars(m) for m in c.measures]} for c in table.columns
        ],
        "rows": [
            {
                "system": row.system,
                "kind": row.kind,
                "scores": [_json_cell(cell) for cell in row.cells.values()],
                "average": row.average(table.columns) if table.averaged else None,
            }
            for row in table.rows
        ],
        "notes": list(table.notes),
        "failures": list(table.failures),
        "left_out": list(table.left_out),
        "runs": [asdict(detail) for detail in table.details],
    }


def _json_cell(cell: Cell) -> dict[str, Any]:
    return {
        **vars(cell.measure),
        "median": cell.median,
        "min": min(cell.values),
        "max": max(cell.values),
        "values": cell.values,
        "seeds": [run.seed for run in cell.runs],
        "settings": cell.settings,
        "partial": "†" in cell.marks,
        "tried": [
            {"setting": run.tried, "seed": run.seed, "value": run.value and 100 * run.value, "failure": run.failure}
            for run in cell.all_runs
        ],
    }


def format_row(row: Row, table: Table) -> list[str]:
    """Return a row's cells as they are printed, such as `60.2 (58.1–61.7)`."""
    cells = [
        f"{format_cell(row, c)} ({format_spread(row, c)})" if format_spread(row, c) else format_cell(row, c)
        for c in table.columns
    ]
    return [*cells, *([format_average(row, table)] if table.averaged else [])]


def format_cell(row: Row, column: Column) -> str:
    """Return a cell as it is printed, such as `84.6/83.4`; a dash where nothing is known."""
    cells = [row.cells.get(measure) for measure in column.measures]
    marks = join_marks(cell for cell in cells if cell)
    return "/".join(f"{cell.median:.1f}" if cell else MISSING for cell in cells) + marks if any(cells) else MISSING


def join_marks(cells: Iterable[Cell]) -> str:
    return "".join(dict.fromkeys(mark for cell in cells for mark in cell.marks))


def format_average(row: Row, table: Table) -> str:
    average = row.average(table.columns)
    return MISSING if average is None else f"{average:.1f}{join_marks(row.cells.values())}"


def format_spread(row: Row, column: Column) -> str:
    """Return the least and the greatest score over seeds, such as `60.2–61.7`; nothing for a single seed."""
    cells = [row.cells[measure] for measure in column.measures if measure in row.cells]
    return " / ".join(f"{min(c.values):.1f}–{max(c.values):.1f}" for c in cells if len(c.values) > 1)


DETAILS = ["System", "Task", "Seeds", "Setting", "Best dev run", "Minutes a job (all)", "Memory, GB", "Rows", "On"]


MEMORY = (
    "Memory is the most that the main process of a job held while the job ran; ≤ where the process was measured from "
    "its own start, so that earlier jobs in it count too."
)


def format_detail(detail: Detail) -> list[str]:
    setting = f"{detail.setting} (of {detail.num_settings})" if detail.setting else ""
    seeds = ", ".join(map(str, detail.seeds))
    rows = " or ".join(" / ".join(f"{count:,} {split}" for split, count in sizes.items()) for sizes in detail.sizes)
    minutes = f"{detail.minutes:.1f} ({detail.total_minutes:.1f})" if detail.total_minutes else MISSING
    memory = f"{'≤ ' * (detail.memory_of == 'process')}{detail.memory:.1f}" if detail.memory else MISSING
    return [detail.system, detail.task, seeds, setting, detail.best, minutes, memory, rows, " or ".join(detail.on)]


WIDTHS = {8.4: "wide", 4.2: "narrow"}  # inches: a plot for a large screen, and one for a phone


def plot(table: Table, width: float) -> Markup:
    """Draw every seed of every system of ours, task by task, with medians, the majority and the published scores."""
    ours = [row for row in table.rows if any(cell.runs for cell in row.cells.values())]
    measures = [measure for measure in list_measures(table.columns) if any(measure in row.cells for row in ours)]
    if not ours:
        return Markup("")
    with rc_context(ink_style()):
        figure = Figure((width, 1.2 + compute_height(len(measures), len(ours))), layout="constrained")
        axes = figure.subplots()
        for place, measure in enumerate(measures):
            _levels(axes, table, measure, place)
            for number, row in enumerate(ours):
                if measure in row.cells:
                    height = place + (number + 1) / (len(ours) + 1) - 0.5
                    _dots(axes, row.cells[measure], height, PALETTE[number % len(PALETTE)])
        for number, row in enumerate(ours):
            axes.scatter([], [], color=PALETTE[number % len(PALETTE)], label=row.system)
        drawn = {row.kind for row in table.rows if any(measure in row.cells for measure in measures)}
        if "published" in drawn:
            axes.scatter([], [], marker="|", color=INK, label="others, published")
        if "majority" in drawn:
            axes.scatter([], [], marker="x", color=INK, label="majority")
        axes.set_yticks(range(len(measures)), [name_measure(measure) for measure in measures])
        axes.set_ylim(len(measures) - 0.5, -0.5)
        axes.set_xlabel("score")
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right", "left"]].set_visible(False)
        figure.legend(frameon=False, loc="outside lower center", ncols=int(width / 2.1) - 1, fontsize=9)
        return Markup(as_svg(save(figure, "svg", bbox_inches="tight")))  # our own drawing


def compute_height(num_measures: int, num_systems: int) -> float:
    return num_measures * (0.28 + 0.16 * num_systems)


def name_measure(measure: Measure) -> str:
    split = "" if measure.split == "dev" else measure.split.removeprefix("dev_") + " "
    return f"{measure.task.removeprefix('glue/')} {split}{SHORT.get(measure.metric, measure.metric)}"


def _levels(axes: Axes, table: Table, measure: Measure, place: int) -> None:
    """What was published, and what the commonest label scores."""
    for row in table.rows:
        if measure in row.cells and row.kind in ("published", "majority"):
            marker = "|" if row.kind == "published" else "x"
            axes.scatter([row.cells[measure].median], [place], marker=marker, s=60, color=INK, linewidths=1)


def _dots(axes: Axes, cell: Cell, height: float, colour: str) -> None:
    """A dot a seed, hollow where it is degenerate, and a line at the median."""
    faces = ["none" if run.failure else colour for run in cell.runs]
    axes.scatter(cell.values, [height] * len(cell.values), s=22, facecolors=faces, edgecolors=colour, alpha=0.75)
    axes.plot([cell.median] * 2, [height - 0.07, height + 0.07], color=colour, linewidth=2)


def write_table(folder: Path, results: Sequence[Result], left_out: Sequence[str] = ()) -> None:
    """Write table.md, table.html and table.json into a folder, each whole or not at all."""
    found = make_tables(results, left_out)
    for name, render in FORMATS.items():
        suffix = {"markdown": "md"}.get(name, name)
        whole_file(folder / f"table.{suffix}", (render(found) + "\n").encode())


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {"markdown": markdown, "html": html, "json": as_json}
