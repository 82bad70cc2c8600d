"""Does a run that is asked for a profile leave one that shows its own steps?"""

import gzip
import json
from collections import Counter

import pytest

from engine.train.profiling import PHASES


@pytest.mark.slow
def test_a_run_leaves_a_trace_of_its_steps(tmp_path, launch, write_recipe):
    write_recipe(tmp_path, plan={"max_steps": 12, "logging_steps": 20, "eval_steps": 0})
    ended = launch(tmp_path, "recipe.yaml", "--profile", "True")
    assert ended.status == 0, ended.said
    assert "open it in ui.perfetto.dev" in ended.said
    profile = tmp_path / "runs/small/profile"
    with gzip.open(profile / "trace.json.gz") as file:
        found = Counter(event["name"] for event in json.load(file)["traceEvents"] if event["name"] in PHASES)
    assert found == {"data": 3, "forward": 6, "backward": 6, "wait": 3, "optimizer": 3}  # two micro-batches a step
    assert "backward" in (profile / "operators.txt").read_text()


@pytest.mark.slow
def test_a_run_that_is_not_asked_leaves_none_and_a_profile_makes_no_other_run(tmp_path, launch, write_recipe):
    write_recipe(tmp_path, plan={"max_steps": 12})
    assert launch(tmp_path, "recipe.yaml").status == 0
    assert not (tmp_path / "runs/small/profile").exists()
    ended = launch(tmp_path, "recipe.yaml", "--profile", "True")
    assert (ended.status, "is finished" in ended.said) == (0, True)
