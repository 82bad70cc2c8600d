"""With a frozen encoder, or with LoRA, are few weights trained, is that said, and does a stopped job end the same?"""

import json
import os
import re
import signal

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from finetune.run import main
from finetune.table.__main__ import main as print_table


def job(folder):
    return folder / "runs/small/glue-rte/seed-0"


def weights(folder):
    return load_file(job(folder) / "model/model.safetensors")


KINDS = {"frozen encoder": {"freeze_encoder": True}, "LoRA 4": {"lora_rank": 4}}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
BEST = {"logging_steps": 2, "eval_steps": 10, "load_best_model_at_end": True, "num_train_epochs": 2}


@pytest.fixture(scope="module", params=KINDS)
def trained(request, tmp_path_factory, launch, write_finetune_recipe):
    """A finished job, what it said, its kind in the table, and how it was asked for."""
    if "lora_rank" in KINDS[request.param]:
        pytest.importorskip("peft")
    folder = tmp_path_factory.mktemp("few")
    asked = {**KINDS[request.param], "plan": BEST}
    write_finetune_recipe(folder, **asked)
    ended = launch(folder, "recipe.yaml")
    assert ended.status == 0, ended.said
    return folder, ended.said, request.param, asked


def test_few_weights_are_trained_and_the_model_opens_as_any_other(trained, launch_program):
    folder, said, kind, _ = trained
    few, of_all = (
        int(count.replace(",", "")) for count in re.search(r"is frozen: ([\d,]+) of ([\d,]+) ", said).groups()
    )
    assert 0 < few < of_all / 2
    (line,) = map(json.loads, (folder / "runs/small/results.jsonl").read_text().splitlines())
    given, found = load_file(folder / line["model"] / "model.safetensors"), weights(folder)
    _, report = AutoModelForSequenceClassification.from_pretrained(job(folder) / "model", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    encoder = [name for name in found if name in given and name.startswith("bert.encoder.")]
    same = [found[name].equal(given[name]) for name in encoder]
    assert len(encoder) > 20
    assert all(same) if kind == "frozen encoder" else not all(same)
    assert found["classifier.bias"].abs().max() > 0  # it starts at 0
    assert f", {kind} |" in launch_program(print_table, folder, "runs/small").said


@pytest.mark.slow
def test_stopped_it_ends_the_same(trained, tmp_path, launch, write_finetune_recipe):
    folder, _, _, asked = trained
    write_finetune_recipe(tmp_path, **asked)
    sent = []

    def stop(pid):
        metrics = job(tmp_path) / "metrics.jsonl"
        if not sent and metrics.exists() and metrics.read_text():
            sent.append(os.kill(pid, signal.SIGTERM))

    assert launch(tmp_path, "recipe.yaml", watch=stop).status == 3
    assert launch(tmp_path, "recipe.yaml").status == 0
    found, expected = weights(tmp_path), weights(folder)
    assert all(found[name].equal(expected[name]) for name in expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_equal_one(kind, tmp_path, launch, launch_together, write_finetune_recipe):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_finetune_recipe(tmp_path / name, **KINDS[kind], plan=BEST, config=NO_DROPOUT)
    assert launch(tmp_path / "one", "recipe.yaml").status == 0
    ranks = launch_together(main, tmp_path / "two", "recipe.yaml")
    assert [rank.status for rank in ranks] == [0, 0], "\n".join(rank.said for rank in ranks)
    (line,) = map(json.loads, (tmp_path / "two/runs/small/results.jsonl").read_text().splitlines())
    assert line["processes"] == 2
    alone, together = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"freeze_encoder": True, "auxiliary_lm": 0.5}, "auxiliary_lm trains the encoder"),
        ({"freeze_encoder": True, "lora_rank": 4}, "lora_rank freezes the encoder by itself"),
        ({"lora_rank": -1}, "lora_rank is -1; it must be 0 or more"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, launch, write_finetune_recipe, changes, complaint):
    write_finetune_recipe(tmp_path, **changes)
    ended = launch(tmp_path, "recipe.yaml")
    assert (ended.status, complaint in ended.said) == (2, True), ended.said
