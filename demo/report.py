"""What came of the demo?  One page that stands alone: curves, table, masked examples with the model's guesses."""

from pathlib import Path
from typing import Any

from demo.guesses import guess
from engine.publish.curves import read_metrics
from engine.publish.page import template
from engine.report import drawn
from engine.run.recipe import load
from engine.run.runtime import hardware
from engine.run.tracking import read_lines
from pretrain.recipe import PretrainRecipe


def write_report(folder: Path, recipe: Path, results: dict[str, Any], steps: dict[str, Any]) -> Path:
    """Write `report.html` into the demo's folder and return its path. `recipe` is the pretraining run's."""
    metrics = folder / "pretrain" / "metrics.jsonl"
    points = read_metrics(metrics)
    page = template(Path(__file__).with_suffix(".html")).render(
        results=results,
        steps=steps,
        hardware=hardware(),
        curves=[drawn(title, series, points) for title, series in load(PretrainRecipe, recipe).objective.panels],
        last=last_evaluation(metrics),
        examples=guess(recipe, folder / "pretrain" / "model", examples=8),
        percent=lambda share: f"{share:.1%}",
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def last_evaluation(metrics: Path) -> dict[str, float]:
    """The last line of metrics.jsonl that holds an evaluation."""
    return [line for line in read_lines(metrics) if "eval_masked_lm_loss" in line][-1]
