"""Which examples does step k see?  An order that is a function of (seed, epoch, chapter), not a state.

The sampler and DataLoader of a run, its gradient accumulation, and where it stands in the data. A global batch is cut
into slices, one for each process and accumulation step, so the recipe's `global_batch_size` means the same on one
process or on eight, and a resumed run seeks to its position; it replays nothing.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from engine.train.batch import Batch
from engine.train.plan import Phase, Plan, divide_batches, phase_at


class Examples(Protocol):
    """The examples of one chapter: what is shuffled together. An epoch is one chapter, or several."""

    order: npt.NDArray[np.int64]  # the examples in the order in which they are seen
    is_last: bool  # of its epoch
    cursor: dict[str, Any]  # where a stream's sources stand at the chapter's start; {} where chapters can be sought
    next_cursor: dict[str, Any]  # and at its end

    def batch(self, index: npt.NDArray[np.int64]) -> Batch: ...


E = TypeVar("E", bound=Examples)


@dataclass(frozen=True)
class Position:
    """Where a run stands: optimizer steps taken, and the next global batch: of which chapter, of which epoch."""

    step: int = 0
    epoch: int = 0
    chapter: int = 0
    batch: int = 0
    cursor: dict[str, Any] = field(default_factory=dict)  # see Examples

    @property
    def place(self) -> tuple[int, int]:
        return self.epoch, self.chapter


@dataclass(frozen=True)
class Step:
    """What one optimizer step sees: this process's micro-batches, and which examples all processes see together."""

    after: Position  # where the run stands when the step is done
    place: tuple[int, int]  # epoch, chapter
    examples: npt.NDArray[np.int64]  # of that chapter
    micro_batches: list[Batch]

    @property
    def words(self) -> str:
        """Which examples these are, in words."""
        named = ", ".join(map(str, self.examples[:64])) + (", ..." if len(self.examples) > 64 else "")
        return f"epoch {self.place[0]}, chapter {self.place[1]}, examples {named}"


@dataclass(frozen=True)
class _Slice:
    """One process's share of one micro-batch. An empty share shows an example that does not count, so that every
    process takes part in every step."""

    at: Position
    phase: Phase
    index: npt.NDArray[np.int64]
    is_filler: bool


class Batches(Dataset[Batch], Generic[E]):
    """The endless sequence of global batches; the last one of a chapter may be smaller.

    `open_chapter(position, size)` gives the examples of the chapter that `position` stands in, of `size` units each.
    A new phase begins a new epoch. `reached(epoch, chapter)` hears where training is. Errors: ValueError if the
    processes cannot share a step.
    """

    def __init__(
        self,
        open_chapter: Callable[[Position, int], E],
        plan: Plan,
        accelerator: Accelerator,
        phases: tuple[Phase, ...] = (),
        reached: Callable[[int, int], None] = lambda epoch, chapter: None,
    ):
        self.global_batch_size, self.steps, self.workers = (
            plan.global_batch_size,
            plan.max_steps,
            plan.dataloader_num_workers,
        )
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        self.phases = divide_batches(
            phases or (Phase(1.0, plan.per_device_train_batch_size),), plan.global_batch_size, self.world
        )
        self.pin_memory = accelerator.device.type == "cuda"
        self._open_chapter, self._reached = open_chapter, reached
        self._opened: tuple[tuple[int, int, int], E] | None = None

    def examples(self, position: Position = Position(), phase: Phase | None = None) -> E:
        """Open the chapter that `position` stands in, keeping the last one open."""
        size = (phase or self.phases[0]).size
        key = (*position.place, size)
        if self._opened is None or self._opened[0] != key:
            self._opened = (key, self._open_chapter(position, size))
        return self._opened[1]

    def since(self, position: Position) -> Iterator[Step]:
        """Yield what each step sees, from `position` up to the plan's last step, or until the caller has enough."""
        under_way: deque[Step] = deque()  # workers read ahead; the position belongs to what is consumed

        def slices() -> Iterator[_Slice]:
            for step, pieces in self._schedule(position):
                under_way.append(step)
                yield from pieces

        loader = DataLoader(
            self, sampler=slices(), batch_size=None, num_workers=self.workers, pin_memory=self.pin_memory
        )
        stream = iter(loader)
        while (first := _next(stream)) is not None:
            step = under_way.popleft()
            self._reached(*step.place)
            others = [_next(stream) for _ in range(self._num_micro(self._phase_of(step.after.step)) - 1)]
            yield replace(step, micro_batches=[first, *filter(None, others)])

    def __getitem__(self, piece: _Slice) -> Batch:
        batch = self.examples(piece.at, piece.phase).batch(piece.index)
        return replace(batch, counts=dict.fromkeys(batch.counts, 0)) if piece.is_filler else batch

    def _schedule(self, position: Position) -> Iterator[tuple[Step, list[_Slice]]]:
        size = self.global_batch_size
        while not self.steps or position.step < self.steps:
            phase = self._phase_of(position.step + 1)
            examples = self.examples(position, phase)
            chosen = examples.order[position.batch * size : (position.batch + 1) * size]
            after = self._after(position, examples)
            if not len(chosen):  # a chapter without a single example
                position = after
                continue
            position = replace(position, cursor=examples.cursor)
            pieces = self._pieces(position, phase, chosen)
            after = replace(after, step=position.step + 1)
            if self._phase_of(after.step + 1) is not phase:
                after = Position(after.step, position.epoch + 1)
            yield Step(after, position.place, chosen, []), pieces
            position = after

    def _after(self, position: Position, examples: E) -> Position:
        if (position.batch + 1) * self.global_batch_size < len(examples.order):
            return replace(position, batch=position.batch + 1, cursor=examples.cursor)
        if examples.is_last:
            return Position(position.step, position.epoch + 1)
        return Position(position.step, position.epoch, position.chapter + 1, 0, examples.next_cursor)

    def _phase_of(self, step: int) -> Phase:
        return phase_at(self.phases, step, self.steps)

    def _num_micro(self, phase: Phase) -> int:
        return self.global_batch_size // (phase.device_batch * self.world)

    def _pieces(self, at: Position, phase: Phase, examples: npt.NDArray[np.int64]) -> list[_Slice]:
        shares = np.array_split(examples, self._num_micro(phase) * self.world)[self.rank :: self.world]
        return [_Slice(at, phase, share if len(share) else examples[:1], not len(share)) for share in shares]


def _next(batches: Iterator[Batch]) -> Batch | None:
    """The next batch. Errors: those of whoever makes it; of a worker's, torch would show the traceback as well."""
    try:
        return next(batches, None)
    except (ValueError, OSError) as error:
        said = str(error).rstrip().rpartition("\n")[2]
        raise type(error)(said.removeprefix(f"{type(error).__name__}: ")) from error
