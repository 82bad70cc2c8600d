"""Does a GPU compute the same as a CPU?  The checks of `benchmarks.gpu`.

A check takes a `Bench` and returns what it measured. It raises CheckFailed if the result is wrong.
"""

import copy
import gzip
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from benchmarks.ours import AtEvaluations, assembled
from benchmarks.plain import Family
from benchmarks.settings import Setting, bert, gpt2
from corpus.text.source import Source
from engine.run.checkpoint import Run
from engine.run.processes import Stopped
from engine.run.runtime import make_accelerator, seed_weights
from engine.run.tracking import Tracker
from engine.train.batch import Batch, Loss
from engine.train.loop import LossModule, clip, total_norm, train
from engine.train.optimizer import Optimizer, build_optimizers, step_unless
from engine.train.plan import Plan
from engine.train.profiling import SKIPPED, WARM_UP
from engine.train.sharding import shard
from engine.train.window import PACE
from pretrain.assembly import training_of

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
STEPS = 6
WAITING = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")


class CheckFailed(Exception):
    """What was measured is not what it must be."""


@dataclass(frozen=True)
class Bench:
    """Where a check works: its own folder, the text, and whether models are tiny and the device is the CPU."""

    folder: Path
    text: Path
    tiny: bool

    @property
    def bert(self) -> Setting:
        return self._setting("bert", bert)

    @property
    def gpt2(self) -> Setting:
        return self._setting("gpt2", gpt2)

    def _setting(self, family: Family, model: Callable[[int, int, int], dict[str, Any]]) -> Setting:
        hidden, heads, length = (32, 2, 32) if self.tiny else (256, 4, 128)
        return Setting(family, model(2, hidden, heads), length=length, batch=8)


def check_gradients(bench: Bench) -> dict[str, Any]:
    """Loss and gradient in fp32, on the card and on the CPU."""
    found: dict[str, Any] = {}
    for setting in (bench.bert, bench.gpt2):
        with prepared(bench, setting) as (model, loss, batch, accelerator):
            there = loss_and_gradient(copy.deepcopy(model).cpu(), loss, batch)
            here = loss_and_gradient(model.to(accelerator.device), loss, batch)
        found[f"{setting.family}_loss_off"] = off = abs(here[0] / there[0] - 1)
        found[f"{setting.family}_gradient_off"] = distance = ((here[1] - there[1]).norm() / there[1].norm()).item()
        complaint = f"{setting.family}: the loss is off by {off:.1e}, the gradient by {distance:.1e}"
        demand(off < 1e-5 and distance < 1e-3, complaint)
    return found


def check_bf16(bench: Bench) -> dict[str, Any]:
    """Loss and gradient in bf16 beside fp32, on the card."""
    found: dict[str, Any] = {}
    for setting in (bench.bert, bench.gpt2):
        with prepared(bench, setting) as (model, loss, batch, accelerator):
            model.to(accelerator.device)
            full = loss_and_gradient(model, loss, batch)
            with torch.autocast(accelerator.device.type, torch.bfloat16):
                half = loss_and_gradient(model, loss, batch)
        found[f"{setting.family}_loss_off"] = off = abs(half[0] / full[0] - 1)
        found[f"{setting.family}_cosine"] = cosine = torch.cosine_similarity(half[1], full[1], dim=0).item()
        demand(off < 0.01 and cosine > 0.98, f"{setting.family}: loss is off by {off:.1e}, cosine is {cosine:.3f}")
    return found


def check_resume(bench: Bench) -> dict[str, Any]:
    """A run that is stopped and resumed equals one that is not, bit for bit, dropout included.

    With torch's deterministic kernels: the fast backward pass of attention adds up in any order.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    whole = trained(bench, bench.bert, "whole")
    try:
        trained(bench, bench.bert, "stopped", stop_after=2)
    except Stopped:
        resumed = trained(bench, bench.bert, "stopped")
    else:
        raise CheckFailed("the run did not stop when it was asked to")
    differing = [name for name, value in whole.weights.items() if not torch.equal(value, resumed.weights[name])]
    demand(not differing, f"{len(differing)} of {len(whole.weights)} tensors differ, such as {differing[:1]}")
    demand(whole.lines == resumed.lines, "the lines of metrics.jsonl differ")
    return {"tensors": len(whole.weights), "lines": len(whole.lines)}


def check_compile(bench: Bench) -> dict[str, Any]:
    """The losses of some steps with torch.compile beside those without it, no dropout."""
    setting = replace(bench.bert, model={**bench.bert.model, **NO_DROPOUT})
    plain = trained(bench, setting, "plain")
    compiled = trained(bench, setting, "compiled", torch_compile=True)
    off = max(abs(one["loss"] / other["loss"] - 1) for one, other in zip(compiled.lines, plain.lines, strict=True))
    demand(off < 1e-3, f"a loss is off by {off:.1e}")
    return {"loss_off": off}


def check_fsdp2(bench: Bench) -> dict[str, Any]:
    """Some steps in shards, as several processes would have them, in a group of this process alone."""
    setting = replace(bench.bert, model={**bench.bert.model, **NO_DROPOUT})
    backend = "gloo" if bench.tiny else "nccl"
    dist.init_process_group(backend, init_method=f"file://{bench.folder}/group", world_size=1, rank=0)
    try:
        with prepared(bench, setting) as (model, loss, batch, accelerator):
            other = copy.deepcopy(model)
            whole = LossModule(other.to(accelerator.device), loss)
            sharded = shard(LossModule(model, loss), accelerator)
            demand(all(isinstance(p, DTensor) for p in model.parameters()), "not every parameter is a shard")
            losses = [some_steps(*each, batch, accelerator) for each in ((whole, other), (sharded, model))]
    finally:
        dist.destroy_process_group()
    off = max(abs(one / another - 1) for one, another in zip(*losses, strict=True))
    demand(off < 1e-4, f"a loss is off by {off:.1e}")
    demand(losses[1][-1] < losses[1][0], "the loss does not fall")
    return {"loss_off": off}


def check_waits(bench: Bench) -> dict[str, Any]:
    """How often a step of the loop waits for the card: once, for the numbers of the step before."""
    found: dict[str, Any] = {}
    for setting in (bench.bert, bench.gpt2):
        name = f"profiled-{setting.family}"
        trained(bench, setting, name, profile=True, max_steps=SKIPPED + WARM_UP + 4, logging_steps=100)
        with gzip.open(bench.folder / name / "profile" / "trace.json.gz") as file:
            events = [event for event in json.load(file)["traceEvents"] if event.get("ph") == "X"]
        begin = min(event["ts"] for event in events if event["name"] == "forward")
        end = max(event["ts"] + event["dur"] for event in events if event["name"] == "optimizer")
        counted = Counter(e["name"] for e in events if e["name"].startswith(WAITING) and begin <= e["ts"] <= end)
        waits = sum(number for call, number in counted.items() if "Async" not in call)
        found[f"{setting.family}_waits"] = waits / 3
    demand(max(found.values()) <= 1, f"a step waits {max(found.values()):.1f} times for the card: {found}")
    return found


# What they share


def demand(holds: bool, complaint: str) -> None:
    if not holds:
        raise CheckFailed(complaint)


@contextmanager
def prepared(bench: Bench, setting: Setting) -> Iterator[tuple[Any, Loss, Batch, Accelerator]]:
    """A model on the CPU, its loss, and a batch of real text."""
    accelerator = make_accelerator(seed=0)
    seed_weights(0)
    plan = Plan(max_steps=1, global_batch_size=setting.batch, per_device_train_batch_size=setting.batch)
    folder = bench.folder / f"data-{setting.family}"
    with assembled(setting, Source("jsonl", str(bench.text)), folder, plan, setting.batch, accelerator) as parts:
        recipe, _, ours = parts
        yield ours.model, recipe.objective.loss, ours.evaluation[0], accelerator


def loss_and_gradient(model: nn.Module, loss: Loss, batch: Batch) -> tuple[float, Tensor]:
    """The mean loss without dropout, and its gradient (P,) in double, on the CPU."""
    model.eval().zero_grad()
    sums = loss(model, batch.to(next(model.parameters()).device))
    mean = torch.stack([sums[term].float() / count for term, count in batch.counts.items()]).sum()
    mean.backward()
    return mean.item(), torch.cat([p.grad.flatten().cpu().double() for p in model.parameters() if p.grad is not None])


def some_steps(wrapped: nn.Module, model: nn.Module, batch: Batch, accelerator: Accelerator) -> list[float]:
    """The losses of some steps on one batch."""
    optimizers, losses = build_optimizers(model, Optimizer(learning_rate=1e-3)), []
    for _ in range(STEPS):
        sums = wrapped(batch.to(accelerator.device))
        mean = torch.stack([sums[term] / count for term, count in batch.counts.items()]).sum()
        mean.backward()
        norm = total_norm(model)
        clip(model, norm, 1.0)
        step_unless((~torch.isfinite(norm)).float(), optimizers)
        for each in optimizers:
            each.zero_grad()
        losses.append(mean.item())
    return losses


@dataclass(frozen=True)
class Trained:
    weights: dict[str, Tensor]
    lines: list[dict[str, float]]


def trained(
    bench: Bench, setting: Setting, name: str, stop_after: int = 0, profile: bool = False, **changes: Any
) -> Trained:
    """Train by the loop itself, in FOLDER/NAME. Errors: Stopped, if it is asked to stop after a step."""
    accelerator = make_accelerator(seed=0)
    seed_weights(0)
    batch = {"global_batch_size": setting.batch, "per_device_train_batch_size": setting.batch // 2}
    plan = Plan(**{"max_steps": STEPS, "logging_steps": 1, "eval_steps": 1, **batch, **changes})

    def stop(_: nn.Module, step: int) -> None:
        if step == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)

    folder = bench.folder / f"data-{setting.family}"
    source = Source("jsonl", str(bench.text))
    with assembled(setting, source, folder, plan, setting.batch, accelerator) as (recipe, text, ours):
        run = Run(bench.folder / name, setting, accelerator)
        asked = replace(recipe, profile=profile)
        training = training_of(asked, text, ours, AtEvaluations(stop), run.folder)
        train(training, run, Tracker(run.folder, accelerator), accelerator)
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: value for k, value in line.items() if not k.endswith(PACE)} for line in lines if "loss" in line]
    return Trained({name: value.cpu() for name, value in ours.model.state_dict().items()}, kept)
