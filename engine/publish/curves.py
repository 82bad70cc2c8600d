"""How did it go?  A run's curves as one picture, from its metrics.jsonl."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from engine.run.tracking import read_lines

Points = list[tuple[float, float]]
Panels = Sequence[tuple[str, dict[str, str]]]  # (title, {label: metric's name}) each
INK = "#808790"  # to be read on white and on black
COLOURS = {"baseline_": "#c06a3a", "eval_": "#2f80d8"}  # by how a metric's name begins
PALETTE = ("#3b82f6", "#e07b39", "#2a9d8f", "#b357c9", "#c9a227", "#d1495b", "#6b8e23", "#8d99ae")  # systems, groups
MOST_VALUES = 500  # of a curve that can be asked for: more than there are places on the screen
SHARES = ("accuracy", "mfu", "padding_rate", "wait")  # how the names of what is shown in percent end


def read_metrics(path: Path) -> dict[str, Points]:
    """(step, value) of every line of metrics.jsonl, by what is measured."""
    found: dict[str, Points] = {}
    for line in read_lines(path):
        for name, value in line.items():
            found.setdefault(name, []).append((line["step"], value))
    return found


def curves(metrics: Path, panels: Panels) -> str:
    """Draw panels side by side and return an SVG without background, for a light page and a dark one."""
    return as_svg(draw(read_metrics(metrics), panels, "svg"))


def as_svg(drawn: bytes) -> str:
    """An SVG that may stand in a page."""
    text = drawn.decode()
    return text[text.index("<svg") :]


def picture(metrics: Path, panels: Panels, kind: Literal["svg", "png"], ink: str = INK) -> bytes:
    """Draw panels of metrics.jsonl side by side; the same bytes for the same metrics."""
    return draw(read_metrics(metrics), panels, kind, ink)


def draw(points: Mapping[str, Points], panels: Panels, kind: Literal["svg", "png"], ink: str = INK) -> bytes:
    """Draw panels side by side.

    A panel is a title and {label: metric's name}; one without points is left out. A metric whose name begins with
    `baseline_` is a dashed line.
    """
    panels = [panel for panel in panels if any(name in points for name in panel[1].values())]
    with rc_context(ink_style(ink)):
        return save(plot(points, panels), kind)


def draw_with_values(points: Mapping[str, Points], title: str, series: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """One panel as SVG, and what engine/publish/hover.js needs to tell its values: where the axes lie in it, as shares
    of its width and height, their limits, and the points of each curve, every nth of a long one."""
    with rc_context(ink_style()):
        figure = plot(points, [(title, series)])
        drawn = as_svg(save(figure, "svg"))
    (axis,) = figure.axes
    box = axis.get_position()
    return drawn, {
        "box": [round(share, 4) for share in (box.x0, 1 - box.y1, box.x1, 1 - box.y0)],
        "x": axis.get_xlim(),
        "y": axis.get_ylim(),
        "percent": all(name.endswith(SHARES) for name in series.values()),
        "series": [
            {"label": label, "color": colour_of(name), "points": thin(points[name], name)}
            for label, name in series.items()
        ],
    }


def thin(points: Points, name: str) -> list[tuple[float, float]]:
    """At most MOST_VALUES points, the last among them, with five figures each; of a baseline the last one alone."""
    every = len(points) if name.startswith("baseline_") else math.ceil(len(points) / MOST_VALUES)
    return [(step, float(f"{value:.5g}")) for step, value in reversed(points[::-1][::every])]


def plot(points: Mapping[str, Points], panels: Panels) -> Figure:
    """Panels side by side, with fixed margins: to measure every label, as tight_layout does, is slower than to draw."""
    figure = Figure((5.2 * len(panels), 3.4))
    axes = figure.subplots(1, len(panels), squeeze=False)
    figure.subplots_adjust(0.7 / figure.get_figwidth(), 0.16, 1 - 0.1 / figure.get_figwidth(), 0.9, wspace=0.2)
    for axis, (title, series) in zip(axes[0], panels, strict=True):
        axis.set_title(title)
        axis.set_xlabel("step")
        for label, name in series.items():
            _draw(axis, label, points.get(name, []), name)
        if all(name.endswith(SHARES) for name in series.values()):
            axis.yaxis.set_major_formatter(PercentFormatter(1))
        if axis.has_data() and any(series):
            axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def ink_style(ink: str = INK) -> dict[Any, Any]:
    """Matplotlib's settings for a drawing in one ink on a transparent ground, the same bytes for the same drawing. A
    dollar sign in a name is one, and begins no formula."""
    inked = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
    plain = {"svg.fonttype": "none", "svg.hashsalt": "curves", "font.size": 10, "text.parse_math": False}
    return {**dict.fromkeys(inked, ink), **plain}


def save(figure: Figure, kind: Literal["svg", "png"], **settings: Any) -> bytes:
    """Write a figure down."""
    drawn = io.BytesIO()
    undated = {"Date": None} if kind == "svg" else {"Software": None}
    figure.savefig(drawn, format=kind, transparent=True, metadata=undated, dpi=150, **settings)
    return drawn.getvalue()


def _draw(axis: Axes, label: str, points: Points, name: str) -> None:
    if not points:
        return
    steps, values = zip(*points, strict=True)
    colour = colour_of(name)
    if name.startswith("baseline_"):
        axis.axhline(values[-1], linestyle="--", linewidth=1, color=colour, label=label)
    elif name.startswith("eval_"):
        axis.plot(steps, values, marker="o", markersize=3, label=label, color=colour)
    else:
        axis.plot(steps, values, linewidth=1.2, alpha=0.85, label=label, color=colour)


def colour_of(name: str) -> str:
    """That of a metric's curve, by what it is."""
    return next((colour for start, colour in COLOURS.items() if name.startswith(start)), "#2a9d8f")
