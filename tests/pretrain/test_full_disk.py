"""Does a full disk cost more than the wait for room?  A state, a model, a store that does not fit."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SIZES = {"hidden_size": 320, "intermediate_size": 1280, "num_attention_heads": 4}  # 10 MB of weights, a state is 30
PLAN = {"max_steps": 5, "global_batch_size": 4, "per_device_train_batch_size": 4, "eval_steps": 5}
FULL = re.compile(r"error: (\S+) cannot be written: it needs (more|[\d,]+) bytes, and ([\d,]+) are free")


def on_a_full_disk(folder: Path, size: str) -> tuple[str, list[str], str]:
    """Run `recipe.yaml` in a file system of `size`, and again with more room.

    Return what could not be written, the files that were there then, and what the second launch said.
    """
    (folder / "runs").mkdir()
    script = f"""
mount -t tmpfs -o size={size} none runs || exit 99
{sys.executable} -m pretrain.run recipe.yaml > first.txt 2>&1; echo "status $?"
find runs -mindepth 1 > left.txt
mount -o remount,size=200m runs
{sys.executable} -m pretrain.run recipe.yaml > second.txt 2>&1; echo "status $?"
test -f runs/small/finished.json && echo finished
"""
    ended = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    if ended.returncode == 99 or "unshare" in ended.stderr:
        pytest.skip(f"no file system can be mounted here: {ended.stderr.strip()}")
    first, left, second = ((folder / f"{name}.txt").read_text() for name in ("first", "left", "second"))
    assert ended.stdout.split() == ["status", "2", "status", "0", "finished"], first + second
    (complaint,) = [line for line in first.splitlines() if line.startswith("error: ")]
    found = FULL.match(complaint)
    assert found, complaint
    needed, free = (int(re.sub(r"\D", "", number) or -1) for number in found.groups()[1:])
    assert needed > free >= 0 or found[2] == "more"
    assert not re.search(r"\.(writing|old)\b", left)  # no half is left
    return found[1], left.split(), second


@pytest.fixture
def written(tmp_path, write_recipe):
    def write(**changes: Any) -> Path:
        return write_recipe(tmp_path / "run", **changes).parent

    return write


@pytest.mark.slow
def test_the_old_state_is_kept_and_once_there_is_room_it_resumes(written):
    what, left, then = on_a_full_disk(written(model=SIZES, plan={**PLAN, "save_steps": 2}), "50m")
    assert what == "runs/small/state/step-4"
    assert [name for name in left if "/state/step-" in name and name.count("/") == 3] == ["runs/small/state/step-2"]
    assert "resuming from step 2" in then


@pytest.mark.slow
def test_a_model_that_does_not_fit_is_written_once_there_is_room(written):
    what, left, then = on_a_full_disk(written(model=SIZES, plan={**PLAN, "save_steps": 4}), "40m")
    assert what == "runs/small/model"
    assert "runs/small/state/step-4" in left
    assert "resuming from step 4" in then


@pytest.mark.slow
def test_a_store_that_does_not_fit_is_written_once_there_is_room(written):
    what, _, _ = on_a_full_disk(written(plan=PLAN), "40k")
    assert what.startswith("runs/stores/")
