"""Does ELMo go the whole road: cut, trained, resumed, planned, reported, opened again, and refused where it must be?"""

import json
import os
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from corpus.text.chapters import StoredText
from corpus.text.medium import Text
from corpus.text.source import Source
from corpus.text.store import prepare
from engine.convert import main as convert
from engine.run.saved import opened
from engine.train.flops import count_flops, shape_of
from engine.train.window import PACE
from finetune.ask.playground.models import load_models
from networks.elmo import BEGINS, END, FRAMES, GOES_ON
from pretrain.examples import ChapterExamples
from pretrain.objectives.elmo import Elmo
from pretrain.plan import main as plan
from probe.evaluate import main as evaluate
from tokenizer.learn import BytePairs
from tokenizer.load import load_tokenizer
from tokenizer.spelling import spell

SIZES = {"projection_size": 16, "cell_size": 24, "filters": [[1, 8], [3, 8]], "max_characters": 16, "dropout": 0.1}
SIZE = 32


@pytest.fixture(scope="module")
def examples(corpus, tokenizer_folder, tmp_path_factory) -> ChapterExamples:
    tokenizer = load_tokenizer(tokenizer_folder)
    store, _ = prepare([Source("text", str(corpus))], tokenizer, "hash", tmp_path_factory.mktemp("s"), 0.1, processes=1)
    chapter = StoredText(store, 0, store.num_tokens).chapter(0, 0, {})
    return ChapterExamples(chapter, Elmo(name="elmo"), Text.of(tokenizer, "hash"), SIZE, key=3)


def write(write_recipe, folder: Path, **changes) -> Path:
    path = write_recipe(folder, **{**changes, "objective": {"name": "elmo", **changes.get("objective", {})}})
    recipe = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**recipe, "model": {**SIZES, **changes.get("model", {})}}))
    return path


def metrics(folder: Path) -> list[dict]:
    path = folder / "runs/small/metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{name: value for name, value in line.items() if not name.endswith(PACE)} for line in lines]


# Cutting


def test_each_token_is_asked_once_in_either_direction_beside_its_neighbour(examples):
    """The blocks of a chapter, one behind the other, are its text; all but its first or last token is asked."""
    asked: dict[str, list[int]] = {"next": [], "before": []}
    text: list[int] = []
    for row in range(len(examples.units)):
        batch = examples.batch(np.array([row]))
        ids, places = batch.x["input_ids"].flatten(), batch.y["positions"]
        assert torch.equal(batch.y["next"], ids[places + 1])
        assert torch.equal(batch.y["before"], ids[places])
        real = int(batch.x["attention_mask"].sum())
        assert batch.counts == {"forward": real - 1, "backward": real - 1}
        text += ids[:real].tolist() if not text else ids[1:real].tolist()
        for name, found in asked.items():
            found += batch.y[name].tolist()
    assert asked == {"next": text[1:], "before": text[:-1]}


def test_a_token_is_spelt_without_the_vocabularys_marks(corpus, tokenizer_folder):
    pieces = load_tokenizer(tokenizer_folder)
    found, ids = spell(pieces), pieces.get_vocab()
    assert found[ids["[SEP]"]] == ("frames", b"[SEP]")
    assert found[ids["[UNK]"]] == ("begins", b"[UNK]")
    assert found[ids["##a"]] == ("goes on", b"a")
    assert found[ids["a"]] == ("begins", b"a")
    texts = ["Ärger of the café, the café. " * 20]
    letters = BytePairs(name="byte-bpe", vocab_size=300).learn(iter([texts]), Counter(texts[0]), SIZE)
    found = spell(letters)
    assert found[letters.eos_token_id] == ("frames", b"<|endoftext|>")
    written = [found[number] for number in letters.encode(" of the café")]
    assert b"".join(text for _, text in written) == "ofthecafé".encode()
    assert written[0][0] == "begins"
    # All are told apart but those that differ in a blank before them alone.
    assert len({found[number] for number in letters.get_vocab().values()}) > 256


# A run


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, launch, write_recipe) -> Path:
    folder = tmp_path_factory.mktemp("elmo")
    write(write_recipe, folder)
    ended = launch(folder, "recipe.yaml")
    assert ended.status == 0, ended.said
    assert "slower than" not in ended.said
    return folder


@pytest.mark.slow
def test_both_directions_learn_and_are_reported(uninterrupted):
    run = uninterrupted / "runs/small"
    for name in ("forward", "backward"):
        losses = [line[f"eval_{name}_loss"] for line in metrics(uninterrupted) if f"eval_{name}_loss" in line]
        assert losses == sorted(losses, reverse=True)
        assert len(losses) == 3
    first = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert 0 < first["mfu"] < 1
    assert "from the left" in (run / "samples/step-30.md").read_text()
    card = (run / "model/README.md").read_text()
    assert "A elmo model of" in card
    assert "import cloze, networks" in card
    assert "forward_perplexity" in card


def test_a_saved_one_has_the_characters_of_its_tokenizer(uninterrupted, tokenizer_folder):
    model = opened(str(uninterrupted / "runs/small/model"))
    ids = load_tokenizer(tokenizer_folder).get_vocab()
    table = model.elmo.tokens.characters
    assert table[ids["##a"]][:3].tolist() == [GOES_ON, ord("a"), END]
    assert table[ids["a"]][:3].tolist() == [BEGINS, ord("a"), END]
    assert table[ids["[SEP]"], 0] == FRAMES
    assert model.config.separator_token_id == ids["[SEP]"]


@pytest.mark.slow
def test_stopped_by_a_signal_it_resumes_bit_by_bit(tmp_path, uninterrupted, launch, write_recipe):
    write(write_recipe, tmp_path)
    sent: list[int] = []

    def watch(pid: int) -> None:
        if not sent and any(line["step"] >= 14 for line in metrics(tmp_path)):
            os.kill(pid, signal.SIGTERM)
            sent.append(pid)

    assert launch(tmp_path, "recipe.yaml", watch=watch).status == 3
    assert launch(tmp_path, "recipe.yaml").status == 0
    assert metrics(tmp_path) == metrics(uninterrupted)
    left = [folder / "runs/small/model/model.safetensors" for folder in (tmp_path, uninterrupted)]
    assert left[0].read_bytes() == left[1].read_bytes()


# What it will need


@pytest.mark.parametrize("form", ["as it is", "without numbers", "on no device"])
def test_its_arithmetic_is_counted(examples, tokenizer_folder, form):
    objective, batch = Elmo(name="elmo"), examples.batch(np.arange(4))
    with torch.device("meta" if form == "on no device" else "cpu"):
        model = objective.build(SIZES, Text(Text.of(load_tokenizer(tokenizer_folder), "").vocabulary))
    if form == "without numbers":
        model = shape_of(model)
    layers = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "elmo.layers" in name)
    found = count_flops(model, objective.loss, batch)
    # A multiply-add for each weight and place, and two more in the gradient; of the softmax, for each answer.
    sure = 6 * (layers * batch.room + model.softmax.weight.numel() * sum(batch.counts.values()))
    assert sure < found < 1.5 * sure  # the rest are the characters


@pytest.mark.slow
def test_it_is_planned(tmp_path, uninterrupted, write_recipe, launch_program):
    write(write_recipe, tmp_path)
    for hardware in ("cpu", "h100"):
        ended = launch_program(plan, tmp_path, "recipe.yaml", "--hardware", hardware, "--format", "json")
        assert ended.status == 0, ended.said
        found = json.loads(ended.said[ended.said.index("{") :])
        assert found["time"]["tokens_per_second"] > 0
    finished = json.loads((uninterrupted / "runs/small/finished.json").read_text())
    assert found["parameters"]["all"] == finished["parameters"]
    assert found["parameters"].keys() == {"all", "elmo.tokens", "elmo.layers", "softmax"}


# Opened again


def test_it_is_converted_and_shown(uninterrupted, tmp_path, launch_program):
    run, copy = uninterrupted / "runs/small", tmp_path / "half"
    ended = launch_program(convert, tmp_path, str(run), "--to", "safetensors", "--dtype", "bf16", "--out", str(copy))
    assert ended.status == 0, ended.said
    (guest,) = load_models([str(copy)])
    assert guest.abilities == ("occurrences",)


def one_line(ended) -> str:
    assert ended.status == 2, ended.said
    assert "Traceback" not in ended.said
    return ended.said.splitlines()[-1]


def test_what_it_cannot_do_is_told_in_a_line(uninterrupted, launch_program):
    ended = launch_program(evaluate, uninterrupted, "runs/small")
    assert "ElmoForPreTraining, which is no masked and no causal language model" in one_line(ended)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model": {"model_type": "lstm"}}, "model.model_type is 'lstm'; the elmo objective trains elmo"),
        ({"model": {"cell_sise": 8}}, "unknown key 'model.cell_sise'; did you mean 'cell_size'"),
        ({"model": {"dropout": 1.5}}, "model.dropout is 1.5; it is a share, from 0 to 1"),
        ({"model": {"max_characters": 4}}, "max_characters is 4; it must be 6 or more"),
        ({"objective": {"block_size": 4}}, "objective.block_size is 4; examples need 8 tokens or more"),
        ({"plan": {"gradient_checkpointing": True}}, "does not support activation checkpointing"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(tmp_path, launch, write_recipe, change, complaint):
    write(write_recipe, tmp_path, **change)
    assert complaint in one_line(launch(tmp_path, "recipe.yaml"))
