"""How long, how many at a time, and when to look up?  The recipe's `plan:` section.

Steps or a budget, batch sizes, gradient accumulation and checkpointing, and how often to log, evaluate and save.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from engine.run.recipe import check_least, operational


@dataclass(frozen=True)
class Phase:
    """A share of the steps in which all examples have one size."""

    share: float  # of all steps
    device_batch: int  # examples a process takes at a time, at most
    size: int = 0  # units (tokens, pixels) in an example; 0: it is not the plan that says it


@dataclass(frozen=True)
class Plan:
    """The recipe's `plan:` section. `global_batch_size` examples a step, on however many processes.

    The run ends after `max_steps`, or after `minutes` of training, or when the model has done `flops` floating point
    operations: exactly one of them is given, and the schedule fits itself to it.
    """

    ALTERNATIVES: ClassVar[tuple[str, ...]] = ("max_steps", "minutes", "flops")

    global_batch_size: int  # examples of a step, over all processes and accumulation
    per_device_train_batch_size: int = operational()  # examples a process takes at a time, at most
    max_steps: int = 0  # optimizer steps
    minutes: float = 0.0  # of training, evaluations included, over all launches
    flops: float = 0.0  # floating point operations, forward and backward, such as 1e17
    clock: Literal["wall", "cpu"] = operational("wall")  # of the minutes; cpu: of all threads, when others compute too
    logging_steps: int = operational(10)  # steps between lines of metrics.jsonl
    eval_steps: int = operational(0)  # steps between evaluations; 0: only at the end
    save_steps: int = operational(0)  # steps between saved states; 0: only at the end, or when stopped
    save_total_limit: int = operational(2)  # complete states that stay on disk
    max_grad_norm: float = 1.0  # a longer gradient is shortened to it (clipping)
    skip_spikes: bool = False  # leave out a step whose loss is beyond six sigma of the last 128
    dataloader_num_workers: int = operational(0)  # processes that prepare batches; 0: the training process itself
    torch_compile: bool = False  # torch.compile: half a minute or more at the start, then faster steps
    gradient_checkpointing: bool = False  # compute activations twice instead of keeping them: slower, far smaller
    timeout: int = operational(120)  # seconds a process waits for another, evaluation included, before all give up

    def __post_init__(self) -> None:
        given = [name for name in self.ALTERNATIVES if getattr(self, name)]
        if len(given) != 1:
            found = f"{' and '.join(given)} are" if given else "none is"
            raise ValueError(f"exactly one of max_steps, minutes and flops says how long to train; {found} given")
        counts = ("global_batch_size", "per_device_train_batch_size", "logging_steps", "save_total_limit", "timeout")
        for name in (given[0], *counts):
            if getattr(self, name) < 1 and name not in ("minutes", "flops"):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        check_least(self, 0, "eval_steps", "save_steps", "dataloader_num_workers")
        if self.minutes < 0 or self.flops < 0:
            raise ValueError(f"{given[0]} is {getattr(self, given[0])}; it must be above 0")
        if not self.max_grad_norm > 0:
            raise ValueError(f"max_grad_norm is {self.max_grad_norm}; it must be above 0")

    def in_steps(self, flops_per_step: float) -> "Plan":
        """The same plan with its `flops` counted in steps."""
        return replace(self, max_steps=max(1, round(self.flops / flops_per_step)), flops=0.0) if self.flops else self

    def evaluates_at(self, step: int) -> bool:
        return self.eval_steps > 0 and step % self.eval_steps == 0

    def pauses_at(self, step: int) -> bool:
        """Whether something is said, evaluated or saved after `step`."""
        return step % self.logging_steps == 0 or self.evaluates_at(step) or self.saves_at(step)

    def saves_at(self, step: int) -> bool:
        return self.save_steps > 0 and step % self.save_steps == 0


def divide_batches(phases: tuple[Phase, ...], global_batch_size: int, processes: int) -> tuple[Phase, ...]:
    """The phases with what a process does take at a time: its share of a step, in the fewest equal parts that fit.

    Errors: ValueError if the processes cannot have equal shares.
    """
    if global_batch_size % processes:
        raise ValueError(
            f"plan.global_batch_size is {global_batch_size}, which {processes} processes cannot share equally: choose "
            f"a multiple of {processes}, such as {global_batch_size // processes * processes + processes}"
        )
    share = global_batch_size // processes
    fits = [max(size for size in range(1, share + 1) if size <= phase.device_batch and share % size == 0)
            for phase in phases]  # fmt: skip
    return tuple(replace(phase, device_batch=size) for phase, size in zip(phases, fits, strict=True))


def phase_at(phases: tuple[Phase, ...], step: int, steps: int) -> Phase:
    """The phase of step `step` (the first is 1) of `steps`."""
    done = 0.0
    for phase in phases:
        done += phase.share
        if step <= round(done * steps):
            return phase
    return phases[-1]
