"""Does every pretraining recipe train?  Each is run, with all that makes it long or large made small."""

from pathlib import Path

import pytest
import yaml

from engine.recipe import load
from pretrain.recipe import PretrainRecipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes" / "pretrain").glob("*.yaml"))
SMALL = {
    "plan": {"steps": 2, "global_batch": 8, "device_batch": 8, "log_every": 1},
    "model": {
        "num_hidden_layers": 2,
        "hidden_size": 32,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 32,
    },
}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_of_ours_trains(path, tmp_path, launch, write_recipe, corpus, tokenizer_folder):
    recipe = yaml.safe_load(path.read_text())
    given = {name: recipe[name] for name in ("objective", "optimizer", "schedule")}
    sizes = {name: {**recipe[name], **SMALL[name]} for name in SMALL}
    write_recipe(tmp_path, name=path.stem, **given, **sizes)
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    assert (tmp_path / "runs" / path.stem / "model" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"length": 64}, "length is 64, but the model has 32 positions"),
        ({"length": 4}, "length is 4; examples need 8 tokens or more"),
        ({"name": "../elsewhere"}, "name is '../elsewhere'"),
        ({"name": ""}, "name is ''"),  # with --overwrite True it would be all of runs/
        ({"evaluation_examples": 0}, "evaluation_examples is 0"),
        ({"corpus": {"held_out": 0.0}}, "corpus: held_out is 0.0"),
        ({"corpus": {"sources": []}}, "corpus: sources is empty"),
        ({"plan": {"steps": 0}}, "plan: steps is 0"),
    ],
)
def test_an_impossible_recipe_is_refused_with_its_place(tmp_path, write_recipe, changes, complaint):
    path = write_recipe(tmp_path, **changes)
    with pytest.raises(ValueError, match=r"recipe\.yaml:\d+: .*" + complaint.replace("(", r"\(")):
        load(PretrainRecipe, path)
