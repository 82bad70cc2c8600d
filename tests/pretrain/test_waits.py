"""How often does a step wait for the device?  Once, for what the step before came to."""

import gzip
import json
from collections import Counter

import pytest
import yaml

from engine.train.profiling import PHASES
from tokenizer.learn import BytePairs

# What asks the device for a number, and so waits until everything before it is computed.
LOOKS = ("aten::item", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::_unique2", "aten::unique_dim")


@pytest.mark.parametrize("logging_steps", [pytest.param(20, marks=pytest.mark.slow), 1])
def test_a_step_looks_once_at_what_the_device_found(tmp_path, launch, write_recipe, corpus, logging_steps):
    texts = [path.read_text(encoding="utf-8") for path in sorted(corpus.iterdir())]
    tokenizer = BytePairs(name="byte-bpe", vocab_size=400).learn(iter([texts]), Counter(), 512)
    tokenizer.save_pretrained(tmp_path / "byte-pairs")
    plan = {"max_steps": 12, "logging_steps": logging_steps, "eval_steps": 0, "skip_spikes": True}
    recipe = {"objective": {"name": "causal_lm"}, "optimizer": {"ema": 0.9}, "tokenizer": str(tmp_path / "byte-pairs")}
    path = write_recipe(tmp_path, plan=plan, **recipe)
    model = {"model_type": "gpt2", "n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 32}
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "model": model}))
    ended = launch(tmp_path, "recipe.yaml", "--profile", "True")
    assert ended.status == 0, ended.said
    with gzip.open(tmp_path / "runs/small/profile/trace.json.gz") as file:
        events = [event for event in json.load(file)["traceEvents"] if event.get("ph") == "X"]
    of_a_step = "data", "forward", "backward", "forward", "backward", "optimizer"
    order = [event["name"] for event in sorted(events, key=lambda event: event["ts"]) if event["name"] in PHASES]
    if logging_steps > 1:  # the wait is for the step before, and comes when this one is queued
        assert order == [*of_a_step[:-1], "wait", "optimizer"] * 3
    else:  # a line is about its own step
        assert order == [*of_a_step, "wait"] * 3
    looks = [event for event in events if event["name"] in LOOKS]
    stepping = [event for event in events if event["name"] == "optimizer"]
    for look in looks:  # by clipping, and by kernels that are a CPU's; a GPU's: see tests/engine/test_optimizer.py
        assert any(phase["ts"] <= look["ts"] <= phase["ts"] + phase["dur"] for phase in stepping), look["name"]
