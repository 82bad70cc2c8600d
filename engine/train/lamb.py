"""How can thousands of examples a step be used as well as hundreds?  LAMB: a step is as long as its matrix is large.

You et al. 2020 (arXiv 1904.00962), algorithm 2 with phi(z) = z. As in the authors' code and in NVIDIA's BERT, vectors
(biases, LayerNorm) are neither decayed nor rescaled: for them it is Adam.
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

from engine.train.shards import local, whole_norms


class Lamb(torch.optim.Optimizer):
    """x <- x - lr * |x| / |d| * d, where d = Adam's direction + weight_decay * x, and |.| is taken tensor by tensor.

    A group with `rescale: False` has no factor |x| / |d|; nor has a tensor where one of the two is 0. The state of a
    parameter is `step` (0-d), `exp_avg`, `exp_avg_sq`, as torch's Adam has it. One copy of the parameters is needed
    during a step. Parameters may be sharded (DTensor): the norms are those of the whole tensors. Where `found_inf`
    (0-d) is 1, a step changes nothing.
    """

    found_inf: Tensor | None = None

    def __init__(
        self,
        params: list[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
    ):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "rescale": True})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step with the gradients there are; a parameter without one stays."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            x = [local(parameter) for parameter in parameters]
            descent = self._adam_descent(parameters, group)
            torch._foreach_sub_(descent, x, alpha=group["weight_decay"])
            taken = 1.0 if self.found_inf is None else 1 - self.found_inf
            if group["rescale"]:
                ratios = taken * trust_ratios(whole_norms(x, parameters), whole_norms(descent, parameters))
                torch._foreach_addcmul_(x, descent, list(ratios.unbind()), value=group["lr"])
            else:
                torch._foreach_mul_(descent, taken)
                torch._foreach_add_(x, descent, alpha=group["lr"])

    def _adam_descent(self, parameters: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Move the moments on, and return -m / (sqrt(v) + eps) of the corrected moments, this process's part.

        It is where one step of Adam at rate 1 leads from 0, and so torch's fused kernel computes it.
        """
        descent = [torch.zeros_like(local(parameter)) for parameter in parameters]
        states = [self._state(parameter) for parameter in parameters]
        beta1, beta2 = group["betas"]
        adam(
            descent,
            [local(parameter.grad) for parameter in parameters if parameter.grad is not None],
            [local(state["exp_avg"]) for state in states],
            [local(state["exp_avg_sq"]) for state in states],
            [],
            [state["step"] for state in states],
            fused=True, found_inf=self.found_inf, amsgrad=False, maximize=False,
            lr=1.0, beta1=beta1, beta2=beta2, eps=group["eps"], weight_decay=0.0,
        )  # fmt: skip
        return descent

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state


def trust_ratios(size: Tensor, length: Tensor) -> Tensor:
    """|x| / |d| (N,), and 1 where either is 0: a tensor that starts at 0 must be able to leave it."""
    return torch.where((size > 0) & (length > 0), size / length, 1.0)
