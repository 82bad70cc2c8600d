"""What came of the demo?  One page that stands alone: curves, table, masked examples with the model's guesses."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from demo.guesses import guess
from engine.curves import curves
from engine.runtime import hardware
from pretrain.objectives.bert import Bert


def write_report(folder: Path, recipe: Path, results: dict[str, Any], steps: dict[str, Any]) -> Path:
    """Write `report.html` into the demo's folder and return its path. `recipe` is the pretraining run's."""
    metrics = folder / "pretrain" / "metrics.jsonl"
    template = Environment(autoescape=True).from_string(Path(__file__).with_name("report.html").read_text("utf-8"))
    page = template.render(
        results=results,
        steps=steps,
        hardware=hardware(),
        curves=Markup(curves(metrics, Bert.panels)),  # our own drawing
        last=last_evaluation(metrics),
        examples=guess(recipe, folder / "pretrain" / "model", examples=8),
        percent=lambda share: f"{share:.1%}",
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def last_evaluation(metrics: Path) -> dict[str, float]:
    """The last line of metrics.jsonl that holds an evaluation."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if "eval_masked_lm_loss" in line][-1]
