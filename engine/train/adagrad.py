"""How far may each number go that is seldom asked?  AdaGrad, which can change some rows of a table and leave the rest.

Duchi et al. 2011: a number's step is its gradient over the root of the sum of the squares of all its gradients so far.
So it does not matter how long a gradient is, whether it is a sum or a mean.
"""

import torch
from torch import Tensor, nn

from engine.train.row_gradients import zero_if_skipped
from engine.train.shards import local

EPS = 1e-10  # as torch's own has it


class Adagrad(torch.optim.Optimizer):
    """Where `found_inf` (0-d) is 1, a step changes nothing. Parameters may be sharded. A gradient may be sparse: it
    holds some rows of its parameter, each once, and no other row is looked at (`engine.train.row_gradients`)."""

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
                if not self.state[parameter]:
                    self.state[parameter]["sum"] = torch.zeros_like(parameter)
                squares = local(self.state[parameter]["sum"])
                if parameter.grad.is_sparse:
                    self._step_rows(parameter, parameter.grad, squares, group["lr"])
                else:
                    gradient = zero_if_skipped(local(parameter.grad), self.found_inf)
                    squares.addcmul_(gradient, gradient)
                    local(parameter).addcdiv_(gradient, squares.sqrt().add_(EPS), value=-group["lr"])

    def _step_rows(self, parameter: Tensor, gradient: Tensor, squares: Tensor, rate: float) -> None:
        rows, values = gradient._indices()[0], zero_if_skipped(gradient._values(), self.found_inf)
        found = squares.index_select(0, rows).addcmul_(values, values)
        squares.index_copy_(0, rows, found)
        parameter.index_add_(0, rows, values / found.sqrt_().add_(EPS), alpha=-rate)
