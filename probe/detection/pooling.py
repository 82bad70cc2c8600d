"""What does a map of features say about a box?  RoI pooling: the mean over each part of the box.

Fast R-CNN (Girshick 2015, section 2.1) takes the largest value of each part, a part being whole cells of the map. Here
it is the mean, and a part has its share of each cell that it touches, so it may be smaller than a cell.
"""

import torch
from torch import Tensor

LEAST = 0.01  # cells: how narrow a region may be


def pool_regions(features: Tensor, regions: Tensor, bins: int) -> Tensor:
    """(N, C, bins, bins) The mean of a map (C, H, W) over each of bins x bins equal parts of N regions.

    `regions` (N, 4) are edges x0, y0, x1, y1 in cells: cell 0 lies between 0 and 1. What is outside of the map is cut
    off. Sums are differences in a table of sums, so that large regions cost no more than small ones.
    """
    channels, height, width = features.shape
    table = features.new_zeros(height + 1, width + 1, channels, dtype=torch.float64)
    table[1:, 1:] = features.permute(1, 2, 0).double().cumsum(0).cumsum(1)
    x, y = (cut(regions[:, side].double(), regions[:, side + 2].double(), bins, end)
            for side, end in ((0, width), (1, height)))  # fmt: skip
    corners = sums_to(table, y[:, :, None], x[:, None, :])  # (N, bins + 1, bins + 1, C)
    sums = corners.diff(dim=1).diff(dim=2)
    sizes = y.diff(dim=1)[:, :, None] * x.diff(dim=1)[:, None, :]
    return (sums / sizes[..., None]).permute(0, 3, 1, 2).to(features.dtype)


def cut(start: Tensor, end: Tensor, bins: int, length: int) -> Tensor:
    """(N, bins + 1) The edges of equal parts of a side from start to end (N,), inside of 0 .. length."""
    start = start.clamp(0, length - LEAST)
    end = torch.maximum(end.clamp(max=length), start + LEAST)
    return start[:, None] + (end - start)[:, None] * torch.linspace(
        0, 1, bins + 1, dtype=start.dtype, device=start.device
    )


def sums_to(table: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(..., C) The sum of all that is above y and left of x, which broadcast; `table` (H + 1, W + 1, C) has that of
    whole numbers."""
    row, column = y.long().clamp(max=table.shape[0] - 2), x.long().clamp(max=table.shape[1] - 2)
    down, right = (y - row)[..., None], (x - column)[..., None]
    above = table[row, column] * (1 - right) + table[row, column + 1] * right
    below = table[row + 1, column] * (1 - right) + table[row + 1, column + 1] * right
    return above * (1 - down) + below * down
