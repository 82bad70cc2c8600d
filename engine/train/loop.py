"""How is anything trained?  The one loop. It owns time: steps, accumulation, clipping, when to evaluate and to save.

Sums and counts: a loss comes as a sum, its count is added over micro-batches and processes *before* anything is
divided. So one process with eight accumulation steps is eight processes, and a mean is a mean over answers, never a
mean of means. A GPU is given a step without waiting for the one before: see `engine.train.last_step`.
"""

import time
from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from engine.run.checkpoint import Run
from engine.run.processes import Stopped, StopSignal, Waiting
from engine.run.tracking import Tracker
from engine.train import draws
from engine.train.activations import fuse_gelu
from engine.train.average import Average
from engine.train.batch import Batch, Loss
from engine.train.batches import Batches
from engine.train.counts import agree_on_counts
from engine.train.last_step import LastStep
from engine.train.optimizer import Optimizer, build_optimizers, set_rate, step_unless
from engine.train.plan import Plan
from engine.train.profiling import phase, profiled
from engine.train.row_gradients import choose_gradients, merge_rows, numbers_of
from engine.train.schedule import Schedule
from engine.train.sharding import accumulating, gather, parallel, refuse_unused, shards_asked_for, whole
from engine.train.watch import Watch
from engine.train.window import Speed, Window


class Hooks(ABC):
    """What is done between steps, while the model holds what is handed on: its average, if there is one."""

    @property
    def enough(self) -> bool:
        """Whether training ends before its plan does: the same on all processes."""
        return False

    @abstractmethod
    def evaluate(self, model: nn.Module, step: int) -> dict[str, float]:
        """Called when the plan says so, and at the end, with the whole model in evaluation mode: values for the log."""

    def in_words(self, found: dict[str, float]) -> list[str]:
        """What the console says of what `evaluate` found; metrics.jsonl has all of it."""
        return []

    def keep(self, model: nn.Module, step: int) -> None:  # noqa: B027, optional
        """Called after each evaluation, when the model may be in shards again and can be exported."""

    @abstractmethod
    def publish(self, step: int) -> None:
        """Called at each planned save."""

    def carried(self) -> dict[str, Any]:
        """What a state keeps of it, as plain JSON."""
        return {}

    def restore(self, step: int, carried: dict[str, Any]) -> None:  # noqa: B027, optional
        """Called before the first step: training resumes after `step`, whose state kept `carried`; 0 and {} if none."""


@dataclass(frozen=True)
class Training:
    """What is minimised, on what, and how. `model` is trained in place."""

    model: nn.Module
    loss: Loss
    batches: Batches[Any]
    plan: Plan
    optimizer: Optimizer
    schedule: Schedule
    seed: int
    unit: str = "tokens"  # what the examples hold, and the log counts
    advice: str = ""  # what to do where training waits for its data, beside more workers
    hooks: Hooks | None = None
    profile: Path | None = None  # the folder for a trace of a few steps
    keeps_last: bool = False  # save the last step's state too, from which the run can be extended


def train(training: Training, run: Run, tracker: Tracker, accelerator: Accelerator) -> int:
    """Minimise the loss until the plan ends, from wherever `run` stands.

    Return how many steps the run took. At the end the model holds the average of its weights, if `optimizer.ema` asks
    for one. Errors: Stopped when a signal came (the state is saved); Lost when another process no longer answers;
    FloatingPointError after three steps in a row without a finite gradient (the parameters are as they were before
    them), and where the last step has none, or the weights or what the last evaluation found are not finite.
    """
    model, loss, plan, hooks = training.model, training.loss, training.plan, training.hooks
    speed = Speed(model, loss, accelerator)  # looks at the model before it is spread over processes
    choose_gradients(model, training.optimizer.name, accelerator.device, shards_asked_for())
    wrapped = wrap_model(model, loss, plan, accelerator)
    optimizers = build_optimizers(model, training.optimizer)
    average = Average(model, training.optimizer.ema) if training.optimizer.ema else None
    position, extra = run.resume(model, optimizers, average)
    if hooks:
        hooks.restore(position.step, extra.get("hooks", {}))
    window = Window(training.unit, accelerator, extra.get("window", {}))
    watch = Watch(plan, tracker, extra.get("watch", {}))
    last = LastStep(model, watch, window, average)
    clock = Clock(plan, extra.get("seconds", 0.0))
    evaluated: dict[str, float] = {}  # at the last evaluation
    with (
        StopSignal() as signal,
        Waiting(plan.timeout) as waiting,
        tracker.progress(clock.whole, clock.done(position.step, clock.seconds)),
        profiled(training.profile, accelerator, tracker.note) as trace,
    ):
        for seen in window.timed(training.batches.since(position)):
            if hooks and hooks.enough:
                break
            position = seen.after
            step = waiting.step = position.step
            wrapped.train()
            torch.manual_seed(int(draws.stream("dropout", training.seed, step, accelerator.process_index) >> 1))
            agreed = agree_on_counts(seen.micro_batches, clock.seconds, signal.came, accelerator.is_main_process)
            signal.agreed = agreed.stop
            sums = backward(wrapped, seen.micro_batches, agreed.counts, accelerator)
            merge_rows(model)
            refuse_unused(wrapped)
            last.settle()
            with phase("optimizer"):
                norm = total_norm(model)
                done = clock.done(step, agreed.seconds)
                rate = training.optimizer.learning_rate * training.schedule.factor(done, clock.whole)
                set_rate(optimizers, rate)
                decision = watch.decide(norm, sums, agreed.counts, accelerator)
                clip(model, norm, plan.max_grad_norm)
                step_unless(decision.skipped, optimizers)
                for each in optimizers:
                    each.zero_grad()
            last.begin(seen, decision, sums, agreed, speed.flops_per_place(seen.micro_batches[0]))
            is_last = clock.is_last(step, agreed.seconds)
            if plan.pauses_at(step) or is_last or signal.agreed:
                last.settle()
            tracker.reached(done)
            if step % plan.logging_steps == 0 or is_last:
                rates = {"learning_rate": rate, "grad_norm": last.norm}
                tracker.log(step, epoch=seen.place[0], **rates, **window.close(speed.peak))
                window.report_stall(tracker, plan.dataloader_num_workers, training.advice)
            if hooks and (plan.evaluates_at(step) or is_last):
                with window.paused(), average.swapped() if average else nullcontext():
                    with whole(wrapped):
                        wrapped.eval()
                        evaluated = hooks.evaluate(model, step)
                        tracker.log_evaluation(step, evaluated, hooks.in_words(evaluated))
                    hooks.keep(model, step)
            if (training.keeps_last if is_last else plan.saves_at(step)) or signal.agreed:
                with window.paused():
                    extra = {"window": window.carried(), "watch": watch.carried(), "seconds": clock.seconds}
                    extra |= {"hooks": hooks.carried()} if hooks else {}
                    run.save_state(position, model, optimizers, plan.save_total_limit, extra, average)
            if hooks and plan.saves_at(step):
                with window.paused(), average.swapped() if average else nullcontext():
                    hooks.publish(step)
            trace.step()
            if signal.agreed:
                raise Stopped(f"stopped at step {step}, state saved; the same command resumes from here")
            if is_last:
                break
    if average:
        average.settle()
    gather(wrapped)
    watch.refuse_unfinished(position.step, model, evaluated)
    return position.step


def wrap_model(model: nn.Module, loss: Loss, plan: Plan, accelerator: Accelerator) -> nn.Module:
    """The model and its loss as one module, spread over the processes as the launcher's config says."""
    if plan.gradient_checkpointing:
        model.gradient_checkpointing_enable()  # type: ignore[operator]
    fuse_gelu(model)
    wrapped = LossModule(model, loss)
    if plan.torch_compile:
        wrapped.compile()
    return parallel(wrapped, accelerator)


class LossModule(nn.Module):
    """A model and its loss as one module, since what data parallelism wraps must be exactly one forward pass."""

    def __init__(self, model: nn.Module, loss: Loss):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.loss(self.model, batch)


def backward(
    wrapped: nn.Module, micro_batches: list[Batch], counts: dict[str, float], accelerator: Accelerator
) -> dict[str, Tensor]:
    """Add the gradient of sum / count, each term over the whole global batch. Return this process's sums."""
    totals: dict[str, Tensor] = {}
    for number, batch in enumerate(micro_batches, start=1):
        more_to_come = number < len(micro_batches)
        with accumulating(wrapped, accelerator) if more_to_come else nullcontext():
            with phase("forward"):
                sums = wrapped(batch.to(accelerator.device))
                if batch.is_filler:
                    sums = {term: 0.0 * value for term, value in sums.items()}
                mean = torch.stack([sums[term] / max(1.0, count) for term, count in counts.items()]).sum()
                # A loss may be infinite where its gradient is not: times 1, or times NaN, which all processes see.
                mean = mean * (1 + 0 * mean.detach())
            with phase("backward"):
                # Data parallelism averages the gradient over processes, where a sum is wanted.
                accelerator.backward(mean * accelerator.num_processes)
        for term, value in sums.items():
            totals[term] = totals.get(term, torch.zeros_like(value)) + value.detach()
    return totals


def total_norm(model: nn.Module) -> Tensor:
    """The length of the whole gradient, over all processes where they hold shards of it."""
    norm = torch.nn.utils.get_total_norm([numbers_of(p.grad) for p in model.parameters() if p.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def clip(model: nn.Module, norm: Tensor, longest: float) -> None:
    """Shorten a gradient of length `norm` to `longest`; a shorter one is multiplied by exactly 1."""
    if norm.device.type == "cpu" and norm <= longest:  # a look costs nothing here, and saves a pass over the gradient
        return
    torch.nn.utils.clip_grads_with_norm_(model.parameters(), longest, norm)


class Clock:
    """How much of the plan is done: counted in steps, or in milliseconds where the plan is in minutes."""

    def __init__(self, plan: Plan, seconds: float):
        self.steps, self.budget = plan.max_steps, 60 * plan.minutes
        self.whole = self.steps or 1e3 * self.budget
        self._now = time.process_time if plan.clock == "cpu" else time.perf_counter
        self._began = self._now() - seconds

    @property
    def seconds(self) -> float:
        """Of training, evaluations included, over all launches."""
        return self._now() - self._began

    def done(self, step: int, seconds: float) -> float:
        """What is done at the end of `step`, which begins at `seconds`."""
        return step if self.steps else 1e3 * self._end(step, seconds)

    def is_last(self, step: int, seconds: float) -> bool:
        return step >= self.steps if self.steps else self._end(step, seconds) >= self.budget

    def _end(self, step: int, seconds: float) -> float:
        return min(self.budget, seconds * step / max(1, step - 1))  # the next step takes as long as those before
