"""How is edge probing shown?  The paper's figure of two bars a task, the gains by layer, and the tables behind them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from engine.publish.curves import INK, as_svg, ink_style, save
from engine.publish.page import template
from probe.edges.examples import TASKS
from probe.edges.summary import Summary, summarize

EXPECTED, CENTRE, RANDOM = "#2f80d8", "#8a5cc2", INK
Jobs = Sequence[tuple[dict[str, Any], dict[str, Any]]]
HEAD = ("task", "F1, layer 0", "F1, all layers", "random encoder", "control", "selectivity", "blind", "by words",
        "centre of gravity", "expected layer", "total gain")  # fmt: skip


def tell(task: str, found: Summary, details: dict[str, Any]) -> str:
    """What one job came to, in Markdown."""
    lines = [
        f"# {task}, one seed", "",
        f"- F1 of layer 0 alone {percent(found.scores[0])}, of all layers {percent(found.scores[-1])}; blind guess "
        f"{percent(details['blind'])}, by the words alone {percent(details['by_words'])}",
        f"- control task {percent(found.control)}, selectivity {points(found.scores[-1] - found.control)}",
        f"- gains of the layers 1 to {len(found.gains)}: {', '.join(map(points, found.gains))}",
        f"- centre of gravity {found.centre:.2f}, by the shares {', '.join(f'{one:.3f}' for one in details['shares'])}",
        f"- expected layer {expected_words(found)}", *(f"- {note}" for note in notes_of([details])),
        f"- {details['steps']} steps of training",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def make_page(jobs: Jobs) -> str:
    """One page that needs nothing beside it, on finished jobs in the order in which they ended."""
    groups = group(jobs)
    models = []
    for label in dict.fromkeys(label for _, label, _ in groups):
        tasks = sorted({task for task, of, _ in groups if of == label}, key=place_of)
        pairs = {task: (groups.get((task, label, "pretrained")), groups.get((task, label, "random"))) for task in tasks}
        found = {task: tuple(part and summary_of(part) for part in pair) for task, pair in pairs.items()}
        every = [details for pair in pairs.values() for part in pair if part for _, details in part]
        models.append({
            "label": label, "figure": Markup(draw_bars(found)), "gains": Markup(draw_gains(found)),
            "rows": [row_of(task, *found[task], pairs[task]) for task in tasks],
            "deltas": [[short(task), *map(points, one.gains)] for task, (one, _) in found.items() if one],
            "layers": max(len(one.gains) for pair in found.values() for one in pair if one),
            "notes": [*falling(found), *notes_of(every), *setting_of(pairs)],
        })  # fmt: skip
    return template(Path(__file__).with_suffix(".html")).render(models=models, head=HEAD)


def group(jobs: Jobs) -> dict[tuple[str, str, str], Jobs]:
    """The jobs by task, model and kind of weights, each seed once; of several settings those of the job that ended last."""
    found: dict[tuple[str, str, str], dict[int, tuple[dict[str, Any], dict[str, Any]]]] = {}
    for line, details in jobs:
        seeds = found.setdefault((line["task"], line["label"], line["init"]), {})
        if any(other["hyperparameters"] != line["hyperparameters"] for other, _ in seeds.values()):
            seeds.clear()
        seeds[line["seed"]] = line, details
    return {key: list(seeds.values()) for key, seeds in found.items()}


def summary_of(jobs: Jobs) -> Summary:
    return summarize(
        [np.array(details["counts"]) for _, details in jobs],
        [details["centre_of_gravity"] for _, details in jobs],
        [details["control"] for _, details in jobs],
    )


def place_of(task: str) -> tuple[str, int]:
    """Tasks of one treebank together, in the paper's order."""
    name, _, treebank = short(task).partition("-")
    return treebank, list(TASKS).index(name)


def short(task: str) -> str:
    return task.partition("/")[2]


def row_of(task: str, trained: Summary | None, random: Summary | None, jobs: Sequence[Jobs | None]) -> list[str]:
    found = trained or random
    assert found is not None
    details = next(part for part in jobs if part)[0][1]
    cells = [
        percent(trained.scores[0]), spread(trained), spread(random) if random else "–", percent(trained.control),
        points(trained.scores[-1] - trained.control),
    ] if trained else ["–", "–", spread(found), "–", "–"]  # fmt: skip
    centre = f"{found.centre:.2f} ({found.centre_range[0]:.2f} to {found.centre_range[1]:.2f})"
    gain = f"{points(found.total_gain)} ({points(found.gain_range[0])} to {points(found.gain_range[1])})"
    told = [centre, expected_words(found), gain] if trained else ["–", "–", "–"]
    return [short(task), *cells, percent(details["blind"]), percent(details["by_words"]), *told]


def expected_words(found: Summary) -> str:
    if found.expected is None or found.expected_range is None:
        return "undefined: the total gain is within its noise"
    return f"{found.expected:.2f} ({found.expected_range[0]:.2f} to {found.expected_range[1]:.2f})"


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def spread(found: Summary) -> str:
    mean = percent(found.scores[-1])
    return mean if found.seeds == 1 else f"{mean} ({percent(found.f1_range[0])} to {percent(found.f1_range[1])})"


def falling(found: dict[str, tuple[Summary | None, Summary | None]]) -> list[str]:
    tasks = [short(task) for task, (one, _) in found.items() if one and one.falls and one.expected is not None]
    return [f"some layers take away from the score of {', '.join(tasks)}: where that is more than noise, the expected layer "
            "is no mean of layers"] if tasks else []  # fmt: skip


def notes_of(every: Sequence[dict[str, Any]]) -> list[str]:
    """What was left out."""
    notes = []
    if lost := max(sum(details["lost"]) for details in every):
        judged = max(details["lost"][2] for details in every)
        notes.append(f"up to {lost:,} examples of a task lie where the model reads no more, {judged:,} of them among those "
                     "that are judged, where they count as missed")  # fmt: skip
    for number, what in enumerate(("trained on", "judged on")):
        if drawn := sorted({details["drawn_from"][number] for details in every} - {0}):
            notes.append(f"{what} a part of the sentences, drawn from {' and '.join(f'{one:,}' for one in drawn)}")
    return notes


def setting_of(pairs: dict[str, tuple[Jobs | None, Jobs | None]]) -> list[str]:
    lines = [line for pair in pairs.values() for part in pair if part for line, _ in part]
    seeds = sorted({line["seed"] for line in lines})
    steps = sorted({line["hyperparameters"]["max_steps"] for line in lines})
    sentences = sorted({line["hyperparameters"]["max_sentences"] for line in lines})
    commits = sorted({line["commit"] for line in lines})
    return [f"seeds {', '.join(map(str, seeds))}; max_steps {', '.join(map(str, steps))}; max_sentences "
            f"{', '.join(map(str, sentences))} (0: all); commit {', '.join(commits)}"]  # fmt: skip


def draw_bars(found: dict[str, tuple[Summary | None, Summary | None]]) -> str:
    """An SVG: for each task the expected layer and the centre of gravity, of the model and of the random encoder."""
    layers = max(len(one.gains) for pair in found.values() for one in pair if one)
    with rc_context(ink_style()):
        figure = Figure((6.4, 0.9 + 0.95 * len(found)))
        axis = figure.subplots()
        figure.subplots_adjust(0.24, 0.5 / figure.get_figheight(), 0.97, 1 - 0.35 / figure.get_figheight())
        for number, pair in enumerate(found.values()):
            for which, one in enumerate(pair):
                if one:
                    draw_pair(axis, number, which, one)
        axis.set_yticks(range(len(found)), [short(task).replace("-", "\n", 1) for task in found])
        axis.tick_params("y", length=0)
        axis.set(xlim=(0, layers), ylim=(len(found) - 0.45, -0.55), xlabel="layer")
        axis.set_xticks(range(layers + 1))
        axis.spines[["top", "right"]].set_visible(False)
        for label, colour, alpha in (("expected layer", EXPECTED, 1), ("centre of gravity", CENTRE, 1),
                                     ("random encoder", RANDOM, 0.55)):  # fmt: skip
            axis.barh(0, 0, color=colour, alpha=alpha, label=label)
        axis.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.4, 1), borderaxespad=0.1)
        return as_svg(save(figure, "svg"))


def draw_pair(axis: Any, number: int, which: int, one: Summary) -> None:
    """Both bars of a task, of the model (`which` 0) or of the random encoder (1), with their ranges."""
    height = 0.28 if which == 0 else 0.13
    begin = number - 0.44 if which == 0 else number + 0.14
    bars = ((one.expected, one.expected_range, EXPECTED), (one.centre, one.centre_range, CENTRE))
    for turn, (value, limits, colour) in enumerate(bars):
        middle = begin + (turn + 0.5) * height
        if value is None or limits is None:
            axis.text(
                0.05, middle, "expected layer undefined: no gain beyond noise", va="center", fontsize=7, color=INK
            )
            continue
        errors = [[max(0.0, value - limits[0])], [max(0.0, limits[1] - value)]]
        style = {"color": colour, "alpha": 1.0} if which == 0 else {"color": RANDOM, "alpha": 0.7 - 0.3 * turn}
        axis.barh(middle, value, height * 0.9, xerr=errors, ecolor=INK, capsize=2 if which == 0 else 1, **style)


def draw_gains(found: dict[str, tuple[Summary | None, Summary | None]]) -> str:
    """An SVG: for each task the gain of each layer, in points of F1."""
    columns = min(3, len(found))
    lines = -(-len(found) // columns)
    with rc_context(ink_style()):
        figure = Figure((6.4, 1.9 * lines + 0.3))
        axes = figure.subplots(lines, columns, squeeze=False).flatten()
        figure.subplots_adjust(0.09, 0.2 / lines, 0.98, 1 - 0.16 / lines, 0.3, 0.5)
        for axis, (task, pair) in zip(axes, found.items(), strict=False):
            for which, one in enumerate(pair):
                if one:
                    places = np.arange(1, len(one.gains) + 1) + (0.38 if which else 0) - 0.1
                    axis.bar(places, [100 * gain for gain in one.gains], 0.5 if which == 0 else 0.24,
                             color=RANDOM if which else EXPECTED, alpha=0.55 if which else 1)  # fmt: skip
            axis.axhline(0, color=INK, linewidth=0.8)
            axis.set_title(short(task), fontsize=9)
            axis.set_xticks(range(1, 1 + max(len(one.gains) for one in pair if one)))
            axis.spines[["top", "right"]].set_visible(False)
        for axis in axes[len(found) :]:
            axis.set_visible(False)
        return as_svg(save(figure, "svg"))
