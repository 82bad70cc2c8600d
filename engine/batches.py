"""Which examples does step k see?  An order that is a function of (seed, epoch), not a state.

A global batch is cut into slices, one for each process and accumulation step, so the recipe's `global_batch` means the
same on one process or on eight, and a resumed run seeks to its position; it replays nothing.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from engine.batch import Batch
from engine.plan import Plan


class Epoch(Protocol):
    """One pass over the data."""

    order: npt.NDArray[np.int64]  # the examples in the order in which they are seen

    def batch(self, index: npt.NDArray[np.int64]) -> Batch: ...


E = TypeVar("E", bound=Epoch)


@dataclass(frozen=True)
class Position:
    """Where a run stands: optimizer steps taken, the epoch, and the next global batch of that epoch."""

    step: int = 0
    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True)
class _Slice:
    """One process's share of one micro-batch. An empty share shows an example that is not judged, so that every
    process takes part in every step."""

    epoch: int
    index: npt.NDArray[np.int64]
    silent: bool


class Batches(Dataset[Batch], Generic[E]):
    """The endless sequence of global batches; the last one of an epoch may be smaller.

    `open_epoch(number)` gives an epoch. Errors: ValueError if the sizes do not divide.
    """

    def __init__(self, open_epoch: Callable[[int], E], plan: Plan, accelerator: Accelerator):
        world = accelerator.num_processes
        if plan.global_batch % (plan.device_batch * world):
            raise ValueError(
                f"plan.global_batch {plan.global_batch} is not a multiple of plan.device_batch x processes = "
                f"{plan.device_batch} x {world}; change one of them, since every process takes an equal share"
            )
        self.num_micro = plan.global_batch // (plan.device_batch * world)
        self.global_batch, self.workers = plan.global_batch, plan.workers
        self.rank, self.world = accelerator.process_index, world
        self.pin_memory = accelerator.device.type == "cuda"
        self._open_epoch = open_epoch
        self._opened: tuple[int, E] | None = None

    def epoch(self, number: int) -> E:
        """Open epoch `number`, keeping the last one open."""
        if self._opened is None or self._opened[0] != number:
            self._opened = (number, self._open_epoch(number))
        return self._opened[1]

    def steps_per_epoch(self, number: int = 0) -> int:
        """Global batches in epoch `number`."""
        return -(-len(self.epoch(number).order) // self.global_batch)

    def since(self, position: Position, last_step: int) -> Iterator[tuple[Position, list[Batch]]]:
        """Yield, from `position` up to step `last_step`, each step's micro-batches and the position after it."""
        reached: deque[Position] = deque()  # workers read ahead; the position belongs to what is consumed

        def slices() -> Iterator[_Slice]:
            for after, pieces in self._schedule(position, last_step):
                reached.append(after)
                yield from pieces

        loader = DataLoader(
            self, sampler=slices(), batch_size=None, num_workers=self.workers, pin_memory=self.pin_memory
        )
        stream = iter(loader)
        while micro_batches := list(itertools.islice(stream, self.num_micro)):
            yield reached.popleft(), micro_batches

    def __getitem__(self, piece: _Slice) -> Batch:
        batch = self.epoch(piece.epoch).batch(piece.index)
        return Batch(batch.x, batch.y, dict.fromkeys(batch.counts, 0)) if piece.silent else batch

    def _schedule(self, position: Position, last_step: int) -> Iterator[tuple[Position, list[_Slice]]]:
        step, number, batch = position.step, position.epoch, position.batch
        while step < last_step:
            order = self.epoch(number).order
            examples = order[batch * self.global_batch : (batch + 1) * self.global_batch]
            step, batch = step + 1, batch + 1
            pieces = self._pieces(number, examples)
            if batch * self.global_batch >= len(order):
                number, batch = number + 1, 0
            yield Position(step, number, batch), pieces

    def _pieces(self, number: int, examples: npt.NDArray[np.int64]) -> list[_Slice]:
        shares = np.array_split(examples, self.num_micro * self.world)[self.rank :: self.world]
        return [_Slice(number, share if len(share) else examples[:1], silent=not len(share)) for share in shares]
