"""Is the memory that is foreseen from shapes the memory that real tensors take?"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel

from engine.train.batch import Batch
from engine.train.forecast import foreseen_memory, measured_seconds
from engine.train.optimizer import Optimizer, build_optimizers

V, H, B, T, M = 2000, 128, 16, 64, 150


def build(dropout: float = 0.0, layers: int = 3) -> PreTrainedModel:
    return BertForMaskedLM(
        BertConfig(
            vocab_size=V, hidden_size=H, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=4 * H,
            hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
        )
    )  # fmt: skip


def batch(rows: int = B) -> Batch:
    x = {"input_ids": torch.zeros(rows, T, dtype=torch.long), "attention_mask": torch.ones(rows, T, dtype=torch.long)}
    asked = M * rows // B
    return Batch(
        x, {"positions": torch.arange(asked), "tokens": torch.arange(asked)}, {"words": asked}, (T,) * rows, rows * T
    )


def judge(model: Any, batch: Batch) -> dict[str, Tensor]:
    states = model.bert(**batch.x).last_hidden_state.flatten(0, 1)[batch.y["positions"]]
    return {"words": nn.functional.cross_entropy(model.cls(states).float(), batch.y["tokens"], reduction="sum")}


def kept_for_backward(dropout: float, bf16: bool) -> int:
    """Bytes that autograd keeps of a real forward pass, besides the weights."""
    model = build(dropout).train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address is used twice
        return tensor

    saving = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with saving, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        judge(model, batch())
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("bf16", [False, True])
def test_the_activations_are_what_autograd_keeps(dropout, bf16):
    found = foreseen_memory(lambda: build(dropout), judge, batch(), Optimizer(), bf16, accumulated=False, width=V)
    assert found.activations + found.copies == pytest.approx(
        kept_for_backward(dropout, bf16), rel=0.05
    )  # a mask that hides nothing is dropped
    assert bool(found.copies) == bf16
    assert 2 * 4 * M * V <= found.logits <= 5 * 4 * M * V  # logits and their softmax, then the gradient of one


@pytest.mark.parametrize("name", ["adamw", "lamb", "muon", "sgd"])
def test_weights_gradients_and_moments_are_those_of_a_real_step(name):
    model = build()
    optimizers = build_optimizers(model, Optimizer(name=name))
    judge(model, batch())["words"].backward()
    for optimizer in optimizers:
        optimizer.step()
    states = [state for optimizer in optimizers for state in optimizer.state.values()]
    found = foreseen_memory(build, judge, batch(), Optimizer(name=name, ema=0.99), False, accumulated=False, width=V)
    assert found.weights == found.gradients == sum(parameter.nbytes for parameter in model.parameters())
    assert found.moments == sum(value.nbytes for state in states for value in state.values() if torch.is_tensor(value))
    assert found.average == pytest.approx(found.weights, rel=1e-3)
    assert found.state == found.weights + found.moments + found.average


def test_what_is_computed_twice_is_not_kept():
    once, twice = (
        foreseen_memory(build, judge, batch(), Optimizer(), False, False, V, compute_twice)
        for compute_twice in (False, True)
    )
    assert twice.activations < once.activations / 2
    assert twice.peak < once.peak


def test_accumulated_gradients_stay_while_the_next_micro_batch_is_worked_on():
    alone, several = (
        foreseen_memory(build, judge, batch(), Optimizer(), False, accumulated, V) for accumulated in (False, True)
    )
    assert alone.peak < several.peak <= alone.peak + alone.gradients


REAL = """
import json, sys
from pathlib import Path
sys.path.insert(0, {here!r})
import test_forecast as t
from engine.train.optimizer import Optimizer, build_optimizers

def taken(most):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM" if most else "VmRSS"))

t.judge(t.build(layers=1), t.batch(1))["words"].backward()  # loads the kernels
before = taken(most=False)
model = t.build(0.1, layers=6).train()
(optimizer,) = build_optimizers(model, Optimizer())
for _ in range(2):
    t.judge(model, t.batch(48))["words"].backward()
    optimizer.step()
    optimizer.zero_grad()
print(json.dumps(taken(most=True) - before))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say what a process takes")
@pytest.mark.slow
def test_the_peak_is_what_a_process_then_takes():
    script = REAL.format(here=str(Path(__file__).parent))
    # The GNU allocator keeps gaps between tensors, unless each is asked of the system for itself.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "100000"}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    taken = json.loads(ended.stdout)
    found = foreseen_memory(lambda: build(0.1, layers=6), judge, batch(48), Optimizer(), False, False, V)
    assert 0.9 < taken / found.peak < 1.2


@pytest.mark.slow
def test_nothing_is_taken_to_foresee_a_large_model():
    began = time.perf_counter()
    found = foreseen_memory(lambda: build(layers=24), judge, batch(4096), Optimizer(), False, True, V)
    assert found.peak > 30e9
    assert time.perf_counter() - began < 30


def test_a_step_is_timed_within_the_seconds_it_may_take():
    began = time.perf_counter()
    micro, step = measured_seconds(build, judge, batch(), Optimizer(), bf16=False, budget=1.0)
    assert time.perf_counter() - began < 5
    assert 0 < step < micro < 1
