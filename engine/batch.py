"""What does one step see?  x is shown, y is asked for, and counts say over how many answers each loss is a sum."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """x: what the model is given; y: what it is asked; counts: answers asked, by loss term."""

    x: dict[str, Tensor]
    y: dict[str, Tensor]
    counts: dict[str, int]

    def to(self, device: torch.device) -> "Batch":
        """Copy the tensors to `device`, without waiting where the memory is pinned."""
        return Batch(_moved(self.x, device), _moved(self.y, device), self.counts)

    def pin_memory(self) -> "Batch":
        """Called by the DataLoader: page-locked tensors travel to a GPU while it computes."""
        return Batch(
            {name: tensor.pin_memory() for name, tensor in self.x.items()},
            {name: tensor.pin_memory() for name, tensor in self.y.items()},
            self.counts,
        )

    @property
    def silent(self) -> bool:
        """Nothing is asked: this batch only keeps its process in step with the others."""
        return not any(self.counts.values())

    @property
    def num_tokens(self) -> int:
        """Real tokens (without padding) in x."""
        return int(self.x["attention_mask"].sum())


def _moved(tensors: dict[str, Any], device: torch.device) -> dict[str, Tensor]:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}
