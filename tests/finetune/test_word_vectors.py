"""Are word vectors read for a task as they are, and the texts of a pair each by itself?"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import networks  # noqa: F401, it makes word vectors known to the Auto classes
from finetune.ask.model import load_fine_tuned
from finetune.decoder import add_frame
from finetune.model import open_model
from finetune.tasks.task import find_task
from networks.word_vectors import WordVectors, WordVectorsConfig
from tests.finetune.conftest import EVERY_WORD
from tokenizer.learn import WholeWords
from tokenizer.load import load_tokenizer

SMALL: dict[str, Any] = {"encoder_size": 16, "encoder_layers": 1, "classifier_size": 16}
TEXTS = ("the cat sat on paris", "a red dog")


GLOVE = pytest.param(True, marks=pytest.mark.slow)  # another table is added, and all else is the same


@pytest.fixture(scope="module", params=[False, GLOVE], ids=["word2vec", "glove"])
def vectors(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vectors") / "model"
    tokenizer = WholeWords(name="words", min_frequency=1).learn(iter([[EVERY_WORD] * 2]), Counter(EVERY_WORD), 64)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = WordVectorsConfig(vocab_size=len(tokenizer), hidden_size=12, summed=request.param)
    WordVectors(config).save_pretrained(folder)
    return folder


def opened(folder, name="glue/rte", fresh=False):
    task, tokenizer = find_task(name), add_frame(load_tokenizer(folder))
    torch.manual_seed(1)
    model, random = open_model(str(folder), task.question, task, tokenizer, SMALL, fresh)
    return model.eval(), tokenizer, random


def same(one, other):
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_each_text_of_a_pair_is_read_without_what_frames_it(vectors):
    model, tokenizer, _ = opened(vectors)
    given = []
    model.classifier.register_forward_pre_hook(lambda _, arguments: given.append(arguments))
    model(**tokenizer(*([text] for text in TEXTS), return_tensors="pt"))
    features, mask = given[0]
    for row, real, text in zip(features, mask, TEXTS, strict=True):
        plain = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        same(row[real.bool()], model.read(plain)[0])


@pytest.mark.parametrize("name", ["glue/rte", "glue/cola"])
def test_a_row_in_company_is_answered_as_alone(vectors, name):
    model, tokenizer, _ = opened(vectors, name)
    pairs = [("the cat sat on a red old dog", "it ran"), ("a dog", "anna was in rome near the cat"), ("", "a")]
    columns = list(zip(*pairs, strict=True))[: 2 if name == "glue/rte" else 1]
    together = model(**tokenizer(*map(list, columns), padding=True, return_tensors="pt")).logits
    for row in range(3):
        same(together[row], model(**tokenizer(*([column[row]] for column in columns), return_tensors="pt")).logits[0])


def test_all_but_the_vectors_is_new_and_learns(vectors):
    model, tokenizer, random = opened(vectors)
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert trained
    assert not any(name.startswith("word_vectors.") for name in trained)
    assert trained <= set(random)
    kept = load_file(vectors / "model.safetensors")["words.weight"]
    assert torch.equal(model.word_vectors.words.weight[: len(kept)], kept)
    batch = tokenizer(*([text] for text in TEXTS), return_tensors="pt")
    model.train()(**batch).logits.square().sum().backward()
    assert {name for name, value in model.named_parameters() if value.grad is not None} == trained


def test_fresh_vectors_are_others_and_as_long(vectors):
    """A control that could not be read would be none."""
    fresh, tokenizer, random = opened(vectors, fresh=True)
    model, *_ = opened(vectors)
    assert random == ["all"]
    assert fresh.config.frame_token_ids == model.config.frame_token_ids
    assert not fresh.word_vectors.words.weight.requires_grad
    ids = tokenizer(TEXTS[0], add_special_tokens=False, return_tensors="pt")["input_ids"]
    assert not torch.allclose(fresh.read(ids), model.read(ids))
    same(fresh.read(ids).norm(dim=-1), model.read(ids).norm(dim=-1))


@pytest.mark.slow
def test_a_job_learns_is_saved_and_is_asked_again(vectors, launch, write_finetune_recipe, tmp_path):
    changes = {**SMALL, "feature_dropout": 0.0, "classifier_dropout": 0.0}
    write_finetune_recipe(tmp_path, model=str(vectors), config=changes, optimizer={"learning_rate": 1e-2})
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    job = tmp_path / "runs/small/glue-rte/seed-0"
    losses = [json.loads(line)["loss"] for line in (job / "metrics.jsonl").open() if '"loss": ' in line]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.05
    model, _, tokenizer = load_fine_tuned(str(job / "model"))
    assert model.config.vocab_size == len(tokenizer) == len(load_tokenizer(vectors)) + 3
    kept = load_file(vectors / "model.safetensors")["words.weight"]
    assert torch.equal(model.word_vectors.words.weight[: len(kept)], kept)
