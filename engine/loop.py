"""How is anything trained?  The one loop. It owns time: steps, accumulation, clipping, when to evaluate and to save.

Sums and counts: a loss comes as a sum, its count is added over micro-batches and processes *before* anything is
divided. So one process with eight accumulation steps is eight processes, and a mean is a mean over answers, never a
mean of means.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from engine import draws
from engine.batch import Batch
from engine.batches import Batches
from engine.checkpoint import Run
from engine.optimizer import Optimizer, Schedule, build_optimizer, set_rate
from engine.plan import Plan
from engine.runtime import Stopped, StopSignal
from engine.tracking import Tracker

Loss = Callable[[nn.Module, Batch], dict[str, Tensor]]
MOST_SKIPPED = 3  # steps in a row whose gradient is not finite, before the run gives up


def train(
    model: nn.Module,
    loss: Loss,
    batches: Batches[Any],
    plan: Plan,
    optimizer: Optimizer,
    schedule: Schedule,
    seed: int,
    run: Run,
    tracker: Tracker,
    accelerator: Accelerator,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
) -> None:
    """Minimise `loss` for `plan.steps` optimizer steps, from wherever `run` stands; `model` is trained in place.

    Errors: Stopped when a signal came (the state is saved); FloatingPointError after three steps in a row without a
    finite gradient (the parameters are as they were before them).
    """
    judgement, adamw = accelerator.prepare(Judgement(model, loss), build_optimizer(model, optimizer))
    start, open_window = run.resume(model, adamw)
    window = Window(accelerator, open_window)
    skipped = 0
    with StopSignal() as signal, tracker.progress(plan.steps, start.step):
        for position, micro_batches in batches.since(start, plan.steps):
            step = position.step
            judgement.train()
            torch.manual_seed(int(draws.stream("dropout", seed, step, accelerator.process_index) >> 1))
            counts, tokens, asked_to_stop = agreed(micro_batches, signal.came, accelerator)
            sums = backward(judgement, micro_batches, counts, accelerator)
            norm = accelerator.clip_grad_norm_(judgement.parameters(), plan.max_grad_norm)
            rate = optimizer.lr * schedule.factor(step, plan.steps)
            set_rate(adamw, rate)
            if torch.isfinite(norm):  # the gradient is already summed over processes, so all of them agree
                adamw.step()
                skipped = 0
                window.add(sums, counts, tokens)
            else:
                skipped += 1
                tracker.note(f"step {step}: the gradient is not finite; the step is skipped, parameters unchanged")
            adamw.zero_grad()
            if skipped == MOST_SKIPPED:
                raise FloatingPointError(
                    f"the gradient was not finite {MOST_SKIPPED} steps in a row, up to step {step} (epoch "
                    f"{position.epoch}, batch {position.batch}); the parameters are as before them. Lower optimizer.lr "
                    "or look at these examples"
                )
            if step % plan.log_every == 0 or step == plan.steps:
                tracker.log(step, epoch=position.epoch, lr=rate, grad_norm=float(norm), **window.close())
            if evaluate and plan.evaluates_at(step):
                with window.paused():
                    judgement.eval()
                    tracker.log(step, **evaluate(model))
            if plan.saves_at(step) or asked_to_stop:
                with window.paused():
                    run.save_state(position, model, adamw, plan.keep, window.carried())
            if asked_to_stop:
                raise Stopped(
                    f"stopped at step {step} of {plan.steps}, state saved; the same command goes on from here"
                )


class Judgement(nn.Module):
    """A model and its loss as one module, since what data parallelism wraps must be exactly one forward pass."""

    def __init__(self, model: nn.Module, loss: Loss):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.loss(self.model, batch)


def agreed(
    micro_batches: list[Batch], asked_to_stop: bool, accelerator: Accelerator
) -> tuple[dict[str, Tensor], Tensor, bool]:
    """Add counts and tokens over micro-batches and processes; stop as soon as one process was asked to."""
    terms = list(micro_batches[0].counts)
    own = [float(sum(batch.counts[term] for batch in micro_batches)) for term in terms]
    own += [float(sum(batch.num_tokens for batch in micro_batches if not batch.silent)), float(asked_to_stop)]
    total = accelerator.reduce(torch.tensor(own, dtype=torch.float64, device=accelerator.device), "sum")
    return dict(zip(terms, total, strict=False)), total[-2], bool(total[-1])


def backward(
    judgement: nn.Module, micro_batches: list[Batch], counts: dict[str, Tensor], accelerator: Accelerator
) -> dict[str, Tensor]:
    """Add the gradient of sum / count, each term over the whole global batch. Return this process's sums."""
    totals: dict[str, Tensor] = {}
    for number, batch in enumerate(micro_batches, start=1):
        more_to_come = number < len(micro_batches)
        with accelerator.no_sync(judgement) if more_to_come else torch.enable_grad():
            sums = judgement(batch.to(accelerator.device))
            if batch.silent:
                sums = {term: 0.0 * value for term, value in sums.items()}
            means = [sums[term] / counts[term].clamp(min=1).float() for term in counts]
            # Data parallelism averages the gradient over processes, where a sum is wanted.
            accelerator.backward(torch.stack(means).sum() * accelerator.num_processes)
        for term, value in sums.items():
            totals[term] = totals.get(term, torch.zeros_like(value)) + value.detach()
    return totals


class Window:
    """Sums and counts since the last line of the log, so that each line is exact over all its steps.

    `carried` is what a state kept of the window that was open when it was saved.
    """

    sums: dict[str, Tensor]  # this process's
    counts: dict[str, Tensor]  # everybody's
    tokens: Tensor  # everybody's, since this launch
    began: float

    def __init__(self, accelerator: Accelerator, carried: dict[str, dict[str, float]]):
        self.accelerator = accelerator
        self._clear()
        share = float(accelerator.is_main_process)  # one process takes over the sums that were kept
        self.sums = {term: self._number(share * total) for term, total in carried.get("sums", {}).items()}
        self.counts = {term: self._number(count) for term, count in carried.get("counts", {}).items()}

    def add(self, sums: dict[str, Tensor], counts: dict[str, Tensor], tokens: Tensor) -> None:
        for term, count in counts.items():
            self.sums[term] = self.sums.get(term, self._number(0.0)) + sums[term].double()
            self.counts[term] = self.counts.get(term, self._number(0.0)) + count
        self.tokens = self.tokens + tokens

    def close(self) -> dict[str, float]:
        """Return `{term}_loss` (a mean, in nats), their sum `loss`, and tokens a second; begin a new window."""
        found = self.carried()
        means = {f"{term}_loss": total / max(found["counts"][term], 1.0) for term, total in found["sums"].items()}
        rate = float(self.tokens) / (time.perf_counter() - self.began)
        self._clear()
        return {"loss": sum(means.values()), **means, "tokens_per_second": rate} if means else {}

    def carried(self) -> dict[str, dict[str, float]]:
        """The sums over all processes, and the counts, as numbers."""
        sums = {term: float(self.accelerator.reduce(own, "sum")) for term, own in self.sums.items()}
        return {"sums": sums, "counts": {term: float(count) for term, count in self.counts.items()}}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time of what is not training, such as an evaluation."""
        stopped = time.perf_counter()
        yield
        self.began += time.perf_counter() - stopped

    def _number(self, value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float64, device=self.accelerator.device)

    def _clear(self) -> None:
        self.sums, self.counts, self.tokens = {}, {}, self._number(0.0)
        self.began = time.perf_counter()
