"""Does fine-tuning reach the same end, killed at any moment?"""

import json
from pathlib import Path

import pytest

from engine.train.window import PACE
from tests.kills import left_in, survive

SAME = ("*.safetensors", "model/*.json", "glue-rte-*.jsonl", "data_report.md")
CLOCKED = {"seconds", "minutes", "peak_rss_mb", "peak_is_own", "commit", "worker"}


def look(folder: Path) -> dict[str, bytes]:
    """All that the jobs leave, but for what the clock said."""
    found = left_in(folder / "runs", SAME)
    for path in (folder / "runs").rglob("*etrics.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        kept = [{name: value for name, value in line.items() if not name.endswith(PACE)} for line in lines]
        found[str(path.relative_to(folder / "runs"))] = json.dumps(kept).encode()
    for line in (folder / "runs/small/results.jsonl").read_text().splitlines():
        told = json.loads(line)
        found[f"seed {told['seed']}"] = json.dumps([told["metrics"], told["headline"]]).encode()
    return found


@pytest.mark.slow
def test_killed_at_any_moment_it_reaches_the_same_end(tmp_path, launch, write_finetune_recipe):
    def new(name: str) -> Path:
        (tmp_path / name).mkdir()
        plan = {"num_train_epochs": 2, "save_steps": 3, "logging_steps": 1}
        return write_finetune_recipe(tmp_path / name, plan=plan, seeds=[0, 1]).parent

    survive(launch, new, 10, look)
