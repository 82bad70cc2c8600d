"""What became of the step before?  Its numbers are read one step late, and so a step waits for the device once.

While a GPU computes step k, the CPU prepares step k + 1 and queues its forward and backward pass. Only then, before the
weights are touched again, does it look at what step k came to: whether it was taken, its gradient norm, its loss. By
that time they have arrived. What follows from them (the average, the log's sums, a run that gives up) is done then.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.train.average import Average
from engine.train.batches import Step
from engine.train.counts import Agreed
from engine.train.profiling import phase
from engine.train.watch import Decision, Watch
from engine.train.window import Window


class Arriving:
    """Numbers on their way from the device to the CPU. They keep nobody waiting until they are read."""

    def __init__(self, numbers: list[Tensor]):
        on_device = torch.stack([number.double() for number in numbers])
        self._numbers = on_device.to("cpu", non_blocking=True)
        self._arrived = torch.cuda.Event() if on_device.is_cuda else None
        if self._arrived:
            self._arrived.record()

    def read(self) -> list[float]:
        """Wait for what the device was given before them, and for nothing that it was given since."""
        if self._arrived:
            self._arrived.synchronize()
        found: list[float] = self._numbers.tolist()
        return found


@dataclass(frozen=True)
class _Underway:
    """A step that the device was given. `sums` are this process's."""

    seen: Step
    sums: dict[str, Tensor]
    agreed: Agreed
    flops_per_place: float
    numbers: Arriving  # skipped, norm, loss: see Decision


class LastStep:
    """The step that was given to the device last. `norm` is the gradient norm of the one that was settled last."""

    norm = 0.0

    def __init__(self, model: nn.Module, watch: Watch, window: Window, average: Average | None):
        self.model, self.watch, self.window, self.average = model, watch, window, average
        self._underway: _Underway | None = None

    def begin(
        self, seen: Step, decision: Decision, sums: dict[str, Tensor], agreed: Agreed, flops_per_place: float
    ) -> None:
        """Take a step over, and send its numbers on their way. The one before must have been settled."""
        assert self._underway is None
        numbers = Arriving([decision.skipped, decision.norm, decision.loss])
        self._underway = _Underway(seen, sums, agreed, flops_per_place, numbers)

    def settle(self) -> None:
        """Learn what the step came to, and keep its sums and its weights if it was taken; nothing if there is none.

        To be called before the weights change again. Errors: those of `Watch.settle`.
        """
        if self._underway is None:
            return
        done, self._underway = self._underway, None
        with phase("wait"):
            skipped, self.norm, loss = done.numbers.read()
        self.watch.settle(bool(skipped), self.norm, loss, done.seen, self.model)
        if not skipped:
            self.window.add(done.sums, done.agreed, done.flops_per_place)
            if self.average:
                self.average.update()
