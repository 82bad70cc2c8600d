"""How is a table written down?  As Markdown, as one HTML page, or as JSON."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2

from finetune.comparison import Cell, Column, Row, Table

MISSING = "–"


def markdown(found: Sequence[Table]) -> str:
    """Write the tables as GitHub's Markdown, which has one head row: the training sizes are the first row under it."""
    return "\n\n".join(_markdown_table(table) for table in found)


def _markdown_table(table: Table) -> str:
    average = ["Average"] if table.averaged else []
    head = ["System", *(column.title for column in table.columns), *average]
    sizes = ["", *(column.subtitle for column in table.columns), *("-" for _ in average)]
    rows = [[row.system, *shown_cells(row, table)] for row in table.rows]
    lines = [head, ["---", *("---:" for _ in head[1:])], sizes, *rows]
    body = "\n".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in lines)
    notes = "\n".join(f"- {note}" for note in table.notes)
    return f"## {table.title}\n\n{body}\n\n{notes}"


def html(found: Sequence[Table]) -> str:
    """Write the tables as one page that needs nothing beside it."""
    page = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    template = page.from_string(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
    return template.render(tables=found, shown=shown, shown_average=shown_average, spread=spread)


def as_json(found: Sequence[Table]) -> str:
    """Write the tables as JSON, scores in percent and unrounded."""
    return json.dumps({"tables": [_json_table(table) for table in found]}, indent=2, ensure_ascii=False)


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
    }


def _json_cell(cell: Cell) -> dict[str, Any]:
    return {
        **vars(cell.measure),
        "median": cell.median,
        "min": min(cell.values),
        "max": max(cell.values),
        "values": cell.values,
        "settings": cell.settings,
    }


def shown_cells(row: Row, table: Table) -> list[str]:
    """Return a row's cells as they are printed."""
    return [*(shown(row, column) for column in table.columns), *([shown_average(row, table)] if table.averaged else [])]


def shown(row: Row, column: Column) -> str:
    """Return a cell as it is printed, such as `84.6/83.4`; a dash where nothing is known."""
    cells = [row.cells.get(measure) for measure in column.measures]
    return "/".join(f"{cell.median:.1f}" if cell else MISSING for cell in cells) if any(cells) else MISSING


def shown_average(row: Row, table: Table) -> str:
    """Return a row's average as it is printed."""
    average = row.average(table.columns)
    return MISSING if average is None else f"{average:.1f}"


def spread(row: Row, column: Column) -> str:
    """Return the least and the greatest score over seeds, such as `60.2–61.7`; nothing for a single seed."""
    cells = [row.cells[measure] for measure in column.measures if measure in row.cells]
    return " / ".join(f"{min(c.values):.1f}–{max(c.values):.1f}" for c in cells if len(c.values) > 1)


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {"markdown": markdown, "html": html, "json": as_json}
