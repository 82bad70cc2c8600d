"""How far may each number go that is seldom asked?  AdaGrad, which can change some rows of a table and leave the rest.

Duchi et al. 2011: a number's step is its gradient over the root of the sum of the squares of all its gradients so far.
So it does not matter how long a gradient is, whether it is a sum or a mean.
"""

import torch
from torch import Tensor

from engine.train.row_gradients import RowOptimizer
from engine.train.shards import local

EPS = 1e-10  # as torch's own has it


class Adagrad(RowOptimizer):
    """Of each parameter, the sum of its squared gradients is kept."""

    def move(self, parameter: Tensor, rows: Tensor | None, gradient: Tensor, rate: float) -> None:
        if not self.state[parameter]:
            self.state[parameter]["sum"] = torch.zeros_like(parameter)
        squares = local(self.state[parameter]["sum"])
        if rows is None:
            squares.addcmul_(gradient, gradient)
            local(parameter).addcdiv_(gradient, squares.sqrt().add_(EPS), value=-rate)
        else:
            found = squares.index_select(0, rows).addcmul_(gradient, gradient)
            squares.index_copy_(0, rows, found)
            parameter.index_add_(0, rows, gradient / found.sqrt_().add_(EPS), alpha=-rate)
