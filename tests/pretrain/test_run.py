"""Does a run end in the same model whatever happens on the way, stored or streamed, on one process or two?"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

from engine.train.window import PACE

CONFIGS = Path(__file__).parents[2] / "accelerate_configs"
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # each process draws its own


def metrics(folder: Path) -> list[dict]:
    """All reports, but for the speed."""
    path = folder / "runs/small/metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{name: value for name, value in line.items() if not name.endswith(PACE)} for line in lines]


def weights(folder: Path) -> bytes:
    return (folder / "runs/small/model/model.safetensors").read_bytes()


def assert_same_run(folder: Path, expected: Path) -> None:
    assert metrics(folder) == metrics(expected)
    assert weights(folder) == weights(expected)


def once_at(folder: Path, step: int, number: int) -> Callable[[int], None]:
    """Send the signal `number` as soon as `step` is reported."""
    sent: list[int] = []

    def watch(pid: int) -> None:
        if not sent and any(line["step"] >= step for line in metrics(folder)):
            os.kill(pid, number)
            sent.append(pid)

    return watch


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, launch, write_recipe) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    write_recipe(folder)
    ended = launch(folder, "recipe.yaml")
    assert ended.status == 0, ended.said
    return folder


def test_a_run_leaves_a_model_its_metrics_and_a_report(uninterrupted):
    run = uninterrupted / "runs/small"
    left = {path.name for path in run.iterdir()}
    assert left >= {"recipe.yaml", "data_report.md", "metrics.jsonl", "model", "finished.json"}
    assert [name for name in left if name.startswith(".")] == [".cloze"]  # says what the folder is
    assert [state.name for state in (run / "state").iterdir()] == ["step-30"]  # from which it can be extended
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(run / "model"), AutoTokenizer.from_pretrained(run / "model")
    assert model.config.vocab_size == len(tokenizer)
    lines = metrics(uninterrupted)
    assert [line["step"] for line in lines if "learning_rate" in line] == list(range(2, 31, 2))
    assert [line["step"] for line in lines if "eval_masked_lm_loss" in line] == [10, 20, 30]
    assert lines[-2]["epoch"] >= 2  # so that what follows also crosses epochs
    evaluated = [line["eval_masked_lm_loss"] for line in lines if "eval_masked_lm_loss" in line]
    assert evaluated == sorted(evaluated, reverse=True)
    assert json.loads((run / "finished.json").read_text())["steps"] == 30
    assert re.search(r"with a random next sentence as B \((49|50)\.", (run / "data_report.md").read_text())


def test_a_finished_run_is_left_alone_and_another_recipe_is_refused(uninterrupted, launch):
    before = {path: path.stat().st_mtime_ns for path in (uninterrupted / "runs").rglob("*")}
    ended = launch(uninterrupted, "recipe.yaml")
    assert (ended.status, "is finished" in ended.said) == (0, True)
    ended = launch(uninterrupted, "recipe.yaml", "--optimizer.learning_rate", "0.5")
    assert ended.status == 2
    assert "optimizer.learning_rate: 0.001 there, 0.5 here" in ended.said.splitlines()[-1]
    assert before == {path: path.stat().st_mtime_ns for path in (uninterrupted / "runs").rglob("*")}


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_stopped_by_a_signal_the_same_command_resumes(tmp_path, uninterrupted, launch, write_recipe, workers):
    write_recipe(tmp_path, plan={"dataloader_num_workers": workers})
    for step, number in ((4, signal.SIGTERM), (14, signal.SIGINT)):
        ended = launch(tmp_path, "recipe.yaml", watch=once_at(tmp_path, step, number))
        assert ended.status == 3, ended.said
        assert ended.said.splitlines()[-1].endswith("state saved; the same command resumes from here")
    assert launch(tmp_path, "recipe.yaml").status == 0
    assert_same_run(tmp_path, uninterrupted)


@pytest.mark.slow
def test_killed_and_damaged_it_resumes_from_what_is_whole(tmp_path, uninterrupted, launch, write_recipe):
    write_recipe(tmp_path, plan={"save_steps": 3})
    state = tmp_path / "runs/small/state"
    for step in (2, 8, 12, 20):
        ended = launch(tmp_path, "recipe.yaml", watch=once_at(tmp_path, step, signal.SIGKILL))
        assert ended.status == -signal.SIGKILL, ended.said
    newest = max(state.glob("step-*"), key=lambda folder: int(folder.name[5:])) / "optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    assert f"{newest.parent.name} is damaged (optimizer.safetensors has" in ended.said
    assert_same_run(tmp_path, uninterrupted)


@pytest.mark.slow
def test_a_process_of_its_own_gives_the_same_run_and_overwrite_makes_it_anew(tmp_path, uninterrupted, write_recipe):
    write_recipe(tmp_path)
    junk = tmp_path / "runs/small"
    junk.mkdir(parents=True)
    (junk / "recipe.yaml").write_text("# commit unknown\nname: other\n")  # as a run begins it
    (junk / "metrics.jsonl").write_text('{"step": 1}\n')
    command = [sys.executable, "-m", "pretrain.run", "recipe.yaml", "--overwrite", "True"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert_same_run(tmp_path, uninterrupted)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"tokenizer": "no/such"}, "no/such"),
        ({"model": {"num_hiden_layers": 2}}, "unknown key 'model.num_hiden_layers'"),
        ({"plan": {"per_device_train_batch_size": 0}}, "per_device_train_batch_size is 0; it must be 1 or more"),
        (
            {"corpus": {"sources": [{"kind": "docstrings", "whitespace": "keep"}]}},
            "leave it out, or say objective.next_sentence: false",
        ),
    ],
)
def test_a_mistake_ends_with_status_2_and_one_line(tmp_path, launch, write_recipe, changes, complaint):
    write_recipe(tmp_path, **changes)
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 2
    assert ended.said.splitlines()[-1].startswith("error: ")
    assert complaint in ended.said.splitlines()[-1]
    assert "Traceback" not in ended.said


# Processes

SLICED = {"max_steps": 30, "global_batch_size": 32, "logging_steps": 1}


@pytest.fixture(scope="module")
def on_one_process(tmp_path_factory, launch, write_recipe) -> Path:
    folder = tmp_path_factory.mktemp("one")
    write_recipe(folder, model=NO_DROPOUT, plan={**SLICED, "per_device_train_batch_size": 32})
    assert launch(folder, "recipe.yaml").status == 0
    return folder


def assert_equal_up_to_rounding(folder: Path, expected: Path) -> None:
    for line, wanted in zip(metrics(folder), metrics(expected), strict=True):
        assert line == pytest.approx(wanted, rel=2e-4), line["step"]
        assert line.get("learning_rate") == wanted.get("learning_rate")
    found, wanted = (load_file(path / "runs/small/model/model.safetensors") for path in (folder, expected))
    # AdamW divides by the gradient's size, so rounding shows most where a gradient is all but zero.
    for name, tensor in wanted.items():
        assert (found[name] - tensor).abs().max() < 2e-4, name
        assert (found[name] - tensor).abs().mean() < 1e-5, name


def two_processes(folder: Path) -> subprocess.Popen:
    config = ["--config_file", str(CONFIGS / "cpu_2.yaml"), "--main_process_port", "0"]
    command = [sys.executable, "-m", "accelerate.commands.launch", *config, "-m", "pretrain.run", "recipe.yaml"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.slow
def test_accumulation_gives_the_same_run(tmp_path, on_one_process, launch, write_recipe):
    # In slices of two: the last global batch of an epoch leaves some of sixteen empty.
    write_recipe(tmp_path, model=NO_DROPOUT, plan={**SLICED, "per_device_train_batch_size": 2})
    assert launch(tmp_path, "recipe.yaml").status == 0
    assert_equal_up_to_rounding(tmp_path, on_one_process)


@pytest.mark.slow
def test_two_processes_give_the_same_run(tmp_path, on_one_process, write_recipe):
    write_recipe(tmp_path, model=NO_DROPOUT, plan={**SLICED, "per_device_train_batch_size": 2})
    process = two_processes(tmp_path)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "2 process(es)" in said
    assert "# processes 2" in (tmp_path / "runs/small/recipe.yaml").read_text()
    assert_equal_up_to_rounding(tmp_path, on_one_process)


@pytest.mark.slow
def test_two_processes_stop_together_and_one_goes_on(tmp_path, on_one_process, launch, write_recipe):
    write_recipe(tmp_path, model=NO_DROPOUT, plan={**SLICED, "per_device_train_batch_size": 2})
    process, watch = two_processes(tmp_path), once_at(tmp_path, 5, signal.SIGTERM)
    while process.poll() is None:
        watch(process.pid)
        time.sleep(0.01)
    assert process.returncode != 0
    (state,) = (tmp_path / "runs/small/state").glob("step-*")
    assert 5 <= int(state.name[5:]) < 30
    ended = launch(tmp_path, "recipe.yaml")
    assert f"resuming from {state.name.replace('-', ' ')}" in ended.said
    assert_equal_up_to_rounding(tmp_path, on_one_process)


# Streams, phases, budgets, and the other optimizers

STREAM = {"mode": "stream", "chapter_tokens": 1500}


def run_through(folder: Path, launch, write_recipe, stops: tuple[int, ...] = (), **changes) -> Path:
    """Train to the end, with a stop at each of the steps `stops`."""
    folder.mkdir(exist_ok=True)
    write_recipe(folder, **changes)
    for step in stops:
        ended = launch(folder, "recipe.yaml", watch=once_at(folder, step, signal.SIGTERM))
        assert ended.status == 3, ended.said
    ended = launch(folder, "recipe.yaml")
    assert ended.status == 0, ended.said
    return folder


@pytest.fixture(scope="module")
def streamed(tmp_path_factory, launch, write_recipe) -> Path:
    return run_through(tmp_path_factory.mktemp("streamed"), launch, write_recipe, corpus=STREAM)


@pytest.mark.slow
def test_a_stream_leaves_a_model_and_no_text(streamed):
    lines = metrics(streamed)
    assert lines[-2]["epoch"] >= 1  # so that what follows also crosses epochs, and chapters
    evaluated = [line["eval_masked_lm_loss"] for line in lines if "eval_masked_lm_loss" in line]
    assert len(evaluated) == 3
    assert evaluated == sorted(evaluated, reverse=True)
    assert not list(streamed.glob("runs/stores/*"))
    assert {path.name for path in (streamed / "runs/small").iterdir()} >= {"model", "data_report.md"}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.slow
def test_a_stopped_stream_resumes_bit_by_bit(tmp_path, streamed, launch, write_recipe, workers):
    run_through(tmp_path, launch, write_recipe, stops=(6, 18), corpus=STREAM, plan={"dataloader_num_workers": workers})
    assert metrics(tmp_path) == metrics(streamed)
    assert weights(tmp_path) == weights(streamed)


EVERYTHING = {
    "objective": {"max_seq_length": 16, "whole_word_mask": True, "next_sentence": False},
    "last_phase": {"share": 0.4, "max_seq_length": 32, "per_device_train_batch_size": 8},
    "optimizer": {"name": "muon", "ema": 0.9},
    "schedule": {"lr_scheduler_type": "warmup_stable_decay", "cooldown_ratio": 0.3},
    "plan": {"gradient_checkpointing": True, "skip_spikes": True},
}


@pytest.mark.slow
def test_phases_muon_average_and_all_go_on_bit_by_bit(tmp_path, launch, write_recipe):
    whole = run_through(tmp_path / "whole", launch, write_recipe, **EVERYTHING)
    stopped = run_through(tmp_path / "stopped", launch, write_recipe, stops=(4, 20), **EVERYTHING)
    assert metrics(stopped) == metrics(whole)
    assert weights(stopped) == weights(whole)
    rates = {line["step"]: line["learning_rate"] for line in metrics(whole) if "learning_rate" in line}
    assert rates[10] == rates[20] == 1e-3  # warmed up, stable, and then falling
    assert rates[30] < rates[26] < 1e-3
    # The average is what was evaluated last and what is left.
    model = AutoModelForMaskedLM.from_pretrained(whole / "runs/small/model")
    assert not hasattr(model.cls, "seq_relationship")


@pytest.mark.slow
def test_the_budget_in_minutes_is_kept_and_the_schedule_fits_it(tmp_path, launch, write_recipe):
    changes = {"plan": {"max_steps": 0, "minutes": 0.2, "logging_steps": 1}, "schedule": {"warmup_ratio": 0.1}}
    folder = run_through(tmp_path, launch, write_recipe, **changes)
    rates = [line["learning_rate"] for line in metrics(folder) if "learning_rate" in line]
    assert max(rates) > 0.3e-3  # on a busy machine the first step takes a good part of the time
    assert rates.index(max(rates)) < len(rates) / 2
    assert rates[-1] < max(rates) / 4
    finished = json.loads((folder / "runs/small/finished.json").read_text())
    assert finished["steps"] == len(rates) > 3
    assert metrics(folder)[-1]["step"] == len(rates)  # it was evaluated at its end


@pytest.mark.slow
def test_the_budget_in_flops_is_counted_in_steps(tmp_path, launch, write_recipe):
    steps = []
    for name, flops in (("one", 2e9), ("two", 4e9)):
        changes = {"plan": {"max_steps": 0, "flops": flops, "logging_steps": 1}}
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
        ({"plan": {"minutes": 1.0}}, "exactly one of max_steps, minutes and flops"),
        (
            {"last_phase": {"share": 0.5, "max_seq_length": 64, "per_device_train_batch_size": 8}},
            "last_phase.max_seq_length is 64, but the model has 32 positions",
        ),
        (
            {"last_phase": {"share": 0.5, "block_size": 32, "per_device_train_batch_size": 8}},
            "last_phase says how large its examples are by max_seq_length, as the objective does, not block_size",
        ),
        ({"corpus": {"mode": "stream", "filters": ["c4_quality"]}}, "filters and deduplicate need all of the corpus"),
        ({"optimizer": {"name": "adam"}}, "allowed: adamw, lamb, muon, sgd"),
    ],
)
def test_what_cannot_be_is_told_before_training(tmp_path, launch, write_recipe, changes, complaint):
    write_recipe(tmp_path, **changes)
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 2
    assert complaint in ended.said.splitlines()[-1]
