"""Did a run leave its model and finite losses?  For the tests of the recipes, on text and on images."""

import json
import math
from pathlib import Path


def check_trained(run: Path) -> None:
    """The run has its model, and logged two losses, both finite."""
    assert (run / "model" / "model.safetensors").exists()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines if "loss" in json.loads(line)]
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
