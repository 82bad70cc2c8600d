"""Does pretraining reach the same end, killed at any moment, and with any part of a state damaged?"""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from engine.train.window import PACE
from tests.kills import left_in, survive

PLAN = {
    "max_steps": 12,
    "global_batch_size": 16,
    "per_device_train_batch_size": 16,
    "logging_steps": 1,
    "eval_steps": 6,
    "save_steps": 2,
}
STREAM = {"mode": "stream", "chapter_tokens": 700}
SAME = ("*.safetensors", "*.json", "*.bin", "data_report.md")  # whatever the clock says, but for finished.json


def look(folder: Path) -> dict[str, bytes]:
    """All that a run leaves, but for what the clock said."""
    found = left_in(folder / "runs", SAME)
    run = folder / "runs/small"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [{name: value for name, value in line.items() if not name.endswith(PACE)} for line in lines]
    steps = json.loads((run / "finished.json").read_text())["steps"]
    return {**found, "small/metrics.jsonl": json.dumps(kept).encode(), "small/finished.json": str(steps).encode()}


@pytest.mark.slow
@pytest.mark.parametrize("text", [{}, STREAM], ids=["store", "stream"])
def test_killed_at_any_moment_it_reaches_the_same_end(tmp_path, launch, write_recipe, text):
    def new(name: str) -> Path:
        return write_recipe(tmp_path / name, corpus=text, plan=PLAN).parent

    survive(launch, new, 12, look)


@pytest.mark.slow
def test_killed_while_the_store_is_written_it_reaches_the_same_end(tmp_path, launch, write_recipe):
    """Of so few steps, preparing the store is the longer part."""

    def new(name: str) -> Path:
        return write_recipe(tmp_path / name, plan={"max_steps": 1, "logging_steps": 1, "eval_steps": 1}).parent

    survive(launch, new, 6, look)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[Random(path.name).randrange(len(content))] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "removed": Path.unlink,
    "emptied": lambda path: os.truncate(path, 0),
}


@pytest.mark.slow
def test_whatever_part_of_the_newest_state_is_damaged_it_reaches_the_same_end(tmp_path, launch, write_recipe):
    changes = {"optimizer": {"ema": 0.9}, "plan": PLAN}
    whole, stopped = (write_recipe(tmp_path / name, **changes).parent for name in ("whole", "stopped"))
    assert launch(whole, "recipe.yaml").status == 0
    states, signalled, tried = stopped / "runs/small/state", [], 0

    def stop(pid: int) -> None:
        if not signalled and len(list(states.glob("step-*"))) == 2:
            signalled.append(pid)
            os.kill(pid, signal.SIGTERM)

    assert launch(stopped, "recipe.yaml", watch=stop).status == 3
    newest = max(states.glob("step-*"), key=lambda state: int(state.name[5:]))
    parts = sorted(path.name for path in newest.iterdir())
    assert parts == [
        "average.safetensors", "manifest.json", "optimizer.safetensors", "position.json", "weights.safetensors"
    ]  # fmt: skip
    for part in parts:
        for name, damage in DAMAGES.items():
            folder = tmp_path / f"{part}-{name}"
            shutil.copytree(stopped, folder)
            damage(folder / newest.relative_to(stopped) / part)
            ended = launch(folder, "recipe.yaml")
            assert ended.status == 0, ended.said
            assert f"{newest.name} is damaged (" in ended.said, (part, name)
            assert look(folder) == look(whole), (part, name)
            tried += 1
    print(f"damaged {tried} parts of states, {tried} ends are the same")
