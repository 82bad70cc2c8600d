"""How far does a row of a table go?  As far as every other: normalised gradient descent, row by row.

Stochastic normalised gradient descent (Hazan et al. 2015) with the rows of matrices as blocks (Yu et al. 2017, arXiv
1707.04822): a row moves in the direction of its gradient, by the rate for each of its numbers in the root mean square,
however long the gradient is. A word that a step meets a thousand times so moves as far as one that it meets once, and
a row keeps its direction, which a rate for each number (AdaGrad) bends.
"""

import torch
from torch import Tensor, nn

from engine.train.row_gradients import zero_if_skipped
from engine.train.shards import local

EPS = 1e-10  # of a root mean square; a row without a gradient stays


class NormalizedSgd(torch.optim.Optimizer):
    """For matrices (R, D). Where `found_inf` (0-d) is 1, a step changes nothing. Parameters may be sharded by rows. A
    gradient may be sparse: it holds some rows of its parameter, each once, and no other row is looked at."""

    found_inf: Tensor | None = None

    def __init__(self, parameters: list[nn.Parameter], lr: float):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step with the gradients there are; a parameter without one stays."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.grad.is_sparse:
                    step = self._direction(parameter.grad._values())
                    parameter.index_add_(0, parameter.grad._indices()[0], step, alpha=-group["lr"])
                else:
                    local(parameter).add_(self._direction(local(parameter.grad)), alpha=-group["lr"])

    def _direction(self, gradient: Tensor) -> Tensor:
        gradient = zero_if_skipped(gradient, self.found_inf)
        return gradient / (gradient.norm(dim=1, keepdim=True) / gradient.shape[1] ** 0.5).clamp_min(EPS)
