"""How is edge probing shown?  The paper's figure of two bars a task, the gains by layer, and the tables behind them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engine.publish.curves import INK, as_svg, ink_style, save
from engine.publish.page import template
from probe.edges.examples import TASKS
from probe.edges.summary import Summary, summarize
from probe.edges.treebank import DEV_SHARE, MOST

Job = tuple[dict[str, Any], dict[str, Any]]  # its results line, and its details

EXPECTED, CENTRE = "#2f80d8", "#8a5cc2"
SCORES = ("task", "F1, layer 0", "F1, all layers", "random encoder", "control", "selectivity", "blind", "by words")
LAYERS = ("task", "expected layer", "centre of gravity", "gain of all layers")


@dataclass(frozen=True)
class Shown:
    """A task of one model: what its seeds came to, and those of the network with random weights."""

    name: str
    jobs: list[Job]
    trained: Summary
    random: Summary | None

    @property
    def pair(self) -> list[Summary]:
        return [self.trained, *([self.random] if self.random else [])]


def make_page(jobs: Sequence[Job]) -> str:
    """One page that needs nothing beside it, on finished jobs in the order in which they ended."""
    models = []
    for label, shown in collect(jobs).items():
        deltas = [[one.name, *map(points, one.trained.gains)] for one in shown]
        models.append({
            "label": label, "bars": Markup(draw_bars(shown)), "gains": Markup(draw_gains(shown)),
            "scores": (SCORES, list(map(scores_of_task, shown))), "layers": (LAYERS, list(map(layers_of_task, shown))),
            "deltas": (("task", *range(1, max(map(len, deltas)))), deltas),
            "notes": [*notes_of([details for one in shown for _, details in one.jobs]), *settings_of(shown)],
        })  # fmt: skip
    return template(Path(__file__).with_suffix(".html")).render(models=models)


def collect(jobs: Sequence[Job]) -> dict[str, list[Shown]]:
    """Model -> its tasks, in the paper's order; each seed once, and of several settings those of the last job."""
    groups: dict[tuple[str, str, str], dict[int, Job]] = {}
    for line, details in jobs:
        seeds = groups.setdefault((line["label"], line["task"], line["init"]), {})
        if any(other["hyperparameters"] != line["hyperparameters"] for other, _ in seeds.values()):
            seeds.clear()
        seeds[line["seed"]] = line, details
    found: dict[str, list[Shown]] = {}
    for (label, task, init), seeds in groups.items():
        if init == "pretrained":
            trained, random = list(seeds.values()), list(groups.get((label, task, "random"), {}).values())
            name = task.partition("/")[2]
            summaries = summary_of(trained), summary_of(random) if random else None
            found.setdefault(label, []).append(Shown(name, trained + random, *summaries))
    return {label: sorted(shown, key=place_of) for label, shown in found.items()}


def summary_of(jobs: Sequence[Job]) -> Summary:
    every = [details for _, details in jobs]
    return summarize(
        [np.array(one["counts"]) for one in every],
        [one["centre_of_gravity"] for one in every],
        [one["control"] for one in every],
    )


def place_of(shown: Shown) -> tuple[str, int]:
    name, _, treebank = shown.name.partition("-")
    return treebank, list(TASKS).index(name)


# In words


def tell(task: str, found: Summary, details: dict[str, Any]) -> str:
    """What one job came to, in Markdown."""
    lines = [
        f"- F1 of layer 0 alone {percent(found.scores[0])}, of all layers {percent(found.scores[-1])}; of a blind "
        f"guess {percent(details['blind'])}, by the words alone {percent(details['by_words'])}",
        f"- control task {percent(found.control)}, selectivity {points(found.selectivity)}",
        f"- gains of the layers 1 to {len(found.gains)}: {', '.join(map(points, found.gains))}",
        f"- centre of gravity {found.centre:.2f}, by the shares {', '.join(f'{one:.3f}' for one in details['shares'])}",
        f"- expected layer {tell_expected(found)}",
        *(f"- {note}" for note in notes_of([details])),
        f"- {details['steps']:,} steps of training",
    ]
    return "\n".join([f"# {task}, one seed", "", *lines, ""])


def scores_of_task(shown: Shown) -> list[str]:
    found, details = shown.trained, shown.jobs[0][1]
    return [
        shown.name, percent(found.scores[0]), spread(found), spread(shown.random) if shown.random else "–",
        percent(found.control), points(found.selectivity), percent(details["blind"]), percent(details["by_words"]),
    ]  # fmt: skip


def layers_of_task(shown: Shown) -> list[str]:
    found = shown.trained
    centre = f"{found.centre:.2f} ({found.centre_range[0]:.2f} to {found.centre_range[1]:.2f})"
    low, high = map(points, found.gain_range)
    return [shown.name, tell_expected(found), centre, f"{points(found.total_gain)} ({low} to {high})"]


def tell_expected(found: Summary) -> str:
    if found.expected is None or found.expected_range is None:
        return "undefined"
    low, high = found.expected_range
    return f"{found.expected:.2f} ({low:.2f} to {high:.2f})" + " *" * found.falls


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def spread(found: Summary) -> str:
    mean = percent(found.scores[-1])
    return mean if found.seeds == 1 else f"{mean} ({percent(found.f1_range[0])} to {percent(found.f1_range[1])})"


def notes_of(every: Sequence[dict[str, Any]]) -> list[str]:
    """How the files were divided, and what was left out."""
    notes = list(dict.fromkeys(tell_division(details["division"]) for details in every if "division" in details))
    if lost := max(details["lost"][2] for details in every):
        notes.append(f"up to {lost:,} examples of a task lie where the model reads no more, and count as missed")
    for number, what in enumerate(("trained on", "judged by")):
        if drawn := sorted({details["drawn_from"][number] for details in every} - {0}):
            notes.append(f"{what} a part of the sentences, drawn from {' and '.join(f'{one:,}' for one in drawn)}")
    return notes


def tell_division(division: dict[str, list[str]]) -> str:
    """The files of each split, in words; of files together, that their documents were divided."""
    if together := division["together"]:
        return f"divided by documents, one in {DEV_SHARE} of which is judged: {tell_files(together)}"
    told = f"trained on {tell_files(division['train'])}, judged by {tell_files(division['dev'])}"
    return f"{told}; not read: {tell_files(division['unread'])}" if division["unread"] else told


def tell_files(names: Sequence[str]) -> str:
    """Few files by their names, and of many the first and how many more."""
    few = names if len(names) <= MOST else names[:1]
    more = len(names) - len(few)
    return ", ".join(few) + (f" and {more:,} other files" if more else "")


def settings_of(shown: Sequence[Shown]) -> list[str]:
    """The settings that all jobs agree on, and what their seeds, commit and machine were."""
    lines = [line for one in shown for line, _ in one.jobs]
    settings = [{**line["hyperparameters"], "commit": line["commit"]} for line in lines]
    agreed = [f"{key} {value}" for key, value in settings[0].items()
              if key != "name" and all(other[key] == value for other in settings)]  # fmt: skip
    seeds = ", ".join(map(str, sorted({line["seed"] for line in lines})))
    return [f"seeds {seeds}; {', '.join(agreed)}; {lines[0]['hardware']}"]


# As pictures


def draw_bars(shown: Sequence[Shown]) -> str:
    """An SVG: for each task the expected layer and the centre of gravity, of the model and of the random encoder."""
    layers = max(len(one.trained.gains) for one in shown)
    with rc_context(ink_style()):
        figure = Figure((6.4, 0.9 + 0.9 * len(shown)))
        height = figure.get_figheight()
        axis = figure.subplots()
        figure.subplots_adjust(0.22, 0.5 / height, 0.97, 1 - 0.35 / height)
        for number, one in enumerate(shown):
            draw_pair(axis, number - 0.44, 0.28, one.trained)
            if one.random:
                draw_pair(axis, number + 0.14, 0.13, one.random, is_random=True)
        axis.set_yticks(range(len(shown)), [one.name.replace("-", "\n", 1) for one in shown])
        axis.tick_params("y", length=0)
        axis.set(xlim=(0, layers + 0.1), ylim=(len(shown) - 0.45, -0.55), xlabel="layer", xticks=range(layers + 1))
        axis.spines[["top", "right"]].set_visible(False)
        for label, colour, alpha in (("expected layer", EXPECTED, 1.0), ("centre of gravity", CENTRE, 1.0),
                                     ("random encoder: the same", INK, 0.6)):  # fmt: skip
            axis.barh(0, 0, color=colour, alpha=alpha, label=label)
        axis.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.4, 1), borderaxespad=0.1)
        return as_svg(save(figure, "svg"))


def draw_pair(axis: Axes, begin: float, height: float, found: Summary, is_random: bool = False) -> None:
    """Both bars of a task, with their ranges, from `begin` downwards."""
    bars = (found.expected, found.expected_range, EXPECTED), (found.centre, found.centre_range, CENTRE)
    for turn, (value, limits, colour) in enumerate(bars):
        middle = begin + (turn + 0.5) * height
        if value is None or limits is None:
            size = 6 if is_random else 8
            axis.text(0.05, middle, "undefined: within noise", va="center", fontsize=size, color=INK)
            continue
        errors = [[max(0.0, value - limits[0])], [max(0.0, limits[1] - value)]]
        alpha = 0.7 - 0.3 * turn if is_random else 1.0
        axis.barh(middle, value, height * 0.9, xerr=errors, ecolor=INK, capsize=2, color=INK if is_random else colour,
                  alpha=alpha)  # fmt: skip


def draw_gains(shown: Sequence[Shown]) -> str:
    """An SVG: for each task the gain of each layer in points of F1, beside that of the random encoder."""
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    with rc_context(ink_style()):
        figure = Figure((6.4, 1.9 * lines + 0.3))
        axes = figure.subplots(lines, columns, squeeze=False).flatten()
        figure.subplots_adjust(0.09, 0.2 / lines, 0.98, 1 - 0.16 / lines, 0.3, 0.5)
        for axis, one in zip(axes, shown, strict=False):
            for turn, found in enumerate(one.pair):
                places = np.arange(1, len(found.gains) + 1) + (0.28 if turn else -0.1)
                axis.bar(places, 100 * np.array(found.gains), 0.24 if turn else 0.5, color=INK if turn else EXPECTED,
                         alpha=0.6 if turn else 1.0)  # fmt: skip
            axis.axhline(0, color=INK, linewidth=0.8)
            axis.set_title(one.name, fontsize=9)
            axis.set_xticks(range(1, len(one.trained.gains) + 1))
            axis.spines[["top", "right"]].set_visible(False)
        for axis in axes[len(shown) :]:
            axis.set_visible(False)
        return as_svg(save(figure, "svg"))
