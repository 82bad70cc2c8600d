"""Does a frozen ELMo give its features to a task, and stay as it is: trained, resumed, saved and asked again?"""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import networks  # noqa: F401, it makes ELMo known to the Auto classes
from engine.train.optimizer import Optimizer, build_optimizers
from finetune.ask.model import load_fine_tuned
from finetune.ask.playground.models import load_models
from finetune.ask.predict import main as predict
from finetune.decoder import add_frame
from finetune.model import open_model
from finetune.run import main
from finetune.tasks.task import find_task
from networks.elmo import FRAMES, ElmoConfig, ElmoForPreTraining
from networks.elmo_tasks import behind_the_first
from tokenizer.load import load_tokenizer
from tokenizer.spelling import spell

SMALL: dict[str, Any] = {
    "projection_size": 12, "cell_size": 16, "character_size": 6, "filters": [[1, 8], [2, 8], [3, 8]],
    "max_characters": 20, "encoder_size": 16, "encoder_layers": 1, "classifier_size": 16,
}  # fmt: skip
TASKS = ("glue/rte", "glue/cola", "glue/stsb", "conll2003")
TEXTS = ("the cat sat on paris", "a red dog")


def write_elmo(folder: Path, tokenizer, separator: int) -> Path:
    """An ELMo of random weights, larger than at the start, and its tokenizer."""
    torch.manual_seed(0)
    config = ElmoConfig(**SMALL, vocab_size=len(tokenizer), separator_token_id=separator)
    model = ElmoForPreTraining(config)
    with torch.no_grad():
        for parameter in model.elmo.layers.parameters():
            parameter.mul_(2)
    model.elmo.spell(spell(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def elmo(small_model, tmp_path_factory) -> Path:
    tokenizer = load_tokenizer(small_model)
    return write_elmo(tmp_path_factory.mktemp("elmo") / "model", tokenizer, tokenizer.sep_token_id)


@pytest.fixture(scope="module")
def elmo_of_bytes(small_gpt, tmp_path_factory) -> Path:
    """One of a byte-level vocabulary, which puts nothing around texts."""
    tokenizer = load_tokenizer(small_gpt)
    return write_elmo(tmp_path_factory.mktemp("elmo") / "bytes", tokenizer, tokenizer.eos_token_id)


def opened(folder, name="glue/rte", changes=None, fresh=False):
    task, tokenizer = find_task(name), add_frame(load_tokenizer(folder))
    torch.manual_seed(1)
    model, random = open_model(str(folder), task.question, task, tokenizer, changes or {}, fresh)
    return model, tokenizer, random


def same(one, other):
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


# What it reads


@pytest.mark.parametrize("kind", ["elmo", "elmo_of_bytes"])
def test_each_text_of_a_pair_is_read_alone_between_two_separators(kind, request):
    model, tokenizer, _ = opened(request.getfixturevalue(kind))
    model.eval()
    given = []
    model.elmo.register_forward_pre_hook(lambda _, arguments: given.append(arguments))
    batch = tokenizer(*([text] for text in TEXTS), return_tensors="pt")
    model(**batch)
    ids, mask = given[0]
    separator = model.config.separator_token_id
    for row, real, text in zip(ids, mask, TEXTS, strict=True):
        plain = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert row[real.bool()].tolist() == [separator, *plain, separator]
    assert ids.shape[1] == max(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in TEXTS) + 2


def test_a_pair_is_told_by_its_types_or_by_what_stands_between(elmo):
    model, tokenizer, _ = opened(elmo)
    model.eval()
    batch = tokenizer([TEXTS[0], "it ran"], [TEXTS[1], "it was old"], padding=True, return_tensors="pt")
    by_types = model(**batch).logits
    batch.pop("token_type_ids")
    same(model(**batch).logits, by_types)
    second = behind_the_first(torch.tensor([[1, 0, 0, 1, 1, 0, 1, 0]]).bool(), torch.tensor([[1] * 7 + [0]]))
    assert second.int().tolist() == [[0, 0, 0, 0, 1, 1, 1, 0]]  # <s> A </s></s> B </s> <pad>


@pytest.mark.parametrize("name", ["glue/rte", "glue/cola", "conll2003"])
def test_a_row_in_company_is_answered_as_alone(elmo, name):
    model, tokenizer, _ = opened(elmo, name)
    model.eval()
    pairs = [("the cat sat on a red old dog", "it ran"), ("a dog", "anna was in rome near the cat")]
    columns = list(zip(*pairs, strict=True))[: 2 if name == "glue/rte" else 1]
    together = model(**tokenizer(*map(list, columns), padding=True, return_tensors="pt")).logits
    for row in range(2):
        alone = model(**tokenizer(*([column[row]] for column in columns), return_tensors="pt")).logits[0]
        same(together[row][: len(alone)], alone)


@pytest.mark.parametrize(
    ("features", "size", "layers"), [("both", 24, 3), ("forward", 12, 3), ("backward", 12, 3), ("static", 12, 1)]
)
def test_features_are_a_mix_of_the_layers_that_are_asked_for(elmo, features, size, layers):
    model, tokenizer, _ = opened(elmo, changes={"features": features})
    model.eval()
    with torch.no_grad():
        model.mix.weights.copy_(torch.arange(float(layers)))
        model.mix.gamma.fill_(2)
    batch = tokenizer(TEXTS[0], return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    found = model.read(ids, mask)
    shares = torch.arange(float(layers)).softmax(0)
    side = {"both": slice(24), "forward": slice(12), "backward": slice(12, 24), "static": slice(12)}[features]
    states = model.elmo(ids, mask, output_hidden_states=True).hidden_states
    same(found, 2 * sum(share * layer[..., side] for share, layer in zip(shares, states, strict=False)))
    assert found.shape[-1] == size


def test_without_features_embeddings_are_learnt(elmo, elmo_of_bytes):
    for folder in (elmo, elmo_of_bytes):
        model, tokenizer, random = opened(folder, changes={"features": "none"})
        assert "embeddings.weight" in random
        model(**tokenizer(*([text] for text in TEXTS), return_tensors="pt")).logits.sum().backward()
        assert model.embeddings.weight.grad.any()


# What is frozen


@pytest.mark.parametrize("name", TASKS)
def test_all_but_elmo_is_new_and_learns(elmo, name):
    model, tokenizer, random = opened(elmo, name)
    assert not any(weight.startswith("elmo.") for weight in random)
    trained = {weight for weight, value in model.named_parameters() if value.requires_grad}
    assert trained == set(random)
    texts = TEXTS[: 2 if name in ("glue/rte", "glue/stsb") else 1]
    model.train()(**tokenizer(*([text] for text in texts), return_tensors="pt")).logits.square().sum().backward()
    assert {weight for weight, value in model.named_parameters() if value.grad is not None} == trained
    (optimizer,) = build_optimizers(model, Optimizer())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(trained)


def test_what_is_frozen_has_no_dropout(elmo):
    model, tokenizer, _ = opened(elmo, changes={"dropout": 0.9, "feature_dropout": 0.0, "classifier_dropout": 0.0})
    batch = tokenizer(*([text] for text in TEXTS), return_tensors="pt")
    same(model.train()(**batch).logits, model.eval()(**batch).logits)


def test_random_weights_have_the_characters_of_the_vocabulary(elmo, elmo_of_bytes):
    for folder in (elmo, elmo_of_bytes):
        fresh, tokenizer, random = opened(folder, fresh=True)
        model, *_ = opened(folder)
        assert random == ["all"]
        assert not torch.equal(fresh.elmo.layers[0].from_left.input.weight, model.elmo.layers[0].from_left.input.weight)
        before = len(load_tokenizer(folder))
        assert torch.equal(fresh.elmo.tokens.characters[:before], model.elmo.tokens.characters[:before])
        frames = tokenizer("")["input_ids"]
        assert (fresh.elmo.tokens.characters[frames, 0] == FRAMES).all()
        assert (model.elmo.tokens.characters[frames, 0] == FRAMES).all()


# A whole job

NO_DROPOUT = {"feature_dropout": 0.0, "classifier_dropout": 0.0}


def assert_learnt(folder: Path) -> None:
    """The loss falls: features of random weights say little, but enough for that."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines if '"loss": ' in line]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.01


@pytest.fixture(scope="module")
def job(elmo, tmp_path_factory, launch, write_finetune_recipe) -> Path:
    """Where a job on RTE's files was run."""
    folder = tmp_path_factory.mktemp("job")
    write_finetune_recipe(folder, model=str(elmo), config=NO_DROPOUT, optimizer={"learning_rate": 1e-2})
    ended = launch(folder, "recipe.yaml")
    assert ended.status == 0, ended.said
    return folder


@pytest.mark.slow
def test_it_learns_over_features_that_stay(job, elmo):
    assert_learnt(job / "runs/small/glue-rte/seed-0")
    before = load_file(elmo / "model.safetensors")
    after = load_file(job / "runs/small/glue-rte/seed-0/model/model.safetensors")
    kept = {name for name in before if name.startswith("elmo.")}
    assert kept
    assert all(torch.equal(before[name], after[name]) for name in kept)


def test_it_is_asked_again(job, launch_program):
    folder = job / "runs/small/glue-rte/seed-0/model"
    (job / "rows.jsonl").write_text('{"sentence1": "the cat ran", "sentence2": "the yes dog"}\n')
    ended = launch_program(predict, job, str(folder), "rows.jsonl", "--task", "glue/rte")
    assert ended.status == 0, ended.said
    line = json.loads(next(line for line in ended.said.splitlines() if line.startswith("{")))
    assert line["prediction"] in ("entailment", "not_entailment")
    (guest,) = load_models([str(folder)])
    answer = guest.answer({"text": "the cat ran", "text_pair": "the yes dog"})
    assert answer["probabilities"] == pytest.approx(line["probabilities"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["glue/cola", "glue/stsb", "conll2003"])
def test_other_tasks_are_learnt(name, elmo, launch, write_finetune_recipe, tmp_path):
    write_finetune_recipe(tmp_path, model=str(elmo), task=[name], config=NO_DROPOUT, optimizer={"learning_rate": 1e-2})
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    assert_learnt(tmp_path / f"runs/small/{name.replace('/', '-')}/seed-0")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"features": "Both"}, "config.features: features is 'Both'; it is one of both, forward"),
        ({"cell_clip": -1.0}, "config.cell_clip: cell_clip is -1.0; it must be above 0"),
    ],
)
def test_a_setting_that_the_network_does_not_know_is_refused(
    elmo, launch, write_finetune_recipe, tmp_path, config, said
):
    write_finetune_recipe(tmp_path, model=str(elmo), config=config)
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 2, ended.said
    assert said in ended.said


@pytest.mark.slow
def test_a_byte_level_vocabulary_is_framed_and_saved(elmo_of_bytes, launch, write_finetune_recipe, tmp_path):
    write_finetune_recipe(tmp_path, model=str(elmo_of_bytes), plan={"num_train_epochs": 1})
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    model, _, tokenizer = load_fine_tuned(str(tmp_path / "runs/small/glue-rte/seed-0/model"))
    assert model.config.vocab_size == len(tokenizer) == len(load_tokenizer(elmo_of_bytes)) + 3


@pytest.mark.slow
def test_stopped_by_a_signal_it_resumes_bit_by_bit(job, elmo, launch, write_finetune_recipe, tmp_path):
    write_finetune_recipe(tmp_path, model=str(elmo), config=NO_DROPOUT, optimizer={"learning_rate": 1e-2})
    log = tmp_path / "runs/small/glue-rte/seed-0/metrics.jsonl"
    sent: list[int] = []

    def watch(pid: int) -> None:
        if not sent and log.exists() and len(log.read_text().splitlines()) > 10:
            os.kill(pid, signal.SIGTERM)
            sent.append(pid)

    assert launch(tmp_path, "recipe.yaml", watch=watch).status == 3
    assert launch(tmp_path, "recipe.yaml").status == 0
    left = [folder / "runs/small/glue-rte/seed-0/model/model.safetensors" for folder in (tmp_path, job)]
    assert left[0].read_bytes() == left[1].read_bytes()


@pytest.mark.slow
def test_two_processes_equal_one(elmo, launch, launch_together, write_finetune_recipe, tmp_path):
    """Without dropout, which is another one on each process."""
    write_finetune_recipe(tmp_path, model=str(elmo), config=NO_DROPOUT, plan={"num_train_epochs": 2})
    assert launch(tmp_path, "recipe.yaml", "--name", "one").status == 0
    for ended in launch_together(main, tmp_path, "recipe.yaml", "--name", "two"):
        assert ended.status == 0, ended.said
    assert "# processes 2" in (tmp_path / "runs/two/recipe.yaml").read_text()
    one, two = (load_file(tmp_path / f"runs/{name}/glue-rte/seed-0/model/model.safetensors") for name in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-4, rtol=1e-3)
