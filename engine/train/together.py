"""What do the other processes have?  The rows of all of them, in their order (all-gather)."""

import torch
import torch.distributed as dist
from torch import Tensor

from engine.run.processes import is_distributed


@torch.no_grad()
def rows_of_all(rows: Tensor) -> Tensor:
    """The rows (N, ...) of all processes behind each other, without a gradient; each may have another N. All processes
    must call it."""
    if not is_distributed():
        return rows.detach()
    world = dist.get_world_size()
    numbers = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world)]
    dist.all_gather(numbers, numbers[0].new_tensor([len(rows)]))
    most = int(max(number.item() for number in numbers))
    padded = rows.new_zeros(most, *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(number)] for part, number in zip(parts, numbers, strict=True)])
