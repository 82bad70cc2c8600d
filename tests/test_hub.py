"""The whole road on the Hub: a corpus and a task come from it, a model goes there, is taken by its tag, and comes back.

Every step is a process of its own, which knows the server on loopback as its Hub.
"""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import ModelCard
from safetensors.numpy import load, load_file

from tests.hub_server import HubServer, Repo, blob

ROOT = Path(__file__).parents[1]
CLASSIFY = """
from transformers import pipeline
classify = pipeline("text-classification", model="alice/rte")
print(*(answer["label"] for answer in classify([{"text": "rala .", "text_pair": "mo ."}] * 2)))
"""
CONFIGS = """---
configs:
- config_name: rte
  data_files:
  - {split: train, path: rte/train.parquet}
  - {split: validation, path: rte/validation.parquet}
  - {split: test, path: rte/test.parquet}
---
"""
FILL = """
import sys
from transformers import pipeline
for revision in sys.argv[1:]:
    fill = pipeline("fill-mask", model="alice/mini", revision=revision)
    print(len(fill("rala " + fill.tokenizer.mask_token + " .")))
"""

PLAY = """
import sys
from finetune.ask.playground.models import load_models
from finetune.ask.playground.views import VIEWS
for guest in load_models(sys.argv[1:]):
    print(*VIEWS["fill"].ask(guest, "rala [MASK] .", 3))
"""


pytestmark = pytest.mark.slow  # real runs that push, and real processes that open what was pushed


@pytest.fixture(scope="module")
def hub(corpus):
    with HubServer() as server:
        texts = [path.read_text(encoding="utf-8") for path in sorted(corpus.iterdir())]
        publish(server, "alice/books", {
            "data/train-00000-of-00002.parquet": parquet({"text": texts[:20]}),
            "data/train-00001-of-00002.parquet": parquet({"text": texts[20:]}),
        })  # fmt: skip
        splits = {f"rte/{split}.parquet": parquet(rte(split)) for split in ("train", "validation", "test")}
        publish(server, "alice/glue", {"README.md": CONFIGS.encode(), **splits})
        yield server


def publish(server, name, files):
    """Put a data set on the server."""
    repo = server.repos["dataset", name] = Repo("alice", private=False)
    repo.commit(
        "main", {path: {"data": data, "oid": blob(data), "size": len(data)} for path, data in files.items()}, ""
    )


def parquet(columns):
    file = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), file)
    return file.getvalue().to_pybytes()


def rte(split):
    """RTE as the Hub's copy has it; a word of the second sentence decides."""
    chance = random.Random(split)
    labels = [chance.randint(0, 1) for _ in range({"train": 64}.get(split, 21))]
    return {
        "sentence1": ["rala mo ." for _ in labels],
        "sentence2": [("mo" if label else "rala") + f" {chance.choice('abc')} ." for label in labels],
        "label": [-1 if split == "test" else label for label in labels],
        "idx": list(range(len(labels))),
    }


@pytest.fixture(scope="module")
def run(hub, tmp_path_factory):
    """Start a process that knows the Hub on loopback, as `token`."""

    def start(folder, *argv, token="hf_alice"):
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1",
                       "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path_factory.mktemp("home")), "PYTHONPATH": str(ROOT),
                       "ACCELERATE_USE_CPU": "true"}  # fmt: skip
        command = [sys.executable, *argv]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=180)

    return start


@pytest.fixture(scope="module")
def published(hub, run, tmp_path_factory, write_recipe):
    folder = tmp_path_factory.mktemp("published")
    write_recipe(folder, plan={"save_steps": 10}, corpus={"sources": [{"kind": "hub", "path": "alice/books"}]})
    hub_options = ("--hub.repo", "alice/mini", "--hub.private", "True", "--hub.every", "save")
    ended = run(folder, "-m", "pretrain.run", "recipe.yaml", *hub_options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "hf_alice" not in ended.stdout + ended.stderr
    return folder


def test_each_saved_step_is_a_commit_with_a_tag(hub, published):
    repo = hub.repos["model", "alice/mini"]
    assert repo.private
    assert set(repo.tags) == {"step-10", "step-20", "step-30", "best"}
    here = (published / "runs/small/model/model.safetensors").read_bytes()
    assert (
        hub.files("alice/mini")["model.safetensors"] == hub.files("alice/mini", "step-30")["model.safetensors"] == here
    )
    assert hub.files("alice/mini", "step-10")["model.safetensors"] != here
    assert json.loads((published / "runs/small/hub.json").read_text())["commits"]["step-10"] == repo.tags["step-10"]


def test_another_process_opens_a_step_by_its_tag(run, published, tmp_path):
    ended = run(tmp_path, "-c", FILL, "step-10", "best", "main")
    assert ended.stdout.split() == ["5"] * 3, ended.stderr


def test_two_steps_play_side_by_side(run, published, tmp_path):
    ended = run(tmp_path, "-c", PLAY, "alice/mini@step-10", "alice/mini@step-30", "alice/mini")
    assert ended.returncode == 0, ended.stderr
    first, second, newest = ended.stdout.splitlines()[-3:]
    assert first != second == newest


def test_the_token_is_in_no_file(published):
    files = [path for path in published.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if b"hf_alice" in path.read_bytes()]


def test_the_card_says_what_it_is(published):
    card = ModelCard.load(published / "runs/small/model/README.md")
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "fill-mask"
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    last = [json.loads(line) for line in (published / "runs/small/metrics.jsonl").read_text().splitlines()][-1]
    assert results["masked_lm_loss"] == pytest.approx(last["eval_masked_lm_loss"], abs=1e-4)
    assert 'pipeline("fill-mask", model="alice/mini")' in card.content
    assert "-m pretrain.run recipe.yaml --hub.repo alice/mini" in card.content
    assert "kWh" in card.content
    assert (published / "runs/small/model/curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_token_without_the_right_stops_the_run_before_training(run, tmp_path, write_recipe, published):
    write_recipe(tmp_path)
    ended = run(tmp_path, "-m", "pretrain.run", "recipe.yaml", "--hub.repo", "alice/mini", token="hf_reader")
    assert ended.returncode == 2
    assert "write scope" in ended.stderr
    assert not list(tmp_path.rglob("metrics.jsonl"))


def test_the_corpus_of_a_run_is_a_commit(hub, published):
    read = f"hub `alice/books` at `{hub.repos['dataset', 'alice/books'].branches['main']}`"
    assert f"- {read}: " in (published / "runs/small/data_report.md").read_text()
    card = ModelCard.load(published / "runs/small/model/README.md")
    assert read in card.content
    assert card.data.datasets == ["alice/books"]


def test_a_corpus_is_streamed_from_it_too(hub, run, tmp_path, write_recipe):
    sources = [{"kind": "hub", "path": "alice/books", "weight": 1.0}]
    write_recipe(tmp_path, corpus={"sources": sources, "mode": "stream"}, plan={"max_steps": 4, "eval_steps": 0})
    ended = run(tmp_path, "-m", "pretrain.run", "recipe.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert hub.repos["dataset", "alice/books"].branches["main"] in (tmp_path / "runs/small/data_report.md").read_text()
    assert not list(tmp_path.rglob("*.ids"))


def test_a_pretraining_continues_from_the_step_that_is_named(hub, run, published, tmp_path, write_recipe):
    write_recipe(tmp_path, plan={"max_steps": 1, "eval_steps": 0}, optimizer={"learning_rate": 1e-30})
    said = {}
    for revision in ("step-10", "main"):
        model = ("--model", json.dumps({"from": "alice/mini", "revision": revision}), "--tokenizer", "")
        ended = run(tmp_path, "-m", "pretrain.run", "recipe.yaml", "--name", revision, *model)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        said[revision] = (tmp_path / f"runs/{revision}/model/README.md").read_text()
        weights = load_file(tmp_path / f"runs/{revision}/model/model.safetensors")
        theirs = load(hub.files("alice/mini", revision)["model.safetensors"])
        assert all(np.allclose(weights[name], theirs[name], atol=1e-6) for name in theirs)
    assert "alice/mini at step-10" in said["step-10"]
    ended = run(tmp_path, "-m", "pretrain.run", "recipe.yaml", "--name", "none", "--model",
                json.dumps({"from": "alice/mini", "revision": "step-11"}), "--tokenizer", "")  # fmt: skip
    assert ended.returncode == 2
    assert "step-11" in ended.stderr.splitlines()[-1]
    assert not (tmp_path / "runs/none/metrics.jsonl").exists()


@pytest.fixture(scope="module")
def tuned(hub, run, published, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    recipe = {
        "name": "rte", "model": "alice/mini", "revision": "step-20", "task": ["glue/rte"], "max_seq_length": 24,
        "data": {"source": "hub", "path": "alice/glue", "revision": "main"}, "optimizer": {"learning_rate": 3e-3},
        "schedule": {"warmup_ratio": 0.1},
        "plan": {"num_train_epochs": 6, "global_batch_size": 8, "per_device_train_batch_size": 8},
        "hub": {"repo": "alice/rte"},
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    ended = run(folder, "-m", "finetune.run", "recipe.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "hf_alice" not in ended.stdout + ended.stderr
    return folder


def test_a_fine_tuning_says_which_commits_it_began_with(hub, tuned):
    (line,) = map(json.loads, (tuned / "runs/rte/results.jsonl").read_text().splitlines())
    assert line["model_commit"] == hub.repos["model", "alice/mini"].tags["step-20"]
    assert f"train: hub alice/glue@{hub.repos['dataset', 'alice/glue'].branches['main']} rte train" in line["data"]


def test_what_was_fine_tuned_answers_with_its_labels(run, tuned, tmp_path):
    ended = run(tmp_path, "-c", CLASSIFY)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.split()) == 2
    assert set(ended.stdout.split()) <= {"entailment", "not_entailment"}


def test_its_card_names_data_and_score(hub, tuned):
    text = hub.files("alice/rte")["README.md"].decode()
    card = ModelCard(text)
    assert card.data.pipeline_tag == "text-classification"
    (line,) = map(json.loads, (tuned / "runs/rte/results.jsonl").read_text().splitlines())
    scores = {(result.metric_type, round(result.metric_value, 4)) for result in card.data.eval_results}
    assert ("accuracy", round(line["headline"]["value"], 4)) in scores
    assert re.search(r"alice/glue@[0-9a-f]{40}", card.content)
    assert 'pipeline("text-classification", model="alice/rte")' in card.content
