"""Do streams, phases, budgets and other optimizers train as they say, and go on after a stop as if nothing had been?"""

import json
import os
import signal
from pathlib import Path

import pytest
from transformers import AutoModelForMaskedLM

from engine.window import PACE

STREAM = {"mode": "stream", "chapter_tokens": 1500}


def metrics(folder: Path) -> list[dict]:
    path = folder / "runs/small/metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{name: value for name, value in line.items() if name not in PACE} for line in lines]


def weights(folder: Path) -> bytes:
    return (folder / "runs/small/model/model.safetensors").read_bytes()


def stop_at(folder: Path, step: int, number: int):
    sent: list[int] = []

    def watch(pid: int) -> None:
        if not sent and any(line["step"] >= step for line in metrics(folder)):
            os.kill(pid, number)
            sent.append(pid)

    return watch


def run_through(folder: Path, launch, write_recipe, stops: tuple[int, ...] = (), **changes) -> Path:
    """Train to the end, with a stop at each of the steps `stops`."""
    folder.mkdir(exist_ok=True)
    write_recipe(folder, **changes)
    for step in stops:
        ended = launch(folder, "recipe.yaml", watch=stop_at(folder, step, signal.SIGTERM))
        assert ended.status == 3, ended.said
    ended = launch(folder, "recipe.yaml")
    assert ended.status == 0, ended.said
    return folder


@pytest.fixture(scope="module")
def streamed(tmp_path_factory, launch, write_recipe) -> Path:
    return run_through(tmp_path_factory.mktemp("streamed"), launch, write_recipe, corpus=STREAM)


def test_a_stream_leaves_a_model_and_no_text(streamed):
    lines = metrics(streamed)
    assert lines[-2]["epoch"] >= 1  # so that what follows also crosses epochs, and chapters
    judged = [line["eval_masked_lm_loss"] for line in lines if "eval_masked_lm_loss" in line]
    assert len(judged) == 3
    assert judged == sorted(judged, reverse=True)
    assert not list(streamed.glob("runs/stores/*"))
    assert {path.name for path in (streamed / "runs/small").iterdir()} >= {"model", "data_report.md"}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_stream_goes_on_bit_by_bit(tmp_path, streamed, launch, write_recipe, workers):
    run_through(tmp_path, launch, write_recipe, stops=(6, 18), corpus=STREAM, plan={"workers": workers})
    assert metrics(tmp_path) == metrics(streamed)
    assert weights(tmp_path) == weights(streamed)


EVERYTHING = {
    "objective": {"whole_words": True, "next_sentence": False},
    "length": 16,
    "last_phase": {"share": 0.4, "length": 32, "device_batch": 8},
    "optimizer": {"name": "muon", "ema": 0.9},
    "schedule": {"decay": "wsd", "cooldown_rate": 0.3},
    "plan": {"checkpoint_activations": True, "skip_spikes": True},
}


def test_phases_muon_average_and_all_go_on_bit_by_bit(tmp_path, launch, write_recipe):
    whole = run_through(tmp_path / "whole", launch, write_recipe, **EVERYTHING)
    stopped = run_through(tmp_path / "stopped", launch, write_recipe, stops=(4, 20), **EVERYTHING)
    assert metrics(stopped) == metrics(whole)
    assert weights(stopped) == weights(whole)
    rates = {line["step"]: line["lr"] for line in metrics(whole) if "lr" in line}
    assert rates[10] == rates[20] == 1e-3  # warmed up, stable, and then falling
    assert rates[30] < rates[26] < 1e-3
    # The average is what was judged last and what is left.
    model = AutoModelForMaskedLM.from_pretrained(whole / "runs/small/model")
    assert not hasattr(model.cls, "seq_relationship")


def test_the_budget_in_minutes_is_kept_and_the_schedule_fits_it(tmp_path, launch, write_recipe):
    changes = {"plan": {"steps": 0, "minutes": 0.2, "log_every": 1}, "schedule": {"warmup_rate": 0.1}}
    folder = run_through(tmp_path, launch, write_recipe, **changes)
    rates = [line["lr"] for line in metrics(folder) if "lr" in line]
    assert max(rates) > 0.3e-3  # on a busy machine the first step takes a good part of the time
    assert rates.index(max(rates)) < len(rates) / 2
    assert rates[-1] < max(rates) / 4
    finished = json.loads((folder / "runs/small/finished.json").read_text())
    assert finished["steps"] == len(rates) > 3
    assert metrics(folder)[-1]["step"] == len(rates)  # it was judged at its end


def test_the_budget_in_flops_is_counted_in_steps(tmp_path, launch, write_recipe):
    steps = []
    for name, flops in (("one", 2e9), ("two", 4e9)):
        changes = {"plan": {"steps": 0, "flops": flops, "log_every": 1}}
        folder = run_through(tmp_path / name, launch, write_recipe, **changes)
        steps.append(json.loads((folder / "runs/small/finished.json").read_text())["steps"])
    assert steps[1] == pytest.approx(2 * steps[0], abs=1)
    # 6 floating point operations a parameter of the layers and token, at least; the embeddings need none, masked
    # positions meet the vocabulary.
    layers = 2 * (4 * 32 * 32 + 2 * 32 * 64)
    assert 2e9 / (steps[0] * 32 * 32) > 6 * layers
    assert 2e9 / (steps[0] * 32 * 32) < 3 * 6 * layers


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"plan": {"minutes": 1.0}}, "exactly one of steps, minutes and flops"),
        (
            {"last_phase": {"share": 0.5, "length": 64, "device_batch": 8}},
            "length is 64, but the model has 32 positions",
        ),
        ({"corpus": {"mode": "stream", "filters": ["c4_quality"]}}, "filters and deduplicate need all of the corpus"),
        ({"optimizer": {"name": "adam"}}, "allowed: adamw, lamb, muon"),
    ],
)
def test_what_cannot_be_is_told_before_training(tmp_path, launch, write_recipe, changes, complaint):
    write_recipe(tmp_path, **changes)
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 2
    assert complaint in ended.said.splitlines()[-1]
