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
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd.function import once_differentiable

# A chunk's logits in fp32. With fewer rows every product reads the whole weight for too little work.
CHUNK_BYTES_CPU, CHUNK_BYTES_GPU = 128 * 2**20, 512 * 2**20
TILE_CPU = 512  # columns: with 1,024 rows 2 MB. A GPU takes all of a chunk's at once.


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
        losses, guess = projection.losses(rows, target[rows], guesses=True)
        assert guess is not None
        correct += guess.eq(target[rows]).sum()
        total += losses.sum()
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
        states_gradient = projection.zeros(*states.shape) if for_states else None  # (N, H)
        weight_gradient = projection.zeros(*weight.shape) if for_weight else None  # (V, H)
        bias_gradient = projection.zeros(len(weight)) if for_bias else None  # (V,)
        for rows in projection.chunks():
            total += projection.losses(rows, target[rows])[0].sum()
            for tile, slope in projection.slopes(target[rows]):
                if states_gradient is not None:
                    projection.add_product(states_gradient[rows], slope, projection.weight[tile])
                if weight_gradient is not None:
                    projection.add_product(weight_gradient[tile], slope.T, projection.states[rows])
                if bias_gradient is not None:
                    bias_gradient[tile] += slope.sum(0, dtype=bias_gradient.dtype)
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
    """Logits, softmax and slope of one chunk of R rows after another, in tiles of C columns that are made once.

    A tile is contiguous, and on a CPU so small that what a product leaves in the cache is still there for what comes
    next: half the time of products that write a whole chunk (Milakov & Gimelshein 2018, arXiv 1805.02867, for a softmax
    of which one sees a part at a time). `precision` is that of the products; all else is in full precision.
    """

    def __init__(self, states: Tensor, weight: Tensor, bias: Tensor | None, precision: torch.dtype):
        self.states, self.weight = states.to(precision), weight.to(precision)  # (N, H) (V, H)
        self.bias = None if bias is None else bias.to(precision)  # (V,)
        self.full = torch.float64 if precision == torch.float64 else torch.float32
        on_cpu = states.device.type == "cpu" and not isinstance(states, FakeTensor)  # which has shapes alone
        count = max(1, math.ceil(4 * len(states) * len(weight) / (CHUNK_BYTES_CPU if on_cpu else CHUNK_BYTES_GPU)))
        self.num_rows = max(1, math.ceil(len(states) / count))
        width = min(TILE_CPU, len(weight)) if on_cpu else len(weight)
        self.tiles = [slice(start, min(start + width, len(weight))) for start in range(0, len(weight), width)]
        self._p = [self._room(self.num_rows * (tile.stop - tile.start)) for tile in self.tiles]
        self._narrow = None if precision == self.full else self.states.new_empty(self.num_rows * width)

    def zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=self.full, device=self.states.device)

    def chunks(self) -> Iterator[slice]:
        for start in range(0, len(self.states), self.num_rows):
            yield slice(start, min(start + self.num_rows, len(self.states)))

    def losses(self, rows: slice, target: Tensor, guesses: bool = False) -> tuple[Tensor, Tensor | None]:
        """-log p(target) of each row (R,), and the likeliest column, if it is asked for. Keeps what `slopes` needs."""
        asked, top = self.zeros(len(target)), self.zeros(len(target)) - math.inf
        largest, sums, guess = [], [], torch.zeros_like(target) if guesses else None
        for tile, p in zip(self.tiles, self._p, strict=True):
            p = self._logits(rows, tile, p)
            place, inside = self._places(target, tile)
            asked += torch.where(inside, p.gather(1, place).squeeze(1), 0.0)
            peak = p.amax(-1).clamp_min_(torch.finfo(p.dtype).min)  # a tile may be -inf throughout: less itself, NaN
            if guess is not None:
                guess = torch.where(peak > top, tile.start + p.argmax(-1), guess)
            top = torch.maximum(top, peak)
            largest.append(peak)
            sums.append(p.sub_(peak[:, None]).exp_().sum(-1))
        factors = torch.stack(largest).sub_(top).exp_()  # (tiles, R)
        total = (factors * torch.stack(sums)).sum(0)
        self._scale = factors / total
        return top + total.log() - asked, guess

    def slopes(self, target: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """d loss / d logits (R, C) of each tile of the last chunk: p, less one at the target."""
        for tile, p, scale in zip(self.tiles, self._p, self._scale, strict=True):
            p = p[: len(target) * (tile.stop - tile.start)].view(len(target), -1).mul_(scale[:, None])
            place, inside = self._places(target, tile)
            p.scatter_add_(1, place, -inside[:, None].to(p.dtype))
            yield tile, p if self._narrow is None else self._narrow_like(p).copy_(p)

    def add_product(self, total: Tensor, left: Tensor, right: Tensor) -> None:
        """Add left @ right to `total`, which is in full precision."""
        if self._narrow is None:
            total.addmm_(left, right)
        else:
            total += (left @ right).to(total.dtype)  # adding without it takes six times as long

    def _logits(self, rows: slice, tile: slice, room: Tensor) -> Tensor:
        """(R, C), in `room` and full precision"""
        shape = rows.stop - rows.start, tile.stop - tile.start
        wide = room[: shape[0] * shape[1]].view(shape)
        logits = torch.mm(self.states[rows], self.weight[tile].T, out=self._narrow_like(wide))
        if self.bias is not None:
            logits += self.bias[tile]
        return wide if self._narrow is None else wide.copy_(logits)

    def _narrow_like(self, wide: Tensor) -> Tensor:
        """A tile of this shape in the products' precision: itself, if that is full."""
        return wide if self._narrow is None else self._narrow[: wide.numel()].view(wide.shape)

    def _places(self, target: Tensor, tile: slice) -> tuple[Tensor, Tensor]:
        """Where in the tile each row's target stands (R, 1), and whether it does (R,)."""
        place = target - tile.start
        inside = (place >= 0) & (place < tile.stop - tile.start)
        return torch.where(inside, place, 0)[:, None], inside

    def _room(self, size: int) -> Tensor:
        return torch.empty(size, dtype=self.full, device=self.states.device)


def _precision(states: Tensor) -> torch.dtype:
    device = states.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if autocast else states.dtype


def _autocast_off(device: torch.device) -> AbstractContextManager[None]:
    """Shapes without values (device `meta`) have no autocast."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()
