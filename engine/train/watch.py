"""Which steps are not taken?  Those whose gradient is not finite; and those whose loss is out of all proportion.

Skipping of NaN gradients and of loss spikes.
"""

import math
from collections import deque
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


class Watch:
    """Which steps are not taken: those whose gradient is not finite, and, where the plan asks for it, those whose loss
    is far beyond the last ones. All processes see the same numbers, so all of them agree."""

    MEMORY, SIGMA = 128, 6.0

    def __init__(self, plan: Plan, tracker: Tracker, carried: dict[str, Any]):
        self.skips_spikes, self.tracker = plan.skip_spikes, tracker
        self.losses = deque(carried.get("losses", []), self.MEMORY)
        self.poisoned: list[str] = carried.get("poisoned", [])

    def passes(
        self, norm: Tensor, sums: dict[str, Tensor], counts: dict[str, Tensor], seen: Step, model: nn.Module,
        accelerator: Accelerator,
    ) -> bool:  # fmt: skip
        """Errors: FloatingPointError after `MOST_SKIPPED` gradients in a row that are not finite."""
        if not torch.isfinite(norm):
            self.tracker.note(f"step {seen.after.step}: the gradient is not finite; skipped: {seen.words}")
            self.poisoned.append(f"step {seen.after.step}: {seen.words}")
            if len(self.poisoned) == MOST_SKIPPED:
                self._refuse_weights(model)
                raise FloatingPointError(
                    f"the gradient was not finite {MOST_SKIPPED} steps in a row; the parameters are as before them. "
                    f"{REMEDY} {'; '.join(self.poisoned)}"
                )
            return False
        self.poisoned.clear()
        return not self.skips_spikes or self._is_usual(sums, counts, seen, accelerator)

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

    def _is_usual(
        self, sums: dict[str, Tensor], counts: dict[str, Tensor], seen: Step, accelerator: Accelerator
    ) -> bool:
        means = torch.stack([sums[term].double() / counts[term].clamp(min=1) for term in counts])
        loss = float(accelerator.reduce(means.sum(), "sum"))
        if len(self.losses) == self.MEMORY:
            usual, spread = fmean(self.losses), pstdev(self.losses)
            if loss > usual + self.SIGMA * spread:
                self.tracker.note(
                    f"step {seen.after.step}: loss {loss:.3f} is beyond {self.SIGMA:g} sigma of the last "
                    f"{self.MEMORY} ({usual:.3f} ± {spread:.3f}); skipped: {seen.words}"
                )
                return False
        self.losses.append(loss)
        return True
