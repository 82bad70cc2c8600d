"""How is a run of probes shown?  One page: the scores, each probe with its curve by layer, and what it tells in words.

It is made anew from the folders of the finished jobs. What a probe tells is in its job's page.md, with its pictures
beside it; the page has all of them in it and needs nothing beside itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from engine.publish.curves import INK, PALETTE, as_svg, ink_style, save
from engine.publish.page import template
from engine.report import markdown

Line = dict[str, Any]  # of results.jsonl, or of a job without a score


@dataclass(frozen=True)
class Finished:
    """A job that is done."""

    folder: Path
    line: Line

    @property
    def is_untrained(self) -> bool:
        return bool(self.line["init"] == "random")

    @property
    def told(self) -> Markup | None:
        """What the probe tells in words and pictures."""
        path = self.folder / "page.md"
        return markdown(path.read_text(encoding="utf-8"), self.folder) if path.is_file() else None


@dataclass(frozen=True)
class Cell:
    """A score, and what must be known beside it."""

    value: str
    notes: Sequence[str] = ()


def make_page(name: str, jobs: Sequence[Finished]) -> str:
    """One page of the finished jobs of a run."""
    tasks: dict[str, list[Finished]] = {}
    for job in jobs:
        tasks.setdefault(job.line["task"], []).append(job)
    scored = {task: found for task, found in tasks.items() if found[0].line["headline"]["name"]}
    systems = list_systems([job for found in scored.values() for job in found])
    headlines = {task: found[0].line["headline"]["name"] for task, found in scored.items()}
    summary = [
        [Cell(task, [headlines[task]]), *cells_of(found, headlines[task], systems)] for task, found in scored.items()
    ]
    sections = [make_section(task, found) for task, found in tasks.items()]
    page = template(Path(__file__).with_suffix(".html"))
    return page.render(name=name, systems=systems, summary=summary, sections=sections)


def make_section(task: str, jobs: Sequence[Finished]) -> dict[str, Any]:
    """All that is told of one probe."""
    systems, first = list_systems(jobs), jobs[0].line
    names = dict.fromkeys(name for job in jobs for scores in job.line["metrics"].values() for name in scores)
    rows = [[Cell(name, ["a shortcut"] * (name in first["shortcuts"])), *cells_of(jobs, name, systems)]
            for name in names if not name.endswith("coverage")]  # fmt: skip
    sizes = ", ".join(
        f"{size:,} questions" if split == "all" else f"{size:,} examples in {split}"
        for split, size in first["sizes"].items()
    )
    told = [(name_job(job), told, not rows and not job.is_untrained) for job in jobs
            if not (job.is_untrained and job.line["seed"] != first["seed"]) and (told := job.told)]  # fmt: skip
    data = first["data"].replace("`", "")  # this line of the page is not Markdown
    return {
        "title": task, "facts": "; ".join(filter(None, (data, sizes))), "systems": systems, "rows": rows,
        "curve": Markup(draw_layers(jobs)) if any(job.line["layers"] for job in jobs) else "", "told": told,
    }  # fmt: skip


def list_systems(jobs: Sequence[Finished]) -> list[str]:
    return list(dict.fromkeys(job.line["label"] for job in jobs))


def name_job(job: Finished) -> str:
    return f"{job.line['label']}, untrained, seed {job.line['seed']}" if job.is_untrained else str(job.line["label"])


def cells_of(jobs: Sequence[Finished], name: str, systems: Sequence[str]) -> list[Cell]:
    """What a guess reaches, and the score of each system, the mean over the seeds; beside it the range, the coverage,
    and what the same network reaches untrained. Shortcuts do not ask the model."""
    blind = [scores[name] for job in jobs for scores in job.line["majority"].values() if name in scores]
    cells = [Cell(f"{blind[0]:.3f}" if blind else "–")]
    for system in systems:
        own, fresh = (
            [scores for job in of_init(jobs, system, is_untrained) for scores in job.line["metrics"].values()
             if name in scores] for is_untrained in (False, True)
        )  # fmt: skip
        values, notes = [scores[name] for scores in own], []
        if values and name not in jobs[0].line["shortcuts"]:
            coverage = own[0].get(f"{name}_coverage", own[0].get("coverage"))
            notes += [tell_range(values)] if len(values) > 1 else []
            notes += [f"coverage {100 * coverage:.3g} %"] if coverage is not None else []
            again = [scores[name] for scores in fresh]
            notes += [f"untrained {fmean(again):.3f}" + f" ({tell_range(again)})" * (len(again) > 1)] if again else []
        cells.append(Cell(f"{fmean(values):.3f}", notes) if values else Cell("–"))
    return cells


def of_init(jobs: Sequence[Finished], system: str, is_untrained: bool) -> list[Finished]:
    """The jobs of a model, or of the same network untrained, a seed each."""
    return [job for job in jobs if job.line["label"] == system and job.is_untrained == is_untrained]


def tell_range(values: Sequence[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}, {len(values)} seeds"


def draw_layers(jobs: Sequence[Finished]) -> str:
    """An SVG of each score by layer, the mean of the seeds within their range; of untrained networks too; shortcuts."""
    first = jobs[0].line
    curves = list(dict.fromkeys((job.line["label"], name) for job in jobs for name in job.line["layers"]))
    names = {name for _, name in curves}
    with rc_context(ink_style()):
        figure = Figure((5.6, 3.2 + 0.2 * (len(curves) + len(first["shortcuts"]))), layout="constrained")
        axis = figure.subplots()
        for number, (system, name) in enumerate(curves):
            colour = PALETTE[number % len(PALETTE)]
            label = f"{system}, {name}" if len(names) > 1 else system
            own, fresh = ([job.line["layers"][name] for job in of_init(jobs, system, is_untrained)]
                          for is_untrained in (False, True))  # fmt: skip
            draw_seeds(axis, own, color=colour, linewidth=1.4, marker="o", markersize=3, label=label)
            draw_seeds(axis, fresh, color=colour, linewidth=1, linestyle="--")
        for style, name in zip((":", "-."), first["shortcuts"], strict=False):
            values = {scores[name] for job in jobs for scores in job.line["metrics"].values()}
            if len(values) == 1:  # the same beside every model
                label = f"{name.replace('_', ' ')}, a shortcut"
                axis.axhline(values.pop(), linestyle=style, linewidth=1, color=INK, label=label)
        if any(job.is_untrained for job in jobs):
            axis.plot([], [], linestyle="--", linewidth=1, color=INK, label="the same untrained: mean and range")
        axis.set_xlabel("layer (0: embeddings)")
        axis.set_ylabel(first["headline"]["name"])
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.spines[["top", "right"]].set_visible(False)
        figure.legend(frameon=False, loc="outside lower left", fontsize=9)
        return as_svg(save(figure, "svg"))


def draw_seeds(axis: Axes, seeds: Sequence[Sequence[float]], **style: Any) -> None:
    """The mean over the seeds at each layer, and their range."""
    if seeds:
        by_layer = list(zip(*seeds, strict=True))
        axis.plot([fmean(values) for values in by_layer], **style)
        lowest, highest = [min(values) for values in by_layer], [max(values) for values in by_layer]
        axis.fill_between(range(len(by_layer)), lowest, highest, alpha=0.15, color=style["color"], linewidth=0)
