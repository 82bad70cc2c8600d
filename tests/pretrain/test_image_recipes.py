"""Does every pretraining recipe on images train?  Each is run, with all that makes it long or large made small."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.losses import check_trained

RECIPES = [
    path
    for path in sorted((Path(__file__).parents[2] / "recipes" / "pretrain").glob("*.yaml"))
    if "images" in yaml.safe_load(path.read_text())
]
PLAN = {"max_steps": 2, "global_batch_size": 8, "per_device_train_batch_size": 4, "logging_steps": 1}
PLAN |= {"dataloader_num_workers": 0}
MODELS: dict[str, dict[str, Any]] = {  # by model_type
    "resnet_gn": {"embedding_size": 16, "hidden_sizes": [16, 16], "depths": [1, 1]},
    "alexnet": {"hidden_sizes": [16] * 5},
}
ASKED: dict[str, dict[str, Any]] = {  # by objective
    "relative_position": {"head_size": 32},
    "exemplar": {"seeds": 16},
    "colorization": {"head_width": 16},
}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem.endswith("-small") else [pytest.mark.slow])
        for path in RECIPES
    ],
)
def test_a_recipe_on_images_trains(path, tmp_path, launch):
    recipe = yaml.safe_load(path.read_text())
    assert recipe["name"] == path.stem  # so that no two share a run's folder
    small = {
        **recipe,
        "images": {**recipe["images"], "sources": [{"kind": "photos", "limit": 60}], "held_out": 0.2},
        "model": {**recipe["model"], **MODELS[recipe["model"]["model_type"]]},
        "objective": {**recipe["objective"], **ASKED[recipe["objective"]["name"]]},
        "plan": {**recipe["plan"], **PLAN},
        "max_eval_samples": 8,
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(small))
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    check_trained(tmp_path / "runs" / recipe["name"])
