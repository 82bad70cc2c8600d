"""What may a user, and the loop, rely on in every objective?  Each file in pretrain/objectives joins by being there."""

import json
import math
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy.optimize import minimize_scalar
from transformers import PreTrainedModel

import pretrain.objectives
from corpus.images.chapters import StoredChapters
from corpus.images.medium import Images
from corpus.images.source import PictureSource
from corpus.images.store import prepare as prepare_pictures
from corpus.medium import Medium
from corpus.text.chapters import StoredText
from corpus.text.medium import Text
from corpus.text.source import Source
from corpus.text.store import prepare
from engine.train.batch import Batch
from pretrain.assembly import build_model
from pretrain.examples import ChapterExamples
from pretrain.objective import Objective
from pretrain.run import main
from tokenizer.load import load_tokenizer

NAMES = [module.name for module in pkgutil.iter_modules(pretrain.objectives.__path__)]
SIZE = 32
SMALL: dict[type[Medium], dict[str, Any]] = {  # by medium: what every model on it understands
    Text: {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": SIZE},
    Images: {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"},
}
OWN: dict[str, dict[str, Any]] = {  # by objective: what its model has in place of that
    "elmo": {"projection_size": 16, "cell_size": 24, "filters": [[1, 8], [3, 8]], "max_characters": 16},
    "skip_gram": {"hidden_size": 32},
    "glove": {"hidden_size": 32},
    "relative_position": {"layer_type": "basic", "embedding_size": 16, "hidden_sizes": [16, 16], "depths": [1, 1]},
}
ASKED: dict[str, dict[str, Any]] = {  # by objective: what it asks of pictures of SIZE pixels, and of few
    "exemplar": {"seeds": 8},
    "relative_position": {"image_size": SIZE, "patch_size": 6, "gap": 2, "jitter": 1, "downsample_to": 4},
}


HEADS_OWN = ("classifier_dropout", "feature_dropout")  # rates that only fine-tuning has


def small(objective: Objective) -> dict[str, Any]:
    return OWN.get(objective.name, SMALL[objective.medium])


@pytest.fixture(params=NAMES)
def objective(request) -> Objective:
    return Objective.from_section(request.param)(name=request.param, **ASKED.get(request.param, {}))


@pytest.fixture(scope="module")
def both_tokens(tokenizer_folder, tmp_path_factory) -> Path:
    """A tokenizer with the special tokens of masked and of causal language models."""
    tokenizer = load_tokenizer(tokenizer_folder)
    tokenizer.add_special_tokens({"eos_token": "[SEP]", "bos_token": "[CLS]"})
    folder = tmp_path_factory.mktemp("both")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def open_medium(corpus, both_tokens, tmp_path_factory) -> Callable[[type[Medium]], Any]:
    """A medium of each kind, and chapters of it."""
    tokenizer, stores = load_tokenizer(both_tokens), tmp_path_factory.mktemp("stores")
    store, _ = prepare([Source("text", str(corpus))], tokenizer, "hash", stores, 0.1, processes=1)
    pictures = prepare_pictures([PictureSource("photos")], stores, 0.1, decoded_side=96)
    made: dict[Any, Any] = {
        Text: (Text.of(tokenizer, "hash"), StoredText(store, 0, store.num_tokens)),
        Images: (Images(), StoredChapters(pictures, pictures.train, seed=0, chapter_images=1000)),
    }
    return lambda kind: made[kind]


@pytest.fixture
def medium(objective, open_medium) -> Medium:
    return open_medium(objective.medium)[0]


@pytest.fixture
def examples(objective, medium, open_medium) -> ChapterExamples:
    chapter = open_medium(objective.medium)[1].chapter(0, 0, {})
    return ChapterExamples(chapter, objective, medium, SIZE, key=3)


@pytest.fixture
def model(objective, medium) -> PreTrainedModel:
    torch.manual_seed(0)
    return objective.build(small(objective), medium).eval()


def test_a_split_is_pure_and_does_not_see_the_rest_of_its_batch(examples):
    index = np.arange(8)
    whole, again = examples.batch(index), examples.batch(index)
    alone = [examples.batch(index[row : row + 1]) for row in index]
    for name in whole.x:
        assert torch.equal(whole.x[name], again.x[name])
    assert whole.sizes == tuple(size for one in alone for size in one.sizes)
    assert whole.counts == {term: sum(one.counts[term] for one in alone) for term in whole.counts}
    for name, answers in whole.y.items():
        assert torch.equal(answers, again.y[name])
        if name not in ("positions", "read", "slots"):  # places of the padded table
            assert torch.equal(answers, torch.cat([one.y[name] for one in alone]))


def test_sizes_and_counts_are_what_is_there(objective, examples):
    batch = examples.batch(np.arange(8))
    assert len(batch.sizes) == 8
    assert 0 < batch.num_units <= batch.room
    assert set(batch.counts) == {term.name for term in objective.terms}
    for term in objective.terms:
        assert batch.counts[term.name] == len(batch.y[term.answers]) > 0


def test_the_loss_is_a_sum_over_answers(objective, examples, model):
    index = np.arange(8)
    with torch.no_grad():
        whole = objective.loss(model, examples.batch(index))
        parts = [objective.loss(model, examples.batch(part)) for part in np.split(index, 2)]
    for name, value in whole.items():
        assert float(value) == pytest.approx(sum(float(part[name]) for part in parts), rel=1e-4)


def test_what_is_trained_is_what_is_counted_and_it_reaches_the_weights(objective, examples, model):
    batch = examples.batch(np.arange(8))
    sums = objective.loss(model.train(), batch)
    assert set(sums) == set(batch.counts)
    torch.stack([sums[term] for term in batch.counts]).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_baseline_is_the_best_that_is_said_without_x(objective, examples):
    batches = [examples.batch(np.arange(start, start + 8)) for start in (0, 8)]
    found = objective.baselines(batches)
    for term in objective.terms:
        answers = torch.cat([batch.y[term.answers] for batch in batches])
        if term.kind == "contrast":  # the same score, whatever is asked
            noise = sum(batch.x[term.weights].sum().item() for batch in batches) / len(answers)
            best = minimize_scalar(lambda score, noise=noise: np.logaddexp(0, -score) + noise * np.logaddexp(0, score))
            assert found[f"{term.name}_loss"] == pytest.approx(best.fun, rel=1e-5)
            continue
        if term.kind == "number":
            assert found[f"{term.name}_correlation"] == 0
            continue
        if term.kind == "soft":  # many alternatives each, of which the first is the main one
            shares = torch.cat([batch.y[term.weights] for batch in batches]).numpy()
            mean = np.bincount(answers.numpy().ravel(), shares.ravel()) / len(answers)
            entropy = -float((mean[mean > 0] * np.log(mean[mean > 0])).sum())
            assert found[f"{term.name}_loss"] == pytest.approx(entropy, rel=1e-5)
            answers = answers[:, 0]
        _, share = np.unique(answers.numpy(), return_counts=True)
        share = share / share.sum()
        blind = math.log(term.among) if term.among else -float((share * np.log(share)).sum())
        assert term.kind == "soft" or found[f"{term.name}_loss"] == pytest.approx(blind)
        assert found[f"{term.name}_accuracy"] == pytest.approx(share.max())


def test_metrics_and_baselines_have_the_same_names_and_each_term_a_panel(objective, examples, model):
    batch = examples.batch(np.arange(8))
    with torch.no_grad():
        sums = {name: float(value) for name, value in objective.loss(model, batch).items()}
    metrics = objective.metrics(sums, batch.counts)
    assert set(metrics) == set(objective.baselines([batch]))
    assert len(objective.panels) == len(objective.terms)
    for _, series in objective.panels:
        assert {name.removeprefix("eval_") for name in series.values() if name.startswith("eval_")} <= set(metrics)


def test_the_plan_can_fake_its_medium(objective, medium):
    units = objective.units(medium.fake(4, SIZE), SIZE, medium, 0)
    batch = objective.split(units.take(np.arange(4)), medium, 0)
    assert isinstance(batch, Batch)
    assert len(batch.sizes) == 4


def test_the_model_can_be_saved_and_no_other_is_trained(objective, medium, tmp_path, monkeypatch):
    recipe = type("Recipe", (), {"objective": objective, "model": small(objective)})
    build_model(recipe, medium).save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    monkeypatch.setattr(type(objective), "build", lambda *_: torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match="must be a PreTrainedModel"):
        build_model(recipe, medium)


@pytest.fixture
def recipe(objective, model, write_recipe, both_tokens, tmp_path) -> Path:
    """A short run of the objective without dropout, which is another one on each process."""
    path = write_recipe(
        tmp_path, objective={"name": objective.name}, tokenizer=str(both_tokens), plan={"max_steps": 6, "eval_steps": 3}
    )
    content = yaml.safe_load(path.read_text())
    rates = {
        key
        for key, value in model.config.to_dict().items()
        if "drop" in key and isinstance(value, float) and key not in HEADS_OWN
    }
    content["model"] = {**small(objective), **dict.fromkeys(rates, 0.0)}
    if objective.medium is not Text:
        del content["corpus"], content["tokenizer"]  # images are those that installed packages bring
        content["objective"] = {"name": objective.name, objective.size_key: SIZE, **ASKED.get(objective.name, {})}
    path.write_text(yaml.safe_dump(content))
    return path


def evaluations(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if any(name.startswith("eval_") for name in line)]


LONG = ("elmo", "colorization", "exemplar", "relative_position")


@pytest.mark.parametrize(
    "objective",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in NAMES],
    indirect=True,
)
def test_a_run_ends_in_a_report_and_a_card_and_two_processes_equal_one(
    objective, recipe, launch_program, launch_together
):
    alone = launch_program(main, recipe.parent, "recipe.yaml", "--name", "alone")
    assert alone.status == 0, alone.said
    ranks = launch_together(main, recipe.parent, "recipe.yaml", "--name", "together")
    assert [rank.status for rank in ranks] == [0, 0], "\n".join(rank.said for rank in ranks)
    assert "2 process(es)" in ranks[0].said
    one, two = (evaluations(recipe.parent / "runs" / name) for name in ("alone", "together"))
    assert len(one) == len(two) == 2
    for left, right in zip(one, two, strict=True):
        assert left == pytest.approx(right, rel=1e-4)
    run = recipe.parent / "runs/alone"
    assert f"{objective.medium.unit} a second" in (run / "report.html").read_text()
    assert objective.in_short in (run / "model/README.md").read_text()
