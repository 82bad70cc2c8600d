"""Does a finished run go on to a larger budget from its final state, and is what could not be meant refused?"""

import json
import os
import shlex
import shutil
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file

CONSTANT = {"schedule": {"lr_scheduler_type": "constant_with_warmup", "warmup_ratio": 0.0}}


def lines(folder: Path) -> list[dict]:
    """Those of metrics.jsonl, without what the clock says."""
    found = map(json.loads, (folder / "runs/small/metrics.jsonl").read_text().splitlines())
    clock = ("tokens_per_second", "data_wait", "mfu", "padding_rate")
    return [{name: value for name, value in line.items() if name not in clock} for line in found]


def weights(folder: Path) -> dict:
    return {name: value.tolist() for name, value in load_file(folder / "runs/small/model/model.safetensors").items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, launch, write_recipe) -> Path:
    """A run of 10 steps with the linear schedule."""
    folder = tmp_path_factory.mktemp("finished")
    write_recipe(folder, plan={"max_steps": 10, "eval_steps": 5})
    assert launch(folder, "recipe.yaml").status == 0
    return folder


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.mark.slow
def test_with_a_constant_rate_it_ends_as_the_longer_run_bit_for_bit(tmp_path, launch, write_recipe):
    whole, extended = tmp_path / "whole", tmp_path / "extended"
    write_recipe(whole, plan={"max_steps": 16, "eval_steps": 4}, **CONSTANT)
    assert launch(whole, "recipe.yaml").status == 0
    write_recipe(extended, plan={"max_steps": 8, "eval_steps": 4}, **CONSTANT)
    assert launch(extended, "recipe.yaml").status == 0
    ended = launch(extended, "recipe.yaml", "--plan.max_steps", "16")
    assert ended.status == 0, ended.said
    assert "is extended, with more plan.max_steps: the learning rate stays as it is, so it ends as a run" in ended.said
    assert lines(extended) == lines(whole)
    assert weights(extended) == weights(whole)


@pytest.mark.slow
def test_a_schedule_that_falls_goes_on_as_that_of_the_longer_plan(copy, launch):
    longer = ("recipe.yaml", "--plan.max_steps", "20")
    ended = launch(copy, *longer)
    assert ended.status == 0, ended.said
    assert "the learning rate continues where the linear schedule of the longer plan stands" in ended.said
    rates = {line["step"]: line["learning_rate"] for line in lines(copy) if "learning_rate" in line}
    assert rates[20] < rates[10] < rates[12] == pytest.approx(1e-3 * 9 / 18)
    assert json.loads((copy / "runs/small/finished.json").read_text())["steps"] == 20
    assert "max_steps: 20" in (copy / "runs/small/recipe.yaml").read_text()
    assert "runs/small is finished; its model is" in launch(copy, *longer).said
    ended = launch(copy, "recipe.yaml")
    assert ended.status == 2  # it cannot be made shorter
    assert "plan.max_steps: 20 there, 10 here" in ended.said


@pytest.mark.slow
def test_stopped_on_the_way_the_same_command_resumes(copy, finished, launch, tmp_path):
    told: list[int] = []

    def stop(pid: int) -> None:
        if not told and max(line["step"] for line in lines(copy)) > 10:
            told.append(pid)
            os.kill(pid, signal.SIGTERM)

    longer = ("recipe.yaml", "--plan.max_steps", "20")
    assert launch(copy, *longer, watch=stop).status == 3
    ended = launch(copy, *longer)
    assert (ended.status, "was finished" in ended.said) == (0, False)
    other = Path(shutil.copytree(finished, tmp_path / "other"))
    assert launch(other, *longer).status == 0
    assert weights(copy) == weights(other)


@pytest.mark.slow
def test_a_kill_while_it_is_extended_loses_nothing(copy, finished, launch, tmp_path):
    run, longer = copy / "runs/small", ("recipe.yaml", "--plan.max_steps", "14")
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("max_steps: 10", "max_steps: 14"))  # a kill before anything else
    assert launch(copy, *longer).status == 0
    assert json.loads((run / "finished.json").read_text())["steps"] == 14
    other = Path(shutil.copytree(finished, tmp_path / "other"))
    (other / "runs/small/finished.json").unlink()  # a kill between the last state and the end
    assert launch(other, "recipe.yaml").status == 0
    assert lines(other) == lines(finished)
    assert weights(other) == weights(finished)


@pytest.mark.slow
def test_minutes_go_on_too(tmp_path, launch, write_recipe):
    plan = {"max_steps": 0, "eval_steps": 0}
    write_recipe(tmp_path, plan={**plan, "minutes": 0.01})
    assert launch(tmp_path, "recipe.yaml").status == 0
    before = lines(tmp_path)[-1]["step"]
    ended = launch(tmp_path, "recipe.yaml", "--plan.minutes", "0.03")
    assert (ended.status, "with more plan.minutes" in ended.said) == (0, True), ended.said
    assert lines(tmp_path)[-1]["step"] > before
    ended = launch(tmp_path, "recipe.yaml", "--plan.max_steps", "100000")
    assert (ended.status, "holds a run of another recipe" in ended.said) == (2, True)  # another kind of budget


def test_what_else_differs_is_refused(copy, launch):
    ended = launch(copy, "recipe.yaml", "--plan.max_steps", "20", "--optimizer.learning_rate", "0.5")
    assert (ended.status, "optimizer.learning_rate: 0.001 there, 0.5 here" in ended.said) == (2, True)
    (copy / "runs/small/finished.json").unlink()
    ended = launch(copy, "recipe.yaml", "--plan.max_steps", "20")
    assert ended.status == 2
    assert "once that run is finished, a larger plan.max_steps extends it" in ended.said


@pytest.mark.slow
def test_without_a_state_the_advice_trains_on_from_the_weights(copy, launch):
    shutil.rmtree(copy / "runs/small/state")
    ended = launch(copy, "recipe.yaml", "--plan.max_steps", "20")
    assert ended.status == 2
    advice = ended.said.rpartition("train on from its weights: ")[2].replace("NEW", "more")
    ended = launch(copy, "recipe.yaml", *shlex.split(advice))
    assert ended.status == 0, ended.said
    assert (copy / "runs/more/model/model.safetensors").is_file()


@pytest.mark.slow
def test_a_run_that_ended_in_its_last_phase_is_not_extended(tmp_path, launch, write_recipe):
    phase = {"share": 0.5, "max_seq_length": 24, "per_device_train_batch_size": 16}
    write_recipe(tmp_path, plan={"max_steps": 4, "eval_steps": 0}, last_phase=phase)
    assert launch(tmp_path, "recipe.yaml").status == 0
    ended = launch(tmp_path, "recipe.yaml", "--plan.max_steps", "8")
    assert (ended.status, "ended with its last_phase" in ended.said) == (2, True)
