"""What would the weights be if training did not jump about?  An exponential moving average (EMA) of them.

Its decay warms up: min(decay, (1 + n) / (10 + n)) at the n-th update, as in TensorFlow's `ExponentialMovingAverage`.
The mean age of what is averaged is then at most a tenth of the training so far. To correct the bias as Adam does would
average all models since the random start alike, for the first 1 / (1 - decay) steps.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from engine.train.shards import local

UPDATES = "|updates"  # their number, among the state's tensors; no parameter's name has a bar


class Average:
    """The average of the trainable parameters of `model`, a tied one once. Buffers are always the model's own.

    Parameters may be sharded (DTensor): the average is sharded in the same way, and no process speaks to another.
    """

    def __init__(self, model: nn.Module, decay: float):
        """Begin with the weights that `model` has. Errors: ValueError for parameters of low precision."""
        self.decay, self.updates = decay, 0
        self._trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        for name, parameter in self._trained.items():
            if torch.finfo(parameter.dtype).bits < 32:
                raise ValueError(
                    f"{name} is {parameter.dtype}, too coarse for an average of many steps; keep the weights in "
                    "float32 (mixed precision does), or set optimizer.ema to 0"
                )
        self._average = {name: parameter.detach().clone() for name, parameter in self._trained.items()}
        self._swapped = False

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights of now. To be called after each step of the optimizers."""
        assert not self._swapped, "the model holds the average, not its weights"
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averages, weights = self._parts()
        torch._foreach_lerp_(averages, weights, 1 - decay)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Inside, the model holds the average, to be evaluated or exported; afterwards its own weights, bit for bit."""
        assert not self._swapped, "the model holds the average already"
        self._exchange()
        self._swapped = True
        try:
            yield
        finally:
            self._exchange()
            self._swapped = False

    def settle(self) -> None:
        """Leave the average in the model for good, for its export."""
        self._exchange()
        self._swapped = True

    def tensors(self) -> dict[str, Tensor]:
        """The state: the averages by parameter, not copied, and the number of updates (0-d int64)."""
        assert not self._swapped, "the average is in the model"
        return {**self._average, UPDATES: torch.tensor(self.updates)}

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` returned, sharded alike. Errors: ValueError if the names are others."""
        if differing := sorted(tensors.keys() ^ self.tensors().keys()):
            raise ValueError(
                f"the average of another model: {len(differing)} names differ, such as {differing[0].strip('|')}"
            )
        for name, average in self._average.items():
            local(average).copy_(local(tensors[name]))
        self.updates = int(tensors[UPDATES])

    @torch.no_grad()
    def _exchange(self) -> None:
        """Swap the values, not the tensors: optimizers, compiled code and sharding hold on to the parameters."""
        for average, weights in zip(*self._parts(), strict=True):
            kept = weights.clone()
            weights.copy_(average)
            average.copy_(kept)

    def _parts(self) -> tuple[list[Tensor], list[Tensor]]:
        """What lies on this process of the averages and of the weights."""
        return [local(average) for average in self._average.values()], [local(p) for p in self._trained.values()]
