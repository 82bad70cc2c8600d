"""What does one step see?  x is shown, y is asked for, and counts say over how many answers each loss is a sum.

What others collate is one `Batch`: the inputs and labels of a micro-batch, and how many labels there are.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Batch:
    """x: what the model is given; y: what it is asked; counts: answers asked, by loss term.

    `sizes` are the units (tokens, images, frames) that each of its examples really holds, `room` is the number of units
    that its tensors have room for, padding included.
    """

    x: dict[str, Tensor]
    y: dict[str, Tensor]
    counts: dict[str, int]
    sizes: tuple[int, ...]
    room: int

    def to(self, device: torch.device) -> "Batch":
        """Copy the tensors to `device`, without waiting where the memory is pinned."""
        return replace(self, x=_moved(self.x, device), y=_moved(self.y, device))

    def pin_memory(self) -> "Batch":
        """Called by the DataLoader: page-locked tensors travel to a GPU while it computes."""
        return replace(
            self,
            x={name: tensor.pin_memory() for name, tensor in self.x.items()},
            y={name: tensor.pin_memory() for name, tensor in self.y.items()},
        )

    @property
    def is_filler(self) -> bool:
        """Nothing is asked: this batch only keeps its process in step with the others."""
        return not any(self.counts.values())

    @property
    def num_units(self) -> int:
        """Units that the examples hold, without padding."""
        return sum(self.sizes)

    @property
    def width(self) -> int:
        """Units that one example has room for."""
        return self.room // max(1, len(self.sizes))


Loss = Callable[[nn.Module, Batch], dict[str, Tensor]]  # sums over a batch, by term


def _moved(tensors: dict[str, Any], device: torch.device) -> dict[str, Tensor]:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}
