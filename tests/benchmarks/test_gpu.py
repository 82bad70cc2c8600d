"""Does a part that fails leave the others alone, and does the command that a card will run go through on a CPU?"""

import json
import os
import time
from functools import partial

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu import CHECKS, Part, as_table, main, part_names, run_part

IN_WORDS = "| gradients | passed | 2 | bert loss off 1e-07, tokens per second ours 12,345 |"


def fail(bench, how):
    if how == "dies":
        os.abort()
    if how == "hangs":
        time.sleep(600)
    raise ValueError("the loss is | off")


@pytest.mark.parametrize(
    ("how", "verdict", "reason"),
    [
        ("raises", "failed", "ValueError: the loss is / off"),
        ("dies", "failed", ""),
        ("hangs", "left out", "the time was over before it was done"),
    ],
)
def test_a_part_that_fails_is_named_and_the_next_one_runs(tmp_path, monkeypatch, how, verdict, reason):
    monkeypatch.setitem(CHECKS, "gradients", partial(fail, how=how))
    monkeypatch.setitem(CHECKS, "bf16", lambda bench: {"loss_off": 0.5})
    monkeypatch.setattr(gpu, "LEAST", 0.0)
    seconds = 2.0 if how == "hangs" else 60.0
    part = run_part("gradients", tmp_path, time.monotonic() + seconds, tiny=True)
    assert (part.verdict, part.reason if reason else "") == (verdict, reason)
    assert run_part("bf16", tmp_path, time.monotonic() + 60, tiny=True).found == {"loss_off": 0.5}


def test_no_part_is_begun_when_the_time_is_over(tmp_path):
    part = run_part("gradients", tmp_path, time.monotonic() + 1, tiny=True)
    assert (part.verdict, part.reason) == ("left out", "no time was left")


def test_the_table_has_a_line_for_each_part():
    found = {"bert_loss_off": 1e-7, "tokens_per_second": {"ours": 12345}}
    assert IN_WORDS in as_table([Part("gradients", "passed", 2.0, found)]).splitlines()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_can_be_done(launch_program, tmp_path):
    ended = launch_program(main, tmp_path)
    assert ended.status == 2
    assert "--tiny tries all of it on the CPU" in ended.said


@pytest.mark.slow
def test_all_of_it_runs_on_a_cpu(launch_program, workplace):
    ended = launch_program(main, workplace, "--tiny", "--minutes", "14")
    assert ended.status == 0, ended.said
    result = json.loads(ended.said.splitlines()[-1])
    assert {name: result[name]["verdict"] for name in part_names(tiny=True)} == {
        name: "passed" if name in CHECKS else "measured" for name in part_names(tiny=True)
    }
    assert result["bert_base_512"]["tokens_per_second"]
    assert result["finetuning"]["ratio_default"] > 0
