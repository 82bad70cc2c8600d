"""What is the cross entropy of a guess among a whole vocabulary, without the table of tokens × vocabulary?

The projection of N states onto V logits, the cross entropy and both gradients, some rows at a time: a chunk's logits
become its probabilities, then its gradient, in a buffer that the next chunk uses again. Nothing of size N × V is made,
forward or backward, and the result is what the full table gives, to rounding. (For 4,096 tokens of GPT-2's vocabulary
the table takes 0.8 GB, and the usual way makes it four times.)
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# A chunk's logits in fp32. With fewer rows every product reads the whole weight for too little work.
CHUNK_BYTES_CPU, CHUNK_BYTES_GPU = 64 * 2**20, 512 * 2**20


@torch.compiler.disable
def projected_cross_entropy(
    states: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Judge the logits `states @ weight.T + bias`: the sum of -log p(target) in nats, and how many guesses are right.

    states (N, H), weight (V, H), bias (V,) or None, target (N,) from 0 to V - 1. Under autocast the products are made
    in its precision; the softmax and all sums are in fp32 (in fp64 for fp64). A guess is right if the target's logit is
    the largest, of equal ones the first. Finding it takes a twentieth of a training step, so where a gradient is asked
    for it is not looked up, and the second number is NaN. Differentiable once.
    """
    learning = [tensor is not None and tensor.requires_grad for tensor in (states, weight, bias)]
    precision = _precision(states)
    with _autocast_off(states.device):
        if torch.is_grad_enabled() and any(learning):
            total: Tensor = _ProjectedCrossEntropy.apply(states, weight, bias, target, precision)
            return total, torch.full_like(total, math.nan)
        return _evaluated(_Projection(states, weight, bias, precision), target)


def _evaluated(projection: "_Projection", target: Tensor) -> tuple[Tensor, Tensor]:
    total, correct = projection.zeros(), projection.zeros()
    for rows in projection.chunks():
        logits = projection.logits(rows)
        correct += (logits.argmax(-1) == target[rows]).sum()
        total += projection.losses(logits, target[rows]).sum()
    return total, correct


class _ProjectedCrossEntropy(torch.autograd.Function):
    """The forward pass makes the gradients too, while a chunk's probabilities are there; backward only scales them."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, precision: torch.dtype
    ) -> Tensor:
        projection = _Projection(states, weight, bias, precision)
        for_states, for_weight, for_bias = ctx.needs_input_grad[:3]
        total = projection.zeros()
        states_gradient = torch.empty_like(projection.states) if for_states else None  # (N, H)
        weight_gradient = projection.zeros(*weight.T.shape) if for_weight else None  # (H, V): the faster product
        bias_gradient = projection.zeros(len(weight)) if for_bias else None  # (V,)
        for rows in projection.chunks():
            total += projection.losses(projection.logits(rows), target[rows]).sum()
            slope = projection.slope(target[rows])
            if states_gradient is not None:
                torch.mm(slope, projection.weight, out=states_gradient[rows])
            if weight_gradient is not None:
                projection.add_outer(weight_gradient, slope, rows)
            if bias_gradient is not None:
                bias_gradient += slope.sum(0, dtype=bias_gradient.dtype)
        if weight_gradient is not None:
            weight_gradient = weight_gradient.T.contiguous()
        ctx.dtypes = [None if tensor is None else tensor.dtype for tensor in (states, weight, bias)]
        ctx.save_for_backward(states_gradient, weight_gradient, bias_gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        gradients = [
            None if gradient is None else (gradient * factor.to(gradient.dtype)).to(dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return *gradients, None, None


class _Projection:
    """Logits, softmax and slope of one chunk of R rows after another, in buffers that are made once.

    `narrow` is in the products' precision, `wide` in full precision; where these are the same, so are the buffers, and
    each step below destroys what the one before left.
    """

    def __init__(self, states: Tensor, weight: Tensor, bias: Tensor | None, precision: torch.dtype):
        self.states, self.weight = states.to(precision), weight.to(precision)  # (N, H) (V, H)
        self.bias = None if bias is None else bias.to(precision)  # (V,)
        self.full = torch.float64 if precision == torch.float64 else torch.float32
        budget = CHUNK_BYTES_CPU if states.device.type == "cpu" else CHUNK_BYTES_GPU
        count = max(1, math.ceil(4 * len(states) * len(weight) / budget))
        self.num_rows = max(1, math.ceil(len(states) / count))
        self.narrow = self.states.new_empty(self.num_rows, len(weight))
        self.wide = self.narrow if precision == self.full else torch.empty_like(self.narrow, dtype=self.full)
        self._product: tuple[Tensor, Tensor] | None = None

    def zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=self.full, device=self.states.device)

    def chunks(self) -> Iterator[slice]:
        for start in range(0, len(self.states), self.num_rows):
            yield slice(start, min(start + self.num_rows, len(self.states)))

    def logits(self, rows: slice) -> Tensor:
        """(R, V), in `narrow`"""
        logits = torch.mm(self.states[rows], self.weight.T, out=self.narrow[: rows.stop - rows.start])
        return logits if self.bias is None else logits.add_(self.bias)

    def losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """-log p(target) of each row (R,). Leaves p in `wide`."""
        p = self._widened(logits, self.wide[: len(logits)])
        largest, asked = p.amax(-1), p.gather(1, target[:, None]).squeeze(1)
        torch.softmax(p, -1, out=p)
        return largest - p.amax(-1).log() - asked  # not -log p(target), which has no value where p underflows

    def slope(self, target: Tensor) -> Tensor:
        """d loss / d logits (R, V): p, less one at the target. Leaves it in `narrow`."""
        p = self.wide[: len(target)]
        p.scatter_add_(1, target[:, None], -torch.ones_like(p[:, :1]))
        return p if self.wide is self.narrow else self.narrow[: len(target)].copy_(p)

    def add_outer(self, total: Tensor, slope: Tensor, rows: slice) -> None:
        """Add states.T @ slope to `total` (H, V), which is in full precision."""
        if self._product is None:
            narrow = torch.empty_like(total, dtype=slope.dtype)
            self._product = narrow, narrow if narrow.dtype == total.dtype else torch.empty_like(total)
        narrow, wide = self._product
        total += self._widened(torch.mm(self.states[rows].T, slope, out=narrow), wide)

    def _widened(self, narrow: Tensor, wide: Tensor) -> Tensor:
        return narrow if narrow.dtype == wide.dtype else wide.copy_(narrow)  # adding without it takes six times as long


def _precision(states: Tensor) -> torch.dtype:
    device = states.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if autocast else states.dtype


def _autocast_off(device: torch.device) -> AbstractContextManager[None]:
    """Shapes without values (device `meta`) have no autocast."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()
