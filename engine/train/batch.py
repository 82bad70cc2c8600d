"""What does one step see?  x is shown, y is asked for, and counts say over how many answers each loss is a sum."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


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
    def lengths(self) -> list[int]:
        """Real tokens of each example, of all of its choices; without an attention mask, all of its places."""
        if "attention_mask" in self.x:
            return self.x["attention_mask"].flatten(1).sum(1).tolist()
        return [self.width] * len(self.x["input_ids"])

    @property
    def num_tokens(self) -> int:
        """Real tokens in x."""
        return sum(self.lengths)

    @property
    def num_places(self) -> int:
        """Tokens and padding in x."""
        return self.x["input_ids"].numel()

    @property
    def width(self) -> int:
        """Places of one example."""
        return self.x["input_ids"].shape[-1]


Loss = Callable[[nn.Module, Batch], dict[str, Tensor]]  # sums over a batch, by term


def _moved(tensors: dict[str, Any], device: torch.device) -> dict[str, Tensor]:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}
