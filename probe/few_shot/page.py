"""How are few-shot results shown?  A table on the console, and a page with a curve over the number of examples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from rich.console import Console
from rich.table import Table

from engine.publish.curves import as_svg, ink_style, save
from engine.publish.page import template

NAMES = {
    "acc": "sum", "acc_per_token": "per token", "acc_norm": "per character", "acc_unconditional": "unconditional",
    "content_free": "without content", "wrong_answers": "wrong answers",
}  # fmt: skip
COLOURS = {"content_free": "#c06a3a", "wrong_answers": "#8a5cc2"}
ACCENT = "#2f80d8"
SMALL_GAIN = (
    "A small model that gains by examples has often only learnt the form of an answer from them: look at the prompts "
    "with wrong answers and without content before you call it learning."
)


def show(results: Sequence[dict[str, Any]]) -> None:
    """A table for each model and task."""
    console = Console()
    for found in results:
        head, rows = table_of(found)
        table = Table(*head, title=title_of(found), title_justify="left")
        for column in table.columns[1:]:
            column.justify = "right"
        for row in rows:
            table.add_row(*row)
        console.print(table)
        for line in notes_of(found):
            console.print(line, highlight=False)
        console.print()


def title_of(found: dict[str, Any]) -> str:
    return f"{found['task']}, {found['model']}: accuracy in %, {found['rows']:,} rows"


def table_of(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The head, and a row for each way to compare: by number of examples the mean over draws, and their range."""
    scores, label = found["scores"], label_rules(found)
    names = list(dict.fromkeys(name for one in scores.values() for name in one))
    rows = [
        [label[name] + ("*" if name == found["headline"] else ""), *(cell(one.get(name)) for one in scores.values())]
        for name in names
    ]
    return ["examples", *scores], rows


def label_rules(found: dict[str, Any]) -> dict[str, str]:
    """What the rules are called; one alone is that of answers which were written."""
    is_written = not any("acc_norm" in one for one in found["scores"].values())
    return {**NAMES, "acc": "written answers"} if is_written else NAMES


def cell(spread: dict[str, Any] | None) -> str:
    if spread is None:
        return ""
    mean = f"{100 * spread['mean']:.1f}"
    return mean if len(spread["seeds"]) == 1 else f"{mean} ({100 * spread['min']:.1f} to {100 * spread['max']:.1f})"


def notes_of(found: dict[str, Any]) -> list[str]:
    """What must be known beside the figures."""
    baselines = ", ".join(f"{name} {value:.1%}" for name, value in found["baselines"].items())
    notes = [f"beside it: {baselines}; standard error by the number of rows ±{found['standard_error']:.1%}"]
    controls = any(name in one for one in found["scores"].values() for name in COLOURS)
    notes.append(
        "* the headline" + "; prompts without content and examples with wrong answers are scored in its way" * controls
    )
    for shots, details in found["details"].items():
        if details.get("truncated"):
            notes.append(
                f"{shots} examples: {details['truncated']} prompts were too long for the model, and begin later"
            )
        if details.get("unreachable"):
            notes.append(
                f"{shots} examples: {details['unreachable']} right answers hold what ends one, and cannot be written"
            )
        if details.get("without_blank"):
            notes.append(
                f"{shots} examples: in {details['without_blank']} rows the prompt cannot be made without the row's "
                "content, so that control is left out"
            )
        if details.get("still_right"):
            notes.append(f"{shots} examples: {details['still_right']} examples have no other answer, and stay right")
        if details.get("merged"):
            notes.append(
                f"{shots} examples: in {details['merged']} rows a token lies across the join of prompt and option"
            )
    notes += [f"left out: {number} {reason}" for reason, number in found["left_out"].items()]
    notes += [f"{name}: {one['accuracy']:.1%} of {one['rows']}" for name, one in found["groups"].items()]
    return notes


def make_page(results: Sequence[dict[str, Any]]) -> str:
    """One page that needs nothing beside it."""
    shown = [
        {**found, "title": title_of(found), "head": table_of(found)[0], "lines": table_of(found)[1],
         "notes": notes_of(found), "curve": Markup(curve(found)) if len(found["scores"]) > 1 else ""}
        for found in results
    ]  # fmt: skip
    return template(Path(__file__).with_suffix(".html")).render(results=shown, small_gain=SMALL_GAIN)


def curve(found: dict[str, Any]) -> str:
    """An SVG: accuracy over the number of examples, with the range of the draws."""
    scores, places = found["scores"], range(len(found["scores"]))
    with rc_context(ink_style()):
        figure = Figure((6.4, 3.8), layout="constrained")
        axis = figure.subplots()
        for name, colour in {found["headline"]: ACCENT, **COLOURS}.items():
            points = [(place, one[name]) for place, one in zip(places, scores.values(), strict=True) if name in one]
            if points:
                middle = [one["mean"] for _, one in points]
                ranges = [
                    [one["mean"] - one["min"] for _, one in points],
                    [one["max"] - one["mean"] for _, one in points],
                ]
                axis.errorbar([place for place, _ in points], middle, ranges, marker="o", markersize=4, capsize=3,
                              color=colour, label=label_rules(found)[name])  # fmt: skip
        for name in ("chance", "majority", "untrained"):
            if name in found["baselines"]:
                style = {"chance": "--", "majority": ":", "untrained": "-."}[name]
                axis.axhline(found["baselines"][name], linestyle=style, linewidth=1, color="#808790", label=name)
        axis.set_xticks(list(places), list(scores))
        axis.set_xlabel("examples in the prompt")
        lowest, highest = axis.get_ylim()
        axis.set_ylim(max(lowest, 0.0), max(min(highest, 1.02), 0.05))
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        axis.spines[["top", "right"]].set_visible(False)
        figure.legend(frameon=False, loc="outside lower center", ncols=3)
        return as_svg(save(figure, "svg"))
