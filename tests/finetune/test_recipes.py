"""Does every fine-tuning recipe do what it says, shrunk to a small model and small files?"""

from pathlib import Path

import pytest

from engine.run.recipe import load
from finetune.jobs import list_jobs
from finetune.recipe import FinetuneRecipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes/finetune").glob("*.yaml"))
TRIED = {
    "bert-base-glue": "glue/rte", "bert-large-glue": "glue/cola", "openai-gpt-glue": "glue/rte", "glue": "glue/stsb",
    "conll2003": "conll2003", "squad": "squad/v1.1",
}  # fmt: skip


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_is_read_and_its_head_says_how_it_is_launched(path):
    recipe = load(FinetuneRecipe, path)
    found = list_jobs(recipe)
    assert len(found) >= len(recipe.task) * len(recipe.seeds)
    assert all(job.recipe.plan.global_batch_size % job.recipe.plan.per_device_train_batch_size == 0 for job in found)
    head = path.read_text().split("\nname:")[0]
    assert f"recipes/finetune/{path.name}" in head
    assert all(line.startswith("#") for line in head.splitlines())


LIKE_OTHERS = ("bert-large-glue", "glue", "squad")  # what is new in them is tested elsewhere


@pytest.mark.parametrize(
    ("name", "task"),
    [pytest.param(*tried, marks=[pytest.mark.slow] * (tried[0] in LIKE_OTHERS)) for tried in TRIED.items()],
)
def test_it_runs_two_steps(name, task, tmp_path, launch, labelled, small_model, small_gpt):
    path = next(path for path in RECIPES if path.stem == name)
    recipe = (
        path.read_text()
        .replace("plan.num_train_epochs: [2, 3, 4]", "plan.num_train_epochs: [0.1]")
        .replace("[16, 32]", "[32]")
    )
    recipe = "\n".join(line for line in recipe.splitlines() if not line.startswith("start_from"))
    (tmp_path / "recipe.yaml").write_text(recipe)
    model = small_gpt if "gpt" in name else small_model
    ended = launch(
        tmp_path, "recipe.yaml", "--name", "short", "--model", str(model), "--task", task, "--seeds", "0",
        "--max_seq_length", "48", "--data.path", str(labelled), "--plan.num_train_epochs", "0.1",
    )  # fmt: skip
    assert ended.status == 0, ended.said
    assert (tmp_path / "runs/short/table.html").exists()
