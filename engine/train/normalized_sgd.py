"""How far does a row of a table go?  As far as every other: normalised gradient descent, row by row.

Stochastic normalised gradient descent (Hazan et al. 2015) with the rows of matrices as blocks (Yu et al. 2017, arXiv
1707.04822): a row moves in the direction of its gradient, by the rate for each of its numbers in the root mean square,
however long the gradient is. A word that a step meets a thousand times so moves as far as one that it meets once, and
a row keeps its direction, which a rate for each number (AdaGrad) bends.
"""

from torch import Tensor

from engine.train.row_gradients import RowOptimizer
from engine.train.shards import local

EPS = 1e-10  # of a root mean square; a row without a gradient stays


class NormalizedSgd(RowOptimizer):
    """For matrices (R, D), which may be sharded by rows. Nothing is kept from step to step."""

    def move(self, parameter: Tensor, rows: Tensor | None, gradient: Tensor, rate: float) -> None:
        step = gradient / (gradient.norm(dim=1, keepdim=True) / gradient.shape[1] ** 0.5).clamp_min(EPS)
        if rows is None:
            local(parameter).add_(step, alpha=-rate)
        else:
            parameter.index_add_(0, rows, step, alpha=-rate)
