"""Is a job without a finite result a failed one, whatever else goes on; and are spoiled weights named by file?"""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

QUICK = {"num_train_epochs": 1, "global_batch_size": 16, "per_device_train_batch_size": 16}


def strict(path):
    """Lines of JSON as the standard has it: NaN and Infinity are none."""

    def refuse(name):
        raise AssertionError(f"{path} holds {name}")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text(encoding="utf-8").splitlines()]


def spoiled(model, folder, name):
    """A copy of `model` with one NaN in a weight."""
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    weights[name].view(-1)[3] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "task",
    ["glue/rte", *(pytest.param(name, marks=pytest.mark.slow) for name in ("glue/stsb", "conll2003", "squad/v1.1"))],
)
def test_a_short_job_that_is_lost_is_a_failed_one_and_the_next_goes_on(tmp_path, write_finetune_recipe, launch, task):
    write_finetune_recipe(
        tmp_path, task=[task], seeds=[0, 1], plan={**QUICK, "num_train_epochs": 0.1}, optimizer={"learning_rate": 1e30}
    )
    for _ in range(2):  # the same command again
        ended = launch(tmp_path, "recipe.yaml")
        assert ended.status == 0, ended.said
        lines = strict(tmp_path / "runs/small/results.jsonl")
        assert [line["seed"] for line in lines] == [0, 1]
        assert [line["metrics"] for line in lines] == [{}, {}]
        assert all("finite" in line["failure"] or "no numbers" in line["failure"] for line in lines)
    for seed in (0, 1):
        (job,) = tmp_path.glob(f"runs/small/*/seed-{seed}")
        assert not (job / "model").exists()
        strict(job / "metrics.jsonl")


@pytest.mark.slow
def test_what_an_earlier_version_left_of_a_lost_job_does_not_stop_the_others(tmp_path, write_finetune_recipe, launch):
    write_finetune_recipe(tmp_path, plan=QUICK)
    assert launch(tmp_path, "recipe.yaml").status == 0
    job = tmp_path / "runs/small/glue-rte/seed-0"
    (job / "finished.json").unlink()
    whole = job / "model"
    whole.rename(job / "whole")
    spoiled(job / "whole", whole, "classifier.weight")
    ended = launch(tmp_path, "recipe.yaml", "--seeds", "0", "1")
    assert ended.status == 0, ended.said
    first, second = sorted(strict(tmp_path / "runs/small/results.jsonl"), key=lambda line: line["seed"])
    assert "model.safetensors: classifier.weight holds 1 numbers that are not finite" in first["failure"]
    assert first["metrics"] == {}
    assert second["metrics"]


def test_a_nan_in_the_given_weights_is_named_by_file_and_tensor(tmp_path, write_finetune_recipe, small_model, launch):
    name = "bert.encoder.layer.1.output.dense.weight"
    folder = spoiled(small_model, tmp_path / "given", name)
    write_finetune_recipe(tmp_path, plan=QUICK, model=str(folder))
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 2
    assert f"{folder / 'model.safetensors'}: {name} holds 1 numbers that are not finite" in ended.said.splitlines()[-1]
    assert not list(tmp_path.rglob("metrics.jsonl"))


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_so_is_an_infinity(tmp_path, write_finetune_recipe, small_model, launch, value):
    folder = shutil.copytree(small_model, tmp_path / "given")
    weights = load_file(folder / "model.safetensors")
    weights["bert.embeddings.word_embeddings.weight"][2] = torch.tensor(value)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_finetune_recipe(tmp_path, plan=QUICK, model=str(folder))
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 2
    assert "word_embeddings.weight holds 32 numbers that are not finite" in ended.said.splitlines()[-1]


@pytest.mark.parametrize(
    "changes", [{"grid": {"optimizer.learning_rate": [1e-3, float("inf")]}}, {"auxiliary_lm": float("nan")}]
)
def test_a_recipe_without_finite_numbers_is_refused(tmp_path, write_finetune_recipe, launch, changes):
    write_finetune_recipe(tmp_path, **changes)
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 2
    assert "recipe.yaml" in ended.said.splitlines()[-1]
    assert not (tmp_path / "runs").exists()
