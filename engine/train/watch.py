"""Which steps are not taken?  Those whose gradient is not finite; and those whose loss is out of all proportion.

Skipping of NaN gradients and of loss spikes. It is decided on the device, so that a GPU continues at once; the numbers
come to the CPU while the next step is computed, and are looked at there before that one is taken.
"""

import math
from collections import deque
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from engine.run.finite import not_finite
from engine.run.tracking import Tracker
from engine.train.batches import Step
from engine.train.plan import Plan

REMEDY = "Lower optimizer.learning_rate or look at these examples:"
MOST_SKIPPED = 3  # steps in a row whose gradient is not finite, before the run gives up


@dataclass(frozen=True)
class Decision:
    """`skipped` is 1 if the step must not be taken, else 0: 0-d fp32, on the device. `norm` and `loss` may be NaN."""

    skipped: Tensor
    norm: Tensor
    loss: Tensor


class Watch:
    """Which steps are not taken: those whose gradient is not finite, and, where the plan asks for it, those whose loss
    is far beyond the last ones. All processes see the same numbers, so all of them agree."""

    MEMORY, SIGMA = 128, 6.0

    def __init__(self, plan: Plan, tracker: Tracker, carried: dict[str, Any]):
        self.skips_spikes, self.tracker = plan.skip_spikes, tracker
        self.losses = deque(carried.get("losses", []), self.MEMORY)
        self.poisoned: list[str] = carried.get("poisoned", [])

    def decide(
        self, norm: Tensor, sums: dict[str, Tensor], counts: dict[str, float], accelerator: Accelerator
    ) -> Decision:
        """Decide over a step, without waiting for its numbers. `settle` must have heard of the step before."""
        skipped, loss = ~torch.isfinite(norm), torch.zeros_like(norm)
        if self.skips_spikes:
            means = torch.stack([sums[term].double() / max(1.0, count) for term, count in counts.items()])
            loss = accelerator.reduce(means.sum(), "sum")
            skipped = skipped | (loss > self._highest())
        return Decision(skipped.float(), norm, loss)

    def settle(self, skipped: bool, norm: float, loss: float, seen: Step, model: nn.Module) -> None:
        """Take note of a step's numbers. Errors: FloatingPointError after `MOST_SKIPPED` gradients in a row that are
        not finite."""
        if not math.isfinite(norm):
            self.tracker.note(f"step {seen.after.step}: the gradient is not finite; skipped: {seen.words}")
            self.poisoned.append(f"step {seen.after.step}: {seen.words}")
            if len(self.poisoned) == MOST_SKIPPED:
                self._refuse_weights(model)
                raise FloatingPointError(
                    f"the gradient was not finite {MOST_SKIPPED} steps in a row; the parameters are as before them. "
                    f"{REMEDY} {'; '.join(self.poisoned)}"
                )
            return
        self.poisoned.clear()
        if skipped:
            usual, spread = fmean(self.losses), pstdev(self.losses)
            self.tracker.note(
                f"step {seen.after.step}: loss {loss:.3f} is beyond {self.SIGMA:g} sigma of the last "
                f"{self.MEMORY} ({usual:.3f} ± {spread:.3f}); skipped: {seen.words}"
            )
        elif self.skips_spikes:
            self.losses.append(loss)

    def refuse_unfinished(self, step: int, model: nn.Module, evaluated: dict[str, float]) -> None:
        """Refuse to call a run done that left nothing of use. Errors: FloatingPointError.

        `model` is whole, and holds what is handed on; `evaluated` is what the last evaluation found.
        """
        self._refuse_weights(model)
        if self.poisoned:
            raise FloatingPointError(
                f"the run came to its last step, {step}, without a finite gradient, so it is not done; the parameters "
                f"are as before it. {REMEDY} {'; '.join(self.poisoned)}"
            )
        if strange := [
            name for name, value in evaluated.items() if name.endswith("_loss") and not math.isfinite(value)
        ]:
            raise FloatingPointError(
                f"at the last step, {step}, {strange[0]} is {evaluated[strange[0]]}, so the run is not done. Lower "
                "optimizer.learning_rate, or resume from an earlier state, if there is one"
            )

    def _refuse_weights(self, model: nn.Module) -> None:
        # Not `state_dict`: at that torch takes a model apart that was gathered to be used.
        if found := not_finite(model.named_parameters()):
            raise FloatingPointError(
                f"the model is lost: {found}, which an earlier step has left there. Lower optimizer.learning_rate, and "
                "start anew or from an earlier state"
            )

    def carried(self) -> dict[str, Any]:
        return {"losses": list(self.losses), "poisoned": self.poisoned}

    def _highest(self) -> float:
        """The loss from which on a step is a spike."""
        if len(self.losses) < self.MEMORY:
            return math.inf
        return fmean(self.losses) + self.SIGMA * pstdev(self.losses)
