"""How long, how many at a time, and when to look up?  The recipe's `plan:` section."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """The recipe's `plan:` section. `global_batch` examples a step, on however many processes."""

    steps: int
    global_batch: int
    device_batch: int
    log_every: int = 10
    evaluate_every: int = 0  # steps; 0: only at the end
    save_every: int = 0  # steps; 0: only when stopped
    keep: int = 2  # complete states that stay on disk
    max_grad_norm: float = 1.0
    workers: int = 0  # processes that prepare batches; 0: the training process itself

    def __post_init__(self) -> None:
        for name in ("steps", "global_batch", "device_batch", "log_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if not self.max_grad_norm > 0:
            raise ValueError(f"max_grad_norm is {self.max_grad_norm}; it must be above 0")

    def evaluates_at(self, step: int) -> bool:
        return step == self.steps or (self.evaluate_every > 0 and step % self.evaluate_every == 0)

    def saves_at(self, step: int) -> bool:
        return self.save_every > 0 and step % self.save_every == 0 and step < self.steps
