"""How did it go?  A run's curves as one picture, from its metrics.jsonl."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes

Points = list[tuple[float, float]]
Panels = Sequence[tuple[str, dict[str, str]]]  # (title, {label: metric's name}) each


def read_metrics(path: Path, name: str) -> Points:
    """(step, value) of every line of metrics.jsonl that has `name`."""
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [(line["step"], line[name]) for line in lines if name in line]


def curves(metrics: Path, panels: Panels) -> str:
    """Draw panels side by side and return an SVG without background, for a light page and a dark one."""
    drawn = picture(metrics, panels, "svg").decode()
    return drawn[drawn.index("<svg") :]


def picture(metrics: Path, panels: Panels, kind: Literal["svg", "png"], ink: str = "#808790") -> bytes:
    """Draw panels side by side; the same bytes for the same metrics.

    A panel is a title and {label: metric's name}; one without points is left out. A metric whose name begins with
    `baseline_` is a dashed line.
    """
    panels = [panel for panel in panels if any(read_metrics(metrics, name) for name in panel[1].values())]
    inked = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
    style: dict[Any, Any] = {
        **dict.fromkeys(inked, ink),
        "svg.fonttype": "none",
        "svg.hashsalt": "curves",
        "font.size": 10,
    }
    with pyplot.rc_context(style):
        figure, axes = pyplot.subplots(1, len(panels), figsize=(5.2 * len(panels), 3.4), squeeze=False)
        for axis, (title, series) in zip(axes[0], panels, strict=True):
            axis.set_title(title)
            axis.set_xlabel("step")
            for label, name in series.items():
                _draw(axis, label, read_metrics(metrics, name), name)
            if axis.has_data():
                axis.legend(frameon=False)
            axis.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        drawn = io.BytesIO()
        undated = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(drawn, format=kind, transparent=True, metadata=undated, dpi=150)
        pyplot.close(figure)
    return drawn.getvalue()


def _draw(axis: Axes, label: str, points: Points, name: str) -> None:
    if not points:
        return
    steps, values = zip(*points, strict=True)
    if name.startswith("baseline_"):
        axis.axhline(values[-1], linestyle="--", linewidth=1, color="#c06a3a", label=label)
    elif name.startswith("eval_"):
        axis.plot(steps, values, marker="o", markersize=3, label=label, color="#1b6fc1")
    else:
        axis.plot(steps, values, linewidth=0.8, alpha=0.6, label=label, color="#63a7a0")
