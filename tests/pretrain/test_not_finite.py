"""Is a run whose numbers are none ever called done, and is it said what is spoiled?"""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.run.states import write_manifest
from pretrain.terms import perplexity

BLOWN_UP = {
    "optimizer": {"learning_rate": 1e38, "weight_decay": 10.0},  # times each other more than a float holds
    "schedule": {"lr_scheduler_type": "constant_with_warmup", "warmup_ratio": 0},
}


def strict(path):
    """Lines of JSON as the standard has it."""

    def refuse(name):
        raise AssertionError(f"{path} holds {name}")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text(encoding="utf-8").splitlines()]


def assert_lost(folder, ended, complaint):
    assert ended.status == 2, ended.said
    last = ended.said.splitlines()[-1]
    assert last.startswith("error: ")
    assert complaint in last
    run = folder / "runs/small"
    assert not (run / "model").exists()
    assert not (run / "finished.json").exists()
    return strict(run / "metrics.jsonl")


@pytest.mark.parametrize("steps", [2, 3])
def test_a_run_that_ends_with_skipped_steps_is_not_done(tmp_path, write_recipe, launch, steps):
    plan = {"max_steps": steps, "eval_steps": 0}
    write_recipe(tmp_path, optimizer={"learning_rate": 1e30}, plan=plan, schedule={"warmup_ratio": 0})
    lines = assert_lost(tmp_path, launch(tmp_path, "recipe.yaml"), f"its last step, {steps}, without a finite gradient")
    assert lines[-1]["eval_masked_lm_loss"] is None
    ended = launch(tmp_path, "recipe.yaml")  # again: nothing that was left behind is taken for a result
    assert_lost(tmp_path, ended, "without a finite gradient")


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_weights_that_are_not_finite_are_not_exported(tmp_path, write_recipe, launch, ema):
    optimizer = {**BLOWN_UP["optimizer"], "ema": ema}
    write_recipe(tmp_path, **{**BLOWN_UP, "optimizer": optimizer}, plan={"max_steps": 1, "eval_steps": 0})
    assert_lost(tmp_path, launch(tmp_path, "recipe.yaml"), "is not saved: bert.")


def test_the_advice_after_three_skipped_steps_names_the_weights_if_they_are_the_cause(tmp_path, write_recipe, launch):
    plan = {"max_steps": 9, "eval_steps": 0, "logging_steps": 1}
    write_recipe(tmp_path, plan=plan, **BLOWN_UP)
    assert_lost(tmp_path, launch(tmp_path, "recipe.yaml"), "which an earlier step has left there")


def test_a_spoiled_state_is_not_saved_over_the_whole_ones(tmp_path, write_recipe, launch):
    plan = {"max_steps": 9, "save_steps": 1, "save_total_limit": 1, "eval_steps": 0, "logging_steps": 1}
    write_recipe(tmp_path, plan=plan, **BLOWN_UP)
    assert_lost(tmp_path, launch(tmp_path, "recipe.yaml"), "state/step-1 is not saved: ")
    assert not list((tmp_path / "runs/small").glob("state/step-*"))


def test_a_saved_state_that_is_spoiled_is_named_by_file_and_tensor(tmp_path, write_recipe, launch):
    write_recipe(tmp_path, plan={"max_steps": 400, "save_steps": 2, "eval_steps": 0})
    state = tmp_path / "runs/small/state/step-4"

    def kill(pid):
        if state.exists() and not killed:
            killed.append(os.kill(pid, 9))

    killed = []
    assert launch(tmp_path, "recipe.yaml", watch=kill).status == -9
    newest = max(state.parent.glob("step-*"), key=lambda path: int(path.name[5:]))
    weights = load_file(newest / "weights.safetensors")
    name = next(iter(sorted(weights)))
    weights[name].view(-1)[0] = torch.nan
    save_file(weights, newest / "weights.safetensors")
    (newest / "manifest.json").unlink()
    write_manifest(newest)
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 2
    wanted = f"{newest.relative_to(tmp_path)}/weights.safetensors: {name} holds 1 numbers that are not finite"
    assert wanted in ended.said.splitlines()[-1]


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--optimizer.learning_rate", "inf"], "optimizer.learning_rate is inf; give a finite number"),
        (["--optimizer.learning_rate", "nan"], "learning_rate is nan"),
        (["--plan.max-grad-norm", "inf"], "plan.max_grad_norm is inf; give a finite number"),
        (["--optimizer.betas", "0.9", "nan"], "betas is (0.9, nan)"),
    ],
)
def test_a_flag_that_is_no_finite_number_is_refused(tmp_path, write_recipe, launch, argv, complaint):
    write_recipe(tmp_path)
    ended = launch(tmp_path, "recipe.yaml", *argv)
    assert ended.status == 2
    assert complaint in ended.said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("optimizer", {"learning_rate": "inf"}),
        ("optimizer", {"weight_decay": "1e999"}),
        ("plan", {"max_grad_norm": "Infinity"}),
        ("model", {"layer_norm_eps": float("nan")}),
        ("model", {"initializer_range": float("inf")}),
    ],
)
def test_a_recipe_with_such_a_number_is_refused_by_line(tmp_path, write_recipe, launch, section, values):
    write_recipe(tmp_path, **{section: values})
    path = tmp_path / "recipe.yaml"
    path.write_text(path.read_text().replace("'", ""))
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 2
    (key,) = values
    assert f": {section}.{key} is " in ended.said
    assert "recipe.yaml:" in ended.said


def test_a_huge_loss_is_a_large_perplexity_and_no_crash():
    assert perplexity(0.0) == 1.0
    assert perplexity(1e6) == float("inf")
