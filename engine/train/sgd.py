"""How is a step of SGD left out, and taken in shards?  torch's fused kernel can do the first, and knows no DTensor."""

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from engine.train.shards import local


class Sgd(torch.optim.SGD):
    """torch's own, with momentum. Where `found_inf` (0-d) is 1, a step changes nothing. Parameters may be sharded."""

    found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step with the gradients there are; a parameter without one stays."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            sgd(
                [local(parameter) for parameter in parameters],
                [local(parameter.grad) for parameter in parameters],
                [self._velocity(parameter) for parameter in parameters] if group["momentum"] else [],
                fused=True, found_inf=self.found_inf, has_sparse_grad=False,
                lr=group["lr"], momentum=group["momentum"], weight_decay=group["weight_decay"],
                dampening=0.0, nesterov=False, maximize=False,
            )  # fmt: skip

    def _velocity(self, parameter: Tensor) -> Tensor:
        """Zero before the first step: torch would leave it as it finds the memory, if the first step is left out."""
        if not self.state[parameter]:
            self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return local(self.state[parameter]["momentum_buffer"])
