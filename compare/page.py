"""What came of a comparison?  One page that stands alone: does the order appear, the tables, and what each has taken.

All figures are read from what the runs have left: results.jsonl of the fine-tunings, by way of finetune.table, and
finished.json and metrics.jsonl of the pretrainings.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from compare.amount import Amount, find_slowest, read_amount
from compare.order import (
    Agreement,
    Mean,
    Scores,
    compute_agreements,
    compute_means,
    describe_chance,
    list_common,
)
from compare.recipe import Arm, CompareRecipe
from engine.publish.curves import INK, PALETTE, as_svg, ink_style, save
from engine.publish.page import template
from engine.run.disk import read_json, whole_file
from engine.run.finite import strict_json
from engine.run.folders import read_finished
from engine.run.tracking import read_lines
from finetune.table.cells import Row, Table
from finetune.table.pages import WIDTHS, as_json, html, markdown
from finetune.table.results import Result, read_what_is_there
from finetune.table.standings import GLUE, list_published_rows, make_tables

ARMS: dict[Arm, str] = {"untrained": "Untrained", "minutes": "Same minutes", "text": "Same text"}


@dataclass(frozen=True)
class Finding:
    """What one arm came to."""

    arm: Arm
    tables: list[Table]
    scores: Scores
    agreements: list[Agreement]


@dataclass(frozen=True)
class Taken:
    """What a pretraining has read and cost, and its held-out loss."""

    system: str
    arm: Arm
    parameters: int
    amount: Amount
    minutes: float
    processor_minutes: float | None
    loss: str  # the held-out one beside its baseline


def write_page(recipe: CompareRecipe) -> Path:
    """Write comparison.html, .md and .json of all that is finished. Return the page's path."""
    path = recipe.folder / "comparison.html"
    found = [finding for arm in recipe.same if (finding := find(recipe, arm))]
    if not found:
        return path
    arms: dict[Arm, Scores] = {"untrained": collect_scores(read_arm(recipe, "untrained")[0])}
    arms |= {finding.arm: finding.scores for finding in found}
    columns = list_columns(recipe, arms)
    means = {arm: compute_means(scores, columns) for arm, scores in arms.items()} if columns else {}
    taken = list_taken(recipe)
    tables = [table for finding in found for table in finding.tables]
    parts = {
        "recipe": recipe, "found": found, "means": means, "taken": taken, "ARMS": ARMS, "columns": columns,
        "chance": describe_chance(len(recipe.systems)),
    }  # fmt: skip
    here = Path(__file__).parent
    drawings = {name: draw_means(recipe, means, width) for width, name in WIDTHS.items()} if means else {}
    before = Markup(template(here / "page.html").render(**parts, drawings=drawings))
    after = Markup(template(here / "taken.html").render(**parts))
    whole_file(path, html(tables, before, after, title=recipe.name).encode())
    text = template(here / "page.md").render(**parts)
    whole_file(path.with_suffix(".md"), f"{text}\n{markdown(tables)}\n".encode())
    record = {
        **json.loads(as_json(tables)),
        "agreements": {finding.arm: [asdict(one) for one in finding.agreements] for finding in found},
        "averages": {arm: {system: asdict(mean) for system, mean in rows.items()} for arm, rows in means.items()},
        "pretraining": [asdict(one) for one in taken],
    }
    whole_file(path.with_suffix(".json"), strict_json(record, indent=1).encode())
    return path


# Reading what the runs have left


def find(recipe: CompareRecipe, arm: Arm) -> Finding | None:
    """What the systems score that have come to an end in this arm; None if there is none."""
    trained, left_out = read_arm(recipe, arm)
    if not trained:
        return None
    untrained, others = read_arm(recipe, "untrained")
    tables = [
        replace(table, title=f"{ARMS[arm]}: {table.title}")
        for table in make_tables(sort(recipe, untrained + trained), left_out + others)
    ]
    scores = collect_scores(sort(recipe, trained))
    is_whole = len(scores) == len(recipe.systems) and list_common(scores)
    agreements = compute_agreements(scores, published_scores(recipe)) if is_whole else []
    return Finding(arm, tables, scores, agreements)


def read_arm(recipe: CompareRecipe, arm: Arm) -> tuple[list[Result], list[str]]:
    """The results of an arm, and what is not finished, in words. The slowest system reads the same text in its minutes,
    and is not trained twice."""
    stands_in = find_slowest(recipe) if arm == "text" else None
    folders = [recipe.finetuned(system, "minutes" if system == stands_in else arm) for system in recipe.systems]
    there = [folder for folder in folders if (folder / "results.jsonl").is_file()]
    return read_what_is_there(there) if there else ([], [])


def sort(recipe: CompareRecipe, results: Sequence[Result]) -> list[Result]:
    """The results in the order of the recipe's systems."""
    place = {system.name: number for number, system in enumerate(recipe.systems)}
    return sorted(results, key=lambda result: place.get(result.label, len(place)))


def collect_scores(results: Sequence[Result]) -> dict[str, dict[str, list[float]]]:
    """system -> column of the GLUE table -> a score a seed; of a column with two measures their mean."""
    found: dict[str, dict[str, list[float]]] = {}
    for result in results:
        row = found.setdefault(result.label, {})
        for column in GLUE:
            values = [measure.of(result.metrics) for measure in column.measures if measure.task == result.task]
            known = [value for value in values if value is not None]
            if known and len(known) == len(column.measures):
                row.setdefault(column.title, []).append(fmean(known))
    return {system: {c.title: row[c.title] for c in GLUE if c.title in row} for system, row in found.items()}


def published_scores(recipe: CompareRecipe) -> dict[str, dict[str, float]]:
    """system -> column -> the published score of its row, for those that have one."""
    rows: dict[str, Row] = {row.system: row for row in list_published_rows()}
    found = {}
    for system in recipe.systems:
        if system.published:
            cells = rows[system.published].cells
            found[system.name] = {
                column.title: fmean(cells[measure].median for measure in column.measures) for column in GLUE
            }
    return found


def list_columns(recipe: CompareRecipe, arms: Mapping[Arm, Scores]) -> list[str]:
    """The columns that all systems have in all arms; none as long as a system is missing."""
    if any(len(scores) < len(recipe.systems) for scores in arms.values()):
        return []
    return list_common({f"{system}, {arm}": row for arm, scores in arms.items() for system, row in scores.items()})


def list_taken(recipe: CompareRecipe) -> list[Taken]:
    """What each finished pretraining has taken."""
    path = recipe.folder / "processor.json"
    used = read_json(path, advice="delete it") if path.exists() else {}
    found = []
    for arm in ("minutes", "text"):
        for system in recipe.systems:
            run = recipe.pretrained(system, arm)
            if finished := read_finished(run):
                seconds = used.get(run.relative_to(recipe.folder).as_posix())
                found.append(Taken(
                    system.name, arm, finished["parameters"], read_amount(recipe, system, arm),
                    finished["seconds"] / 60, None if seconds is None else seconds / 60, describe_loss(run),
                ))  # fmt: skip
    return found


def describe_loss(run: Path) -> str:
    """The losses of the last evaluation on held-out text, each beside its baseline."""
    lines = [line for line in read_lines(run / "metrics.jsonl") if any(name.startswith("eval_") for name in line)]
    last = lines[-1] if lines else {}
    names = [name.removeprefix("eval_") for name in last if name.startswith("eval_") and name.endswith("_loss")]
    return "; ".join(
        f"{name.removesuffix('_loss').replace('_', ' ')} {last[f'eval_{name}']:.2f} ({last[f'baseline_{name}']:.2f})"
        for name in names
        if f"baseline_{name}" in last
    )


# The drawing


def draw_means(recipe: CompareRecipe, means: Mapping[Arm, Mapping[str, Mean]], width: float) -> Markup:
    """Each system's average, untrained and in each arm, with what the seeds move it by."""
    names = [system.name for system in recipe.systems]
    with rc_context(ink_style()):
        figure = Figure((width, 3.4), layout="constrained")
        axes = figure.subplots()
        for number, (arm, rows) in enumerate(means.items()):
            across = [place + 0.14 * (number - 1) for place in range(len(names))]
            values = [rows[name].value for name in names]
            # Of medians, which may lie beyond what nine of ten draws reach
            below = [max(0.0, rows[name].value - rows[name].low) for name in names]
            above = [max(0.0, rows[name].high - rows[name].value) for name in names]
            colour = INK if arm == "untrained" else PALETTE[number - 1]
            axes.errorbar(
                across, values, yerr=[below, above], fmt="o", markersize=6, capsize=3, color=colour, label=ARMS[arm]
            )
        axes.set_xticks(range(len(names)), names)
        axes.set_ylabel("average score")
        axes.grid(axis="y", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(frameon=False, loc="outside lower center", ncols=3, fontsize=9)
        return Markup(as_svg(save(figure, "svg", bbox_inches="tight")))  # our own drawing
