"""How is a step of Muon left out?  torch's Muon knows no `found_inf`, so the step is taken, and then taken back."""

import torch
from torch import Tensor

from engine.train.shards import local


class Muon(torch.optim.Muon):
    """torch's own (Jordan et al. 2024). Where `found_inf` (0-d) is 1, a step changes nothing.

    It is taken back on the device: one copy of the matrices and of their momentum is needed during a step, which is
    little beside the products that Muon makes of them.
    """

    found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step with the gradients there are; a parameter without one stays."""
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        changed = [local(tensor) for p in parameters for tensor in (p, self.state[p]["momentum_buffer"])]
        before = [tensor.clone() for tensor in changed]
        super().step()
        if self.found_inf is not None:
            for tensor, kept in zip(changed, before, strict=True):
                tensor.copy_(torch.where(self.found_inf == 1, kept, tensor))
