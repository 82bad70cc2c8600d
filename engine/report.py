"""What came of this run?  One page that stands alone, from what the run's folder holds.

    cloze report RUN [RUN ...]

Every run writes its own at its end; the command writes one for a run that is still going on or was stopped. Nothing is
asked of the run but its files: metrics.jsonl, recipe.yaml, and, where they are, data_report.md, samples/, finished.json
and analysis.html. So any run has a page, whatever it trains. It links to these, and to runs on the same held-out data.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape
from tyro.conf import Positional, arg

from engine.publish.card import Journey, energy
from engine.publish.curves import SHARES, Points, draw_with_values, read_metrics
from engine.publish.links import find_compared, last_step, list_links
from engine.publish.page import template
from engine.run.disk import whole_file
from engine.run.folders import read_finished
from engine.run.options import read_options
from engine.run.runtime import hardware, program
from engine.run.tracking import PER_SECOND, name_of

PACE = {
    "mfu": "model-FLOP utilisation",
    "padding_rate": "padding, of all places",
    "data_wait": "waiting for data, of the time",
}
STEP = re.compile(r"step-[0-9]+")
MOST_SAMPLES = 8  # evaluations whose samples are shown


@dataclass(frozen=True)
class Options:
    """Write report.html of a run again. Every run writes its own; this brings an old one up to date.

    Example: cloze report runs/try/bert
    """

    # folders of pretraining runs, or of fine-tuning jobs (runs/NAME/TASK/seed-N)
    runs: Annotated[tuple[Path, ...], Positional, arg(metavar="RUN...", help_behavior_hint="(one or several)")]


@program
def main(argv: list[str]) -> None:
    options = read_options(Options, argv, "python -m engine.report")
    for folder in options.runs:
        print(write_report(folder if folder.name else folder.absolute()))


def write_report(folder: Path, finished: Mapping[str, Any] | None = None) -> Path:
    """Write the page of the run in `folder` and return its path. Errors: ValueError where there is no run.

    `finished` is what finished.json will say, of a run that is about to write it.
    """
    metrics, target = folder / "metrics.jsonl", folder / "report.html"
    if not metrics.exists():
        raise ValueError(f"{folder} is no run: looked for {metrics}")
    points, recipe = read_metrics(metrics), read(folder / "recipe.yaml")
    finished = finished or read_finished(folder) or {}
    page = template(Path(__file__).with_suffix(".html")).render(
        name=name_of(folder),
        state=state(points, finished),
        tiles=tiles(points, finished),
        curves=[drawn(title, series, points) for title, series in panels(points)],
        best="best" in finished,
        standing=standing(points, finished),
        pace=[drawn(what, {"": name}, points) for name, what in pace(points).items() if len(points[name]) > 1],
        pace_rows=pace_rows(points),
        samples=samples(folder / "samples"),
        data=sections(read(folder / "data_report.md"), folder),
        system=system(folder, recipe, finished),
        recipe=recipe,
        links=list_links(folder, finished),
        compared=compared(folder, points),
    )
    whole_file(target, page.encode())
    return target


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


# Curves and numbers


def panels(points: Mapping[str, Points]) -> list[tuple[str, dict[str, str]]]:
    """What is worth a curve: losses, what each evaluation measures, the gradient, the learning rate."""
    terms = [name for name in points if name.endswith("_loss") and not name.startswith(("eval_", "baseline_"))]
    single = len(terms) == 1  # what it is called matters only beside its evaluation
    losses = terms if single and f"eval_{terms[0]}" in points else ["loss", *(terms if not single else [])]
    evaluated = [name.removeprefix("eval_") for name in points if name.startswith("eval_")]
    others = [name for name in evaluated if name not in losses and not name.endswith("perplexity")]
    found = [(f"{words(name)}, nats", name) for name in losses] + [(words(name), name) for name in others]
    curves = [
        (title, {"training": name, "held out": f"eval_{name}", "baseline": f"baseline_{name}"}) for title, name in found
    ]
    curves += [("gradient norm", {"": "grad_norm"}), ("learning rate", {"": "learning_rate"})]
    return [(title, series) for title, series in curves if any(len(points.get(n, [])) > 1 for n in series.values())]


def drawn(title: str, series: dict[str, str], points: Mapping[str, Points]) -> Markup:
    """Curves under a title, as a figure that a screen reader names."""
    there = {label: name for label, name in series.items() if name in points}
    drawing, values = draw_with_values(points, title, there)
    return Markup('<figure data-values="{}"><div role="img" aria-label="{}, by step">{}</div></figure>').format(
        json.dumps(values, separators=(",", ":")),
        title,
        Markup(drawing),  # our own
    )


def handed_on(values: Points, finished: Mapping[str, Any]) -> float:
    """The value of the model that was handed on: the best checkpoint, where one was chosen, or else the last."""
    best = finished.get("best", {}).get("step")
    return next((value for step, value in values if step == best), values[-1][1])


def standing(points: Mapping[str, Points], finished: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """(what, at first, at last or at its best, baseline) of everything that is evaluated."""
    rows = []
    for name, baseline in points.items():
        what = name.removeprefix("baseline_")
        evaluated = points.get(f"eval_{what}", points.get(what, []))
        if name.startswith("baseline_") and evaluated:
            first = number(what, evaluated[0][1]) if len(evaluated) > 1 else ""
            last = number(what, handed_on(evaluated, finished))
            rows.append((words(what), first, last, number(what, baseline[-1][1])))
    return rows


def compared(folder: Path, points: Mapping[str, Points]) -> tuple[list[str], list[tuple[str, str, list[str]]]]:
    """(what is measured; name, address and cells of each run) of this run and of those on the same held-out data."""
    names = [name.removeprefix("baseline_") for name in points if name.startswith("baseline_")]
    names = [name for name in names if not name.endswith("perplexity")]  # it says what the loss says
    runs = find_compared(folder, points, [f"eval_{name}" if f"eval_{name}" in points else name for name in names])
    rows = [
        (run.name, run.link, [
            f"{run.steps:,}",
            *("–" if value is None else number(name, value) for name, value in zip(names, run.values, strict=True)),
        ])
        for run in runs
    ]  # fmt: skip
    return [words(name) for name in names], rows


def pace_rows(points: Mapping[str, Points]) -> list[tuple[str, str, str, str]]:
    """(what, least, median, most) over the lines of the log."""
    rows = []
    for name, what in pace(points).items():
        values = [value for _, value in points[name]]
        least, middle, most = (number(name, value) for value in (min(values), median(values), max(values)))
        rows.append((what, least, middle, most))
    return rows


def pace(points: Mapping[str, Points]) -> dict[str, str]:
    """What of the log says how fast the run went, in words: units a second first, whatever the unit."""
    speeds = {name: f"{name.removesuffix(PER_SECOND)} a second" for name in points if name.endswith(PER_SECOND)}
    return speeds | {name: what for name, what in PACE.items() if points.get(name)}


def tiles(points: Mapping[str, Points], finished: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The few numbers that one asks for first, as (number, what it is)."""
    found = []
    if "loss" in points:
        found.append((number("loss", points["loss"][-1][1]), "training loss, nats"))
    evaluated = [name.removeprefix("baseline_") for name in points if name.startswith("baseline_")]
    found += [
        (number(name, handed_on(points[column], finished)), words(name))
        for name in evaluated
        for column in (f"eval_{name}", name)
        if column in points and not name.endswith(("loss", "perplexity"))
    ][:4]
    for name, what in pace(points).items():
        if name.endswith(PER_SECOND):
            found.append((number(name, median([value for _, value in points[name]])), what))
    if "seconds" in finished:
        found.append((duration(finished["seconds"]), "from start to end"))
    if "parameters" in finished:
        found.append((f"{finished['parameters']:,}", "parameters"))
    return found


def state(points: Mapping[str, Points], finished: Mapping[str, Any]) -> str:
    reached = last_step(points)
    if not finished:
        return f"Not finished: step {reached:,}."
    best = finished.get("best")
    model = " The model is that of step {step:,}, the best of {evaluations} by {metric}.".format(**best) if best else ""
    return f"Finished after {finished.get('steps', reached):,} steps.{model}"


def words(name: str) -> str:
    return " ".join(word.upper() if word == "lm" else word for word in name.split("_"))


def number(name: str, value: float) -> str:
    if name.endswith(SHARES):
        return f"{value:.1%}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


# Words


def samples(folder: Path) -> list[tuple[int, Markup]]:
    """(step, what the model made up or guessed then), from the first evaluation to the last, a few between them."""
    paths = sorted((path for path in folder.glob("step-*.md") if STEP.fullmatch(path.stem)), key=step_of)
    if len(paths) > MOST_SAMPLES:
        paths = [paths[round(place * (len(paths) - 1) / (MOST_SAMPLES - 1))] for place in range(MOST_SAMPLES)]
    return [(step_of(path), markdown(read(path), folder)) for path in paths]


def step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def sections(report: str, folder: Path) -> list[tuple[str, Markup]]:
    """The (title, text) of each part of a Markdown report; what stands before the first `##` has no title."""
    head, *parts = ("\n" + report).split("\n## ")
    head = "\n".join(line for line in head.split("\n") if not line.startswith("# "))
    found = [("", head), *((part.partition("\n")[0], part.partition("\n")[2]) for part in parts)]
    return [(title, markdown(text, folder)) for title, text in found if text.strip()]


def markdown(text: str, folder: Path) -> Markup:
    """Markdown as HTML; what is HTML in it stays text. Pictures of `folder` become part of the page."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["link", "autolink"])
    reader.add_render_rule("image", lambda self, tokens, place, *_: embedded(tokens[place], folder))
    html = reader.render(text)
    return Markup(html.replace("<table>", '<div class="frame"><table>').replace("</table>", "</table></div>"))


def embedded(image: Token, folder: Path) -> str:
    """A picture in the page itself, above its caption; the caption alone where `folder` has no such file."""
    name, caption = str(image.attrs.get("src", "")), escape(image.content)
    path = folder / name
    if path.name != name or path.suffix != ".png" or not path.is_file():
        return str(caption)
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<span class="picture"><img alt="" src="data:image/png;base64,{data}"><small>{caption}</small></span>'


# System and cost


def system(folder: Path, recipe: str, finished: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where the run ran and what it took, as (what, in words)."""
    noted = dict(line[2:].split(" ", 1) for line in recipe.split("\n") if line.startswith("# ") and " " in line[2:])
    rows: list[tuple[str, str]] = [(name, noted[name]) for name in ("hardware", "processes", "commit") if name in noted]
    if "seconds" in finished:
        rows.append(("time, evaluations included", duration(finished["seconds"])))
        # The estimate asks this machine.
        if noted.get("hardware") == hardware() and {"processes", "commit"} <= noted.keys():
            journey = Journey(
                folder, finished["seconds"] / 3600, int(noted["processes"]), noted["hardware"], noted["commit"]
            )
            rows.append(("energy, estimated", energy(journey)))
    earlier = ", earlier jobs in it included" if finished.get("peak_rss_of") == "process" else ""
    what_of = {"peak_rss_mb": f"memory of the main process{earlier}", "peak_gpu_mb": "tensors on its GPU"}
    rows += [(f"{what}, at most", f"{finished[name]:,} MB") for name, what in what_of.items() if name in finished]
    sizes = [path.stat().st_size for path in (folder / "model").rglob("*") if path.is_file()]
    return rows + ([("the model on disk", f"{sum(sizes) / 1e6:,.1f} MB")] if sizes else [])


if __name__ == "__main__":
    main()
