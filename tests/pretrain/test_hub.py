"""Does a pretraining run publish its saved steps, and can another process take one by its tag?"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from tests.hub_server import HubServer

ROOT = Path(__file__).parents[2]
FILL = """
import sys
from transformers import pipeline
for revision in sys.argv[1:]:
    fill = pipeline("fill-mask", model="alice/mini", revision=revision)
    print(len(fill("rala " + fill.tokenizer.mask_token + " .")))
"""


@pytest.fixture(scope="module")
def hub():
    with HubServer() as server:
        yield server


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
    write_recipe(folder, plan={"save_every": 10})
    argv = (
        "-m",
        "pretrain.run",
        "recipe.yaml",
        "--hub.repo",
        "alice/mini",
        "--hub.private",
        "True",
        "--hub.every",
        "save",
    )
    ended = run(folder, *argv)
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
