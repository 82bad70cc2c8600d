"""What does a line of the log say?  Sums and counts over its steps, how fast they went, and what they waited for.

Logging: mean loss, tokens (or images) a second, MFU, padding, and the share of the time spent in the DataLoader.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from engine.run.tracking import Tracker
from engine.train.batch import Batch, Loss
from engine.train.batches import Step
from engine.train.counts import Agreed
from engine.train.flops import UncountableError, count_flops, peak_flops, shape_of
from engine.train.profiling import phase

# Of this launch, and not what a resumed run repeats; before the first stands the unit, as in `tokens_per_second`.
PACE = ("per_second", "data_wait", "padding_rate", "mfu")
STALLED = 0.2  # share of the time spent waiting for data, from which on it is reported


class Window:
    """Sums and counts since the last line of the log, so that each line is exact over all its steps.

    `carried` is what a state kept of the window that was open when it was saved.
    """

    sums: dict[str, Tensor]  # this process's, on its device
    counts: dict[str, float]  # everybody's
    units: float  # everybody's, since this launch
    room: float  # for units, padding included
    flops: float  # floating point operations
    waited: float  # seconds for data
    began: float

    def __init__(self, unit: str, accelerator: Accelerator, carried: dict[str, dict[str, float]]):
        self.unit, self.accelerator = unit, accelerator
        self._stalled = self._reported = False
        self._clear()
        share = float(accelerator.is_main_process)  # one process takes over the sums that were kept
        self.sums = {
            term: torch.tensor(share * total, dtype=torch.float64, device=accelerator.device)
            for term, total in carried.get("sums", {}).items()
        }
        self.counts = dict(carried.get("counts", {}))

    def timed(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Note how long each step waits for its data."""
        while True:
            began = time.perf_counter()
            with phase("data"):
                step = next(steps, None)
            if step is None:
                return
            if _is_idle(self.accelerator.device):  # what comes while a GPU computes kept nobody waiting
                self.waited += time.perf_counter() - began
            yield step

    def add(self, sums: dict[str, Tensor], agreed: Agreed, flops_per_place: float) -> None:
        for term, count in agreed.counts.items():
            own = sums[term].double()
            self.sums[term] = self.sums[term] + own if term in self.sums else own
            self.counts[term] = self.counts.get(term, 0.0) + count
        self.units, self.room = self.units + agreed.units, self.room + agreed.room
        self.flops += agreed.room * flops_per_place

    def close(self, peak: float | None) -> dict[str, float]:
        """Return `{term}_loss` (a mean, in nats), their sum `loss`, and how fast it went; begin a new window.

        padding_rate: of all room; mfu: model-FLOP utilisation, see engine.train.flops; data_wait: share of the time.
        """
        found, seconds = self.carried(), time.perf_counter() - self.began
        means = {f"{term}_loss": total / max(found["counts"][term], 1.0) for term, total in found["sums"].items()}
        pace = {f"{self.unit}_per_second": self.units / seconds, "data_wait": self.waited / seconds}
        pace |= {"padding_rate": 1 - self.units / self.room} if self.room else {}
        pace |= {"mfu": self.flops / seconds / peak} if peak else {}
        self._stalled = self.waited > STALLED * seconds > 0.2
        self._clear()
        return {"loss": sum(means.values()), **means, **pace} if means else {}

    def report_stall(self, tracker: Tracker, workers: int, advice: str) -> None:
        """Say once that training waits for its data."""
        if self._stalled and not self._reported:
            self._reported = True
            tracker.note(
                f"more than {STALLED:.0%} of the time goes by waiting for data: raise plan.dataloader_num_workers "
                f"(now {workers})" + (f", or {advice}" if advice else "")
            )

    def carried(self) -> dict[str, dict[str, float]]:
        """The sums over all processes, and the counts, as numbers. Waits for the device."""
        if not self.sums:
            return {"sums": {}, "counts": {}}
        totals = self.accelerator.reduce(torch.stack(list(self.sums.values())), "sum").tolist()
        return {"sums": dict(zip(self.sums, totals, strict=True)), "counts": dict(self.counts)}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time of what is not training, such as an evaluation."""
        stopped = time.perf_counter()
        yield
        self.began += time.perf_counter() - stopped

    def _clear(self) -> None:
        self.sums, self.counts = {}, {}
        self.units, self.room, self.flops = 0.0, 0.0, 0.0
        self.began, self.waited = time.perf_counter(), 0.0


def _is_idle(device: torch.device) -> bool:
    return device.type != "cuda" or torch.cuda.current_stream(device).query()


class Speed:
    """Arithmetic that the model asks for, and what the device could do of it."""

    def __init__(self, model: nn.Module, loss: Loss, accelerator: Accelerator):
        self.model, self.loss, self.accelerator = shape_of(model), loss, accelerator
        peak = peak_flops(accelerator)
        self.peak = peak and peak * accelerator.num_processes
        self._per_place: dict[int, float] = {}

    def flops_per_place(self, batch: Batch) -> float:
        """For each unit that `batch` has room for; counted once for all batches of its width, to 64 units."""
        if not self.peak:
            return 0.0
        width = -(-batch.width // 64)
        if width not in self._per_place:
            try:
                self._per_place[width] = count_flops(self.model, self.loss, batch) / batch.room
            except UncountableError:
                self.peak = None
                return 0.0
        return self._per_place[width]
