"""Does every pretraining recipe on text train?  Each is run, with all that makes it long or large made small."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.run.recipe import load
from pretrain.recipe import PretrainRecipe
from tests.losses import check_trained
from tokenizer.learn import BytePairs

ALL = sorted((Path(__file__).parents[2] / "recipes" / "pretrain").glob("*.yaml"))
RECIPES = [path for path in ALL if "images" not in yaml.safe_load(path.read_text())]  # test_image_recipes has these
LENGTH, LONGEST = 16, 32
MODEL = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "max_position_embeddings": LONGEST}
# Compiling takes half a minute, and processes that read ahead are for large texts.
PLAN = {"max_steps": 2, "global_batch_size": 8, "per_device_train_batch_size": 4, "logging_steps": 1}
PLAN |= {"torch_compile": False, "dataloader_num_workers": 0}
BUDGETS = ("minutes", "flops")


@pytest.fixture(scope="module")
def byte_pairs_folder(corpus, tmp_path_factory) -> Path:
    texts = [path.read_text(encoding="utf-8") for path in sorted(corpus.iterdir())]
    folder = tmp_path_factory.mktemp("byte-pairs")
    BytePairs(name="byte-bpe", vocab_size=400).learn(iter([texts]), Counter(), LONGEST).save_pretrained(folder)
    return folder


OWN: dict[str, dict[str, Any]] = {  # of networks of our own
    "lstm": {"num_hidden_layers": 2, "hidden_size": 32, "embedding_size": 16},
    "elmo": {"projection_size": 16, "cell_size": 24, "filters": [[1, 8], [3, 8]]},
    "word_vectors": {"hidden_size": 16},
}


def made_small(recipe: dict, text: Path, tokenizer: Path) -> dict:
    """The recipe with a small text, model and batch, and two steps: one of each phase if there are two."""
    sizes = {"vocab_size", "intermediate_size", "initializer_range", "layer_types"} & recipe["model"].keys()
    model = {name: value for name, value in recipe["model"].items() if name not in sizes}
    plan = {name: value for name, value in recipe["plan"].items() if name not in BUDGETS}
    sources = [{"kind": "text", "path": str(text)}]
    (size,) = {"max_seq_length", "block_size"} & recipe["objective"].keys()
    small = {
        **recipe,
        "corpus": {**recipe["corpus"], "sources": sources, "held_out": 0.15},
        "tokenizer": str(tokenizer),
        "model": {**model, **small_model(recipe)},
        "objective": {**recipe["objective"], size: LENGTH},
        "plan": {**plan, **PLAN},
        "max_eval_samples": 24,
    }
    if "last_phase" in recipe:
        small["last_phase"] = {"share": 0.5, size: LONGEST, "per_device_train_batch_size": 2}
    return small


def small_model(recipe: dict) -> dict:
    if recipe["objective"]["name"] in ("skip_gram", "glove"):
        return OWN["word_vectors"]
    return OWN.get(recipe["model"].get("model_type"), MODEL)


SIZES_ALONE = (
    "bert-base",
    "gpt2-small",
    "bert-tiny",
    "bert-small",
    "bert-medium",
    "bert-large",
    "bert-mini",
    "one-day-one-gpu",
    "gpt2-medium",
    *(f"gpt3-{size}" for size in ("125m", "350m", "760m", "1.3b", "2.7b", "6.7b", "13b", "175b")),
    "elmo",
    "elmo-mini",
    "modernbert-base",
)  # differ from one that is tried, or are tried by tests of their own


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in SIZES_ALONE)) for path in RECIPES],
)
def test_a_recipe_of_ours_trains(path, tmp_path, launch, corpus, tokenizer_folder, byte_pairs_folder):
    recipe = yaml.safe_load(path.read_text())
    assert recipe["name"].split("/")[-1] in (path.stem, "pretrain")  # so that no two share a run's folder
    is_masked = recipe["objective"]["name"] == "bert"
    small = made_small(recipe, corpus, tokenizer_folder if is_masked else byte_pairs_folder)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(small))
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    check_trained(tmp_path / "runs" / recipe["name"])


# The papers' numbers, which a slip of the keyboard would change without a word.
PAPERS = {
    "bert-tiny": (2, 128, 2, 512),
    "bert-mini": (4, 256, 4, 1024),
    "bert-small": (4, 512, 8, 2048),
    "bert-medium": (8, 512, 8, 2048),
    "bert-base": (12, 768, 12, 3072),
    "bert-large": (24, 1024, 16, 4096),
}


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_models_are_trained_as_the_papers_say(name):
    recipe = load(PretrainRecipe, next(path for path in RECIPES if path.stem == name))
    sizes = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
    assert tuple(recipe.model[size] for size in sizes) == PAPERS[name]
    assert [(phase.size, round(phase.share, 9)) for phase in recipe.phases] == [(128, 0.9), (512, 0.1)]
    plan, optimizer = recipe.plan, recipe.optimizer
    assert (plan.max_steps, plan.global_batch_size, recipe.schedule.warmup_ratio * plan.max_steps) == (
        1_000_000,
        256,
        10_000,
    )
    assert (optimizer.learning_rate, optimizer.weight_decay, optimizer.betas) == (1e-4, 0.01, (0.9, 0.999))
    assert recipe.model["hidden_dropout_prob"] == recipe.model["attention_probs_dropout_prob"] == 0.1
    for phase, processes in itertools.product(
        recipe.phases, (1, 2, 4, 8) if name in ("bert-base", "bert-large") else (1,)
    ):
        assert plan.global_batch_size % (phase.device_batch * processes) == 0


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"objective": {"max_seq_length": 64}}, "objective.max_seq_length is 64, but the model has 32 positions"),
        ({"objective": {"max_seq_length": 4}}, "objective.max_seq_length is 4; examples need 8 tokens or more"),
        ({"name": "../elsewhere"}, "name is '../elsewhere'"),
        ({"name": ""}, "name is ''"),  # with --overwrite True it would be all of runs/
        ({"max_eval_samples": 0}, "max_eval_samples is 0"),
        ({"corpus": {"held_out": 0.0}}, "corpus: held_out is 0.0"),
        ({"corpus": {"sources": []}}, "corpus: sources is empty"),
        ({"plan": {"max_steps": 0}}, "plan: exactly one of max_steps, minutes and flops says how long to train"),
    ],
)
def test_an_impossible_recipe_is_refused_with_its_place(tmp_path, write_recipe, changes, complaint):
    path = write_recipe(tmp_path, **changes)
    with pytest.raises(ValueError, match=r"recipe\.yaml:\d+: .*" + complaint.replace("(", r"\(")):
        load(PretrainRecipe, path)
