"""How far does a row of a table go?  The farther the longer its gradient is, but not in proportion: powered SGD.

The Powerball method (Yuan et al. 2016, arXiv 1603.07421; for SGD Zhou et al. 2020, "pbSGD") raises each number of a
gradient to a power below 1. Here that is done with the length of each row's gradient, so that its direction is kept;
and lengths are measured by the usual one of the step, so that the scale of the loss does not matter. A row with a
gradient 16 times as long as usual moves 8 times as far: a word that a step meets often may go far, but not so far that
it diverges, as in plain SGD with large batches.
"""

import torch
from torch import Tensor

from engine.train.row_gradients import RowOptimizer
from engine.train.shards import local, sum_over_shards

POWER = 0.75
LEAST = 1e-30  # of a length; a row without a gradient stays


class PoweredSgd(RowOptimizer):
    """For matrices (R, D), which may be sharded by rows. A row whose gradient is as long as usual (the geometric mean
    of the step's rows) moves by the rate, in the root mean square of its numbers. Nothing is kept from step to step."""

    def move(self, parameter: Tensor, rows: Tensor | None, gradient: Tensor, rate: float) -> None:
        lengths = gradient.norm(dim=1, keepdim=True)
        factor = (lengths / _usual(lengths, parameter)).clamp_min(LEAST).pow(POWER) / lengths.clamp_min(LEAST)
        step = gradient * (factor * gradient.shape[1] ** 0.5)
        if rows is None:
            local(parameter).add_(step, alpha=-rate)
        else:
            parameter.index_add_(0, rows, step, alpha=-rate)


def _usual(lengths: Tensor, parameter: Tensor) -> Tensor:
    """The geometric mean (0-d) of the lengths above 0, of all shards of a parameter."""
    logs = torch.where(lengths > 0, lengths, 1).log()
    total, number = sum_over_shards(torch.stack([logs.sum(), (lengths > 0).sum()]), parameter)
    return (total / number.clamp_min(1)).exp()
