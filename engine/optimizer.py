"""How far does each step go?  The optimizer, its decay groups, and the learning rate as a function of the step."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn


@dataclass(frozen=True)
class Optimizer:
    """AdamW (Loshchilov & Hutter 2019) as BERT uses it: biases and LayerNorm weights are not decayed."""

    lr: float = 1e-4
    weight_decay: float = 0.01
    betas: tuple[float, ...] = (0.9, 0.999)
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"lr is {self.lr}; a learning rate is above 0, such as 1e-4")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas is {self.betas}; two numbers from 0 to below 1, such as [0.9, 0.999]")


@dataclass(frozen=True)
class Schedule:
    """A linear warm-up from 0 over `warmup_rate` of all steps, then a linear decay to 0, or none."""

    warmup_rate: float = 0.1
    decay: Literal["linear", "constant"] = "linear"

    def __post_init__(self) -> None:
        if not 0 <= self.warmup_rate <= 1:
            raise ValueError(f"warmup_rate is {self.warmup_rate}; it is a share of all steps, from 0 to 1")

    def factor(self, step: int, steps: int) -> float:
        """The share of the peak learning rate at `step` (the first is 1) of `steps`."""
        warmup = round(self.warmup_rate * steps)
        if step <= warmup:
            return step / warmup
        return (steps - step + 1) / (steps - warmup) if self.decay == "linear" else 1.0


def build_optimizer(model: nn.Module, settings: Optimizer) -> torch.optim.AdamW:
    """AdamW, fused, over two groups: what is decayed (matrices) and what is not (vectors: biases, LayerNorm)."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    beta1, beta2 = settings.betas
    return torch.optim.AdamW(groups, lr=settings.lr, betas=(beta1, beta2), eps=settings.eps, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the learning rate `rate`. It is computed from the step, so nothing counts calls or processes."""
    for group in optimizer.param_groups:
        group["lr"] = rate
