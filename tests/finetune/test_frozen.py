"""With a frozen encoder, is the head alone trained, is that said, and does a stopped job end the same?"""

import json
import os
import signal

import pytest
from safetensors.torch import load_file

from finetune.table.__main__ import main as print_table


def job(folder):
    return folder / "runs/small/glue-rte/seed-0"


def weights(folder):
    return load_file(job(folder) / "model/model.safetensors")


@pytest.fixture(scope="module")
def frozen(tmp_path_factory, launch, write_finetune_recipe):
    folder = tmp_path_factory.mktemp("frozen")
    write_finetune_recipe(folder, freeze_encoder=True, plan={"logging_steps": 2})
    ended = launch(folder, "recipe.yaml")
    assert ended.status == 0, ended.said
    return folder, ended.said


def test_the_encoder_stays_as_it_was_and_the_head_learns(frozen, launch_program):
    folder, said = frozen
    assert "the encoder is frozen: " in said
    (source,) = {json.loads(line)["model"] for line in (folder / "runs/small/results.jsonl").read_text().splitlines()}
    given = load_file(folder / source / "model.safetensors")
    found = weights(folder)
    encoder = [name for name in found if name in given and name.startswith("bert.")]
    assert len(encoder) > 20
    assert all(found[name].equal(given[name]) for name in encoder)
    assert found["classifier.bias"].abs().max() > 0  # it starts at 0
    assert ", frozen encoder |" in launch_program(print_table, folder, "runs/small").said


def test_stopped_it_resumes(frozen, tmp_path, launch, write_finetune_recipe):
    write_finetune_recipe(tmp_path, freeze_encoder=True, plan={"logging_steps": 2})
    sent = []

    def stop(pid):
        metrics = job(tmp_path) / "metrics.jsonl"
        if not sent and metrics.exists() and metrics.read_text():
            sent.append(os.kill(pid, signal.SIGTERM))

    assert launch(tmp_path, "recipe.yaml", watch=stop).status == 3
    assert launch(tmp_path, "recipe.yaml").status == 0
    found, expected = weights(tmp_path), weights(frozen[0])
    assert all(found[name].equal(expected[name]) for name in expected)


def test_a_loss_that_trains_the_encoder_is_refused(tmp_path, launch, write_finetune_recipe):
    write_finetune_recipe(tmp_path, freeze_encoder=True, auxiliary_lm=0.5)
    ended = launch(tmp_path, "recipe.yaml")
    assert (ended.status, "auxiliary_lm trains the encoder, and freeze_encoder keeps it" in ended.said) == (2, True)
