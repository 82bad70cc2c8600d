"""How do the two ways learn?  One picture of what benchmarks.learning has written: loss by tokens, and by minutes.

python -m benchmarks.learning_curves OURS.jsonl PLAIN.jsonl [...] --out FILE.svg
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from matplotlib import pyplot
from matplotlib.ticker import EngFormatter

from engine.publish.curves import INK
from engine.run.options import read_options
from engine.run.runtime import program

COLOURS = {"ours": "#2f80d8", "plain": "#c06a3a"}
SIDES = {"tokens": "tokens", "cpu_minutes": "CPU minutes, one core"}


@dataclass(frozen=True)
class Options:
    """Draw what benchmarks.learning has written."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    out: Path  # the picture: .svg or .png


@program
def main(argv: list[str]) -> None:
    asked = read_options(Options, argv, "python -m benchmarks.learning_curves")
    if not asked.files:
        raise ValueError("name the files that benchmarks.learning has written, such as runs/learning/bert-ours.jsonl")
    draw(
        [[json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in asked.files],
        asked.out,
    )


def draw(runs: list[list[dict[str, Any]]], out: Path) -> None:
    """A row of panels for each family of models, both ways in each."""
    families = list(dict.fromkeys(run[0]["family"] for run in runs))
    style: dict[Any, Any] = {
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), INK),
        "svg.hashsalt": "cloze",
    }
    with pyplot.rc_context(style):
        figure, axes = pyplot.subplots(len(families), 2, figsize=(9, 3.2 * len(families)), squeeze=False, sharey="row")
        for row, family in zip(axes, families, strict=True):
            for axis, (side, label) in zip(row, SIDES.items(), strict=True):
                for way, points in ((run[0]["way"], run[1:]) for run in runs if run[0]["family"] == family):
                    seen = [point for point in points if "held_out_loss" in point and point["tokens"]]
                    axis.plot([point[side] for point in seen], [point["held_out_loss"] for point in seen], marker=".",
                              color=COLOURS[way], label=way)  # fmt: skip
                axis.set_title(f"{family}, held-out loss, nats")
                axis.set_xlabel(label)
                axis.xaxis.set_major_formatter(EngFormatter(sep=""))
                axis.spines[["top", "right"]].set_visible(False)
                axis.legend(frameon=False)
        figure.tight_layout()
        figure.savefig(out, transparent=True, metadata={"Date": None} if out.suffix == ".svg" else None)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
