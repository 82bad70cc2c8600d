"""Does an LSTM go the whole road: trained, resumed, on two processes, planned, reported and opened again?"""

import json
import math
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from corpus.text.medium import Text
from engine.convert import main as convert
from engine.run.saved import opened
from engine.train.batch import Batch
from engine.train.flops import count_flops, shape_of
from engine.train.window import PACE
from finetune.ask.playground.inside import attention, by_layer
from finetune.ask.playground.models import load_models
from finetune.ask.playground.views import continue_text
from finetune.ask.predict import main as predict
from finetune.run import main as finetune
from pretrain.objectives.causal_lm import CausalLM
from pretrain.plan import main as plan
from probe.evaluate import main as evaluate
from tokenizer.learn import BytePairs

CONFIGS = Path(__file__).parents[2] / "accelerate_configs"
SIZES = {"model_type": "lstm", "num_hidden_layers": 2, "embedding_size": 16, "hidden_size": 24}
NO_DROPOUT = dict.fromkeys(
    ("input_dropout", "hidden_dropout", "output_dropout", "embedding_dropout", "weight_drop"), 0.0
)  # each process draws its own


@pytest.fixture(scope="module")
def byte_pairs(corpus, tmp_path_factory) -> Path:
    texts = [path.read_text(encoding="utf-8") for path in sorted(corpus.iterdir())]
    folder = tmp_path_factory.mktemp("byte-pairs")
    BytePairs(name="byte-bpe", vocab_size=400).learn(iter([texts]), Counter(), 512).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def write(write_recipe, byte_pairs):
    """Write the recipe of an LSTM of 400 tokens and two layers."""

    def written(folder: Path, model=None, **changes) -> Path:
        changes["objective"] = {"name": "causal_lm", **changes.get("objective", {})}
        path = write_recipe(folder, tokenizer=str(byte_pairs), **changes)
        recipe = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**recipe, "model": {**SIZES, **(model or {})}}))
        return path

    return written


def metrics(folder: Path) -> list[dict]:
    path = folder / "runs/small/metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{name: value for name, value in line.items() if not name.endswith(PACE)} for line in lines]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, launch, write) -> Path:
    """A run with every dropout of the paper."""
    folder = tmp_path_factory.mktemp("lstm")
    write(folder)
    ended = launch(folder, "recipe.yaml")
    assert ended.status == 0, ended.said
    return folder


def test_it_learns_and_is_reported(uninterrupted):
    run = uninterrupted / "runs/small"
    evaluated = [line["eval_next_token_loss"] for line in metrics(uninterrupted) if "eval_next_token_loss" in line]
    assert len(evaluated) == 3
    assert evaluated == sorted(evaluated, reverse=True)
    assert (run / "report.html").stat().st_size > 10_000
    assert "in the year" in (run / "samples/step-30.md").read_text().lower()
    assert 0 < json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["mfu"] < 1
    card = (run / "model/README.md").read_text()
    assert "A lstm model of" in card


@pytest.mark.slow
def test_what_its_card_says_opens_it_in_another_process(uninterrupted):
    model = uninterrupted / "runs/small/model"
    card = (model / "README.md").read_text()
    usage = card.split("```python\n")[1].split("```")[0].replace("path/to/this/folder", str(model))
    ended = subprocess.run([sys.executable, "-c", usage], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("The old man sat by the")


@pytest.mark.slow
def test_stopped_by_a_signal_it_resumes_bit_by_bit(tmp_path, uninterrupted, launch, write):
    write(tmp_path)
    for step in (4, 14):
        sent: list[int] = []

        def watch(pid: int, step=step, sent=sent) -> None:
            if not sent and any(line["step"] >= step for line in metrics(tmp_path)):
                os.kill(pid, signal.SIGTERM)
                sent.append(pid)

        assert launch(tmp_path, "recipe.yaml", watch=watch).status == 3
    assert launch(tmp_path, "recipe.yaml").status == 0
    assert metrics(tmp_path) == metrics(uninterrupted)
    left = [folder / "runs/small/model/model.safetensors" for folder in (tmp_path, uninterrupted)]
    assert left[0].read_bytes() == left[1].read_bytes()


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.slow
def test_two_processes_give_the_same_run(tmp_path, launch, launch_together, write, precision, monkeypatch):
    from pretrain.run import main

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)
    slices = {"global_batch_size": 32, "per_device_train_batch_size": 8, "max_steps": 10, "eval_steps": 5}
    for name, device_batch in (("one", 16), ("two", 8)):
        write(tmp_path / name, model=NO_DROPOUT, plan={**slices, "per_device_train_batch_size": device_batch})
    assert launch(tmp_path / "one", "recipe.yaml").status == 0
    for ended in launch_together(main, tmp_path / "two", "recipe.yaml"):
        assert ended.status == 0, ended.said
    assert "# processes 2" in (tmp_path / "two/runs/small/recipe.yaml").read_text()
    near = {"no": 2e-4, "bf16": 2e-2}[precision]
    for line, wanted in zip(metrics(tmp_path / "two"), metrics(tmp_path / "one"), strict=True):
        assert line == pytest.approx(wanted, rel=near), line["step"]
    found, wanted = (load_file(tmp_path / name / "runs/small/model/model.safetensors") for name in ("two", "one"))
    for name, tensor in wanted.items():
        assert (found[name] - tensor).abs().mean() < near, name


def test_its_loss_by_place_is_about_that_of_its_last_evaluation(uninterrupted, launch_program):
    """The evaluation reads blocks of several documents, and counts their ends too."""
    argv = ("runs/small", "--by_place", "--window", "33", "--format", "json")
    ended = launch_program(evaluate, uninterrupted, *argv)
    assert ended.status == 0, ended.said
    found = json.loads(ended.said[ended.said.index("{") :])["runs/small"]
    evaluated = [line["eval_next_token_loss"] for line in metrics(uninterrupted) if "eval_next_token_loss" in line]
    assert found["loss"] == pytest.approx(evaluated[-1], abs=0.2)
    assert list(found["by_place"]) == ["4", "8", "12", "16", "21", "25", "29", "33"]
    assert sum(found["by_place"].values()) / 8 == pytest.approx(found["loss"], abs=0.05)
    assert found["bits_per_byte"] < found["loss"] / math.log(2)  # a token has a byte or more


# What it will need


@pytest.mark.parametrize("form", ["as it is", "without numbers", "on no device"])
def test_its_arithmetic_is_counted(byte_pairs, form):
    objective = CausalLM(name="causal_lm")
    with torch.device("meta" if form == "on no device" else "cpu"):
        model = objective.build(SIZES, Text.of(AutoTokenizer.from_pretrained(byte_pairs), ""))
    if form == "without numbers":
        model = shape_of(model)
    ids = torch.zeros(3, 8, dtype=torch.int64)
    y = {"positions": torch.arange(24), "tokens": ids.flatten()}
    batch = Batch({"input_ids": ids}, y, {"next_token": 24}, (8,) * 3, 24)
    weights = sum(parameter.numel() for parameter in model.parameters() if parameter.ndim == 2)
    # A multiply-add for each weight and place, and two more in the gradient.
    assert count_flops(model, objective.loss, batch) == 6 * 24 * weights


@pytest.mark.slow
def test_it_is_planned(tmp_path, uninterrupted, write, launch_program):
    write(tmp_path)
    ended = launch_program(plan, tmp_path, "recipe.yaml", "--format", "json")
    assert ended.status == 0, ended.said
    found = json.loads(ended.said[ended.said.index("{") :])
    finished = json.loads((uninterrupted / "runs/small/finished.json").read_text())
    assert found["parameters"]["all"] == finished["parameters"]
    assert found["parameters"].keys() == {"all", "lstm.embeddings", "lstm.layers", "lm_head"}
    assert found["memory"]["fits"]
    assert found["time"]["tokens_per_second"] > 0
    ended = launch_program(plan, tmp_path, "recipe.yaml", "--hardware", "h100", "--format", "json")
    assert ended.status == 0, ended.said


# Opened again


def test_a_saved_one_is_opened_converted_and_played_with(uninterrupted, tmp_path, launch_program):
    run = uninterrupted / "runs/small"
    assert opened(str(run / "model")).training is False
    copy = tmp_path / "half"
    ended = launch_program(convert, tmp_path, str(run), "--to", "safetensors", "--dtype", "bf16", "--out", str(copy))
    assert ended.status == 0, ended.said
    (guest,) = load_models([str(copy)])
    *_, last = continue_text(guest, "Kala", 0, 1.0, 5, 0)
    assert "Kala" in last
    with pytest.raises(ValueError, match="does not tell its attention"):
        attention(guest, "Kala mo", "", 1, 0)
    with pytest.raises(ValueError, match="has layers of 24 features, and its output layer reads 16"):
        by_layer(guest, "Kala mo")


def test_the_page_writes_what_generate_writes(uninterrupted):
    source = str(uninterrupted / "runs/small/model")
    (guest,) = load_models([source])
    from finetune.ask.playground.views import generate

    *_, said = generate(guest, "Kala", 0, 1.0, 8, torch.Generator())
    tokenizer, model = AutoTokenizer.from_pretrained(source), AutoModelForCausalLM.from_pretrained(source)
    ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer.encode("Kala")]])
    mask = torch.ones_like(ids)
    assert model.generate(ids, attention_mask=mask, max_new_tokens=8, do_sample=False)[0, : len(said)].tolist() == said


def one_line(ended) -> str:
    assert ended.status == 2, ended.said
    assert "Traceback" not in ended.said
    return ended.said.splitlines()[-1]


def test_what_it_cannot_do_is_told_in_a_line(uninterrupted, tmp_path, launch_program, launch, write):
    model = str(uninterrupted / "runs/small/model")
    said = one_line(launch_program(convert, tmp_path, model, "--to", "onnx", "--out", str(tmp_path / "onnx")))
    assert "torch does not export a lstm model to ONNX" in said
    assert not (tmp_path / "onnx").exists()
    (tmp_path / "rows.jsonl").write_text('{"text": "Kala"}\n')
    assert "not fine-tuned" in one_line(launch_program(predict, tmp_path, model, "rows.jsonl"))
    rows = "text,label\n" + "Kala mo,good\nMo kala,bad\n" * 8
    for split in ("train", "dev"):
        (tmp_path / f"{split}.csv").write_text(rows)
    recipe = {
        "name": "tuned", "model": model, "task": ["own/classification"],
        "data": {"source": "folder", "path": str(tmp_path), "files": {"train": "train.csv", "dev": "dev.csv"},
                 "columns": {"text": "text", "label": "label"}},
        "optimizer": {}, "schedule": {},
        "plan": {"num_train_epochs": 1, "global_batch_size": 8, "per_device_train_batch_size": 8},
    }  # fmt: skip
    (tmp_path / "tuned.yaml").write_text(yaml.safe_dump(recipe))
    assert "no SequenceClassification class for a lstm" in one_line(launch_program(finetune, tmp_path, "tuned.yaml"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"objective": {"across_documents": False}}, "model_type lstm has no positions that could begin again"),
        ({"plan": {"gradient_checkpointing": True}}, "does not support activation checkpointing"),
        ({"model": {"hidden_dropout": 1.5}}, "hidden_dropout is 1.5; it is a share, from 0 to 1"),
        ({"model": {"hidden_sise": 8}}, "unknown key 'model.hidden_sise'; did you mean 'hidden_size'"),
        ({"model": {"model_type": "gru"}}, "model.model_type is 'gru'; the causal_lm objective trains gpt2, "),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(tmp_path, launch, write, change, complaint):
    write(tmp_path, **change)
    assert complaint in one_line(launch(tmp_path, "recipe.yaml"))
