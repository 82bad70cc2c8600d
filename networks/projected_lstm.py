"""The LSTM with a projected output (LSTMP) that ELMo reads with, in both directions at once.

Sak et al. 2014, "Long short-term memory based recurrent neural network architectures" (arXiv 1402.1128), without
peepholes. Cells and outputs are clipped, as by TensorFlow's `LSTMCell(num_proj, cell_clip, proj_clip)`. No kernel of
torch does that, so the steps in time are taken here: forward and backward by hand, because autograd would add to the
gradient of each weight at each step, where here it is one product over all of them.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward


class Weights(nn.Linear):
    """Of an LSTM: they do not begin as those of other layers."""


class ProjectedLSTM(nn.Module):
    """The weights of one direction of one layer: H cells, whose output is projected to P features.

    The rows of `input` and `recurrent` are the gates in the order of `torch.nn.LSTM`: input, forget, cell, output.
    """

    def __init__(self, input_size: int, cell_size: int, projection_size: int):
        super().__init__()
        self.input = Weights(input_size, 4 * cell_size)
        self.recurrent = Weights(projection_size, 4 * cell_size, bias=False)
        self.projection = Weights(cell_size, projection_size, bias=False)


def read_side_by_side(
    x: Tensor, directions: Sequence[ProjectedLSTM], cell_clip: float, projection_clip: float
) -> Tensor:
    """What D LSTMs make of D inputs x (D, B, T, I), each of its own: (D, B, T, P). All states begin at zero.

    They share nothing; side by side a step in time takes one product for all. Padding must stand behind the tokens.
    """
    parts = ("input", "recurrent", "projection")
    weights = [torch.stack([getattr(lstm, part).weight for lstm in directions]) for part in parts]
    bias = torch.stack([lstm.input.bias for lstm in directions])
    precision = _precision(x)
    with _autocast_off(x.device):
        found: Tensor = _Steps.apply(x, *weights, bias, cell_clip, projection_clip, precision)
    return found


class _Steps(torch.autograd.Function):
    """All steps in time. Products are made in `precision`, all else in full precision.

    Shapes: D directions, T steps, B rows, I inputs, H cells, P projected. Weights are (D, 4 H, I), (D, 4 H, P),
    (D, P, H), the bias is (D, 4 H). What belongs to a step is made within it, while it is in the cache.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, into: Tensor, recurrent: Tensor, projection: Tensor, bias: Tensor,
        cell_clip: float, projection_clip: float, precision: torch.dtype,
    ) -> Tensor:  # fmt: skip
        ctx.dtypes = [tensor.dtype for tensor in (x, into, recurrent, projection, bias)]
        ctx.clips = cell_clip, projection_clip
        into, recurrent, projection, bias = (weight.to(precision) for weight in (into, recurrent, projection, bias))
        full = torch.float64 if precision == torch.float64 else torch.float32
        x = x.to(precision).transpose(1, 2).contiguous()  # (D, T, B, I)
        count, steps, rows, _ = x.shape
        cells = projection.shape[2]
        gates = torch.baddbmm(bias[:, None], x.flatten(1, 2), into.transpose(1, 2)).to(full)
        gates = gates.view(count, steps, rows, 4 * cells)
        kept = x.new_zeros(count, steps + 1, rows, cells, dtype=full)  # cells, before the first step and after each
        outputs = x.new_zeros(count, steps + 1, rows, projection.shape[1])
        by_recurrent, by_projection = recurrent.transpose(1, 2), projection.transpose(1, 2)
        for step in range(steps):
            gate = gates[:, step]
            _add_product(gate, outputs[:, step], by_recurrent)
            entering, forgetting, candidate, leaving = gate.chunk(4, -1)
            gate[..., : 2 * cells].sigmoid_()
            candidate.tanh_()
            leaving.sigmoid_()
            cell = (forgetting * kept[:, step]).addcmul_(entering, candidate).clamp_(-cell_clip, cell_clip)
            kept[:, step + 1] = cell
            output = torch.bmm((leaving * cell.tanh_()).to(precision), by_projection)
            outputs[:, step + 1] = output.clamp_(-projection_clip, projection_clip)
        ctx.save_for_backward(x, into, recurrent, projection, gates, kept, outputs)
        return outputs[:, 1:].transpose(1, 2).to(full)  # (D, B, T, P)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, into, recurrent, projection, gates, kept, outputs = ctx.saved_tensors
        cell_clip, projection_clip = ctx.clips
        precision, full = x.dtype, gates.dtype
        grad = grad.to(full).transpose(1, 2)  # (D, T, B, P)
        by_gates = torch.empty_like(gates, dtype=precision)  # gradients of the gates before their sigmoid or tanh
        by_output = torch.empty_like(outputs[:, 1:])  # of the outputs before they are clipped
        released = torch.empty_like(kept[:, 1:], dtype=precision)  # what is projected
        later, later_cell = torch.zeros_like(grad[:, 0]), torch.zeros_like(kept[:, 0])
        for step in reversed(range(grad.shape[1])):
            entering, forgetting, candidate, leaving = gates[:, step].chunk(4, -1)
            cell = kept[:, step + 1]
            squashed = cell.tanh()
            released[:, step] = leaving * squashed
            by_output[:, step] = (grad[:, step] + later) * (outputs[:, step + 1].abs() < projection_clip)
            by_released = torch.bmm(by_output[:, step], projection).to(full)
            by_cell = tanh_backward(by_released * leaving, squashed).add_(later_cell).mul_(cell.abs() < cell_clip)
            slopes = (
                sigmoid_backward(by_cell * candidate, entering),
                sigmoid_backward(by_cell * kept[:, step], forgetting),
                tanh_backward(by_cell * entering, candidate),
                sigmoid_backward(by_released * squashed, leaving),
            )
            by_gates[:, step] = torch.cat(slopes, -1)
            later = torch.bmm(by_gates[:, step], recurrent).to(full)
            later_cell = by_cell.mul_(forgetting)
        by_gates = by_gates.flatten(1, 2)  # (D, T B, 4 H)
        transposed = by_gates.transpose(1, 2)
        found = (
            torch.bmm(by_gates, into).view_as(x).transpose(1, 2),
            torch.bmm(transposed, x.flatten(1, 2)),
            torch.bmm(transposed, outputs[:, :-1].flatten(1, 2)),
            torch.bmm(by_output.flatten(1, 2).transpose(1, 2), released.flatten(1, 2)),
            by_gates.sum(1, dtype=full),
        )
        return *(value.to(dtype) for value, dtype in zip(found, ctx.dtypes, strict=True)), None, None, None


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right to `total`, which is in full precision."""
    if left.dtype == total.dtype:
        total.baddbmm_(left, right)
    else:
        total += torch.bmm(left, right)


def _precision(x: Tensor) -> torch.dtype:
    device = x.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if autocast else x.dtype


def _autocast_off(device: torch.device) -> AbstractContextManager[None]:
    """Shapes without values (device `meta`) have no autocast."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()
