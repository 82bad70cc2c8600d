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


class ProjectedLSTM(nn.Module):
    """The weights of one direction of one layer: H cells, whose output is projected to P features.

    The rows of `input` and `recurrent` belong to the gates in the order of `torch.nn.LSTM`: input, forget, cell, output.
    """

    def __init__(self, input_size: int, cell_size: int, projection_size: int):
        super().__init__()
        self.input = nn.Linear(input_size, 4 * cell_size)
        self.recurrent = nn.Linear(projection_size, 4 * cell_size, bias=False)
        self.projection = nn.Linear(cell_size, projection_size, bias=False)


def read_side_by_side(
    x: Tensor, directions: Sequence[ProjectedLSTM], cell_clip: float, projection_clip: float
) -> Tensor:
    """What D LSTMs make of D inputs x (D, B, T, I), each of its own: (D, B, T, P). All states begin at zero.

    They share nothing; side by side a step in time takes one product for all. Padding must stand behind the tokens.
    """
    weights = [
        torch.stack([getattr(lstm, part).weight for lstm in directions]) for part in ("input", "recurrent", "projection")
    ]
    bias = torch.stack([lstm.input.bias for lstm in directions])
    precision = _precision(x)
    with _autocast_off(x.device):
        found: Tensor = _Steps.apply(x, *weights, bias, cell_clip, projection_clip, precision)
    return found


class _Steps(torch.autograd.Function):
    """All steps in time. Products are made in `precision`, all else in full precision.

    Shapes: T steps, D directions, B rows, I inputs, H cells, P projected. Weights are (D, 4 H, I), (D, 4 H, P),
    (D, P, H), the bias is (D, 4 H).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, into: Tensor, recurrent: Tensor, projection: Tensor, bias: Tensor,
        cell_clip: float, projection_clip: float, precision: torch.dtype,
    ) -> Tensor:  # fmt: skip
        ctx.dtypes = [tensor.dtype for tensor in (x, into, recurrent, projection, bias)]
        ctx.clips = cell_clip, projection_clip
        into, recurrent, projection = (weight.to(precision) for weight in (into, recurrent, projection))
        full = torch.float64 if precision == torch.float64 else torch.float32
        x = x.to(precision).permute(2, 0, 1, 3)  # (T, D, B, I)
        steps, _, rows, _ = x.shape
        count, width, cells = projection.shape
        gates = _products(x, into).to(full).add_(bias.to(full)[:, None])  # (T, D, B, 4 H)
        kept = x.new_zeros(steps + 1, count, rows, cells, dtype=full)  # cells, before the first step and after each
        outputs = x.new_zeros(steps + 1, count, rows, width, dtype=precision)
        by_recurrent, by_projection = recurrent.transpose(1, 2), projection.transpose(1, 2)
        for step in range(steps):
            gate = gates[step]
            _add_product(gate, outputs[step], by_recurrent)
            entering, forgetting, candidate, leaving = gate.chunk(4, -1)
            gate[..., : 2 * cells].sigmoid_()
            candidate.tanh_()
            leaving.sigmoid_()
            cell = torch.mul(forgetting, kept[step], out=kept[step + 1])
            cell.addcmul_(entering, candidate).clamp_(-cell_clip, cell_clip)
            output = torch.bmm((leaving * cell.tanh()).to(precision), by_projection)
            outputs[step + 1] = output.clamp_(-projection_clip, projection_clip)
        ctx.save_for_backward(x, into, recurrent, projection, gates, kept, outputs)
        return outputs[1:].permute(1, 2, 0, 3).to(full)  # (D, B, T, P)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, into, recurrent, projection, gates, kept, outputs = ctx.saved_tensors
        cell_clip, projection_clip = ctx.clips
        precision, full = x.dtype, gates.dtype
        grad = grad.to(full).permute(2, 0, 1, 3)  # (T, D, B, P)
        entering, forgetting, candidate, leaving = gates.chunk(4, -1)  # (T, D, B, H) each
        squashed = kept[1:].tanh()
        inside = (kept[1:].abs() < cell_clip).to(full)  # what is clipped passes no gradient on
        projected = outputs[1:].abs() < projection_clip
        to_cell = leaving * (1 - squashed * squashed)  # d output / d cell
        # What a gate's sum (before its sigmoid or tanh) does: the first three to the cell, the last to the output.
        slopes = torch.stack(
            [
                candidate * entering * (1 - entering),
                kept[:-1] * forgetting * (1 - forgetting),
                entering * (1 - candidate * candidate),
                squashed * leaving * (1 - leaving),
            ],
            dim=-2,
        )  # (T, D, B, 4, H), which become the gradients of the sums
        by_output = torch.empty(projected.shape, dtype=precision, device=x.device)
        later, later_cell = torch.zeros_like(grad[0]), torch.zeros_like(kept[0])
        for step in reversed(range(len(grad))):
            by_output[step] = (grad[step] + later) * projected[step]
            released = torch.bmm(by_output[step], projection).to(full)  # (D, B, H)
            cell = later_cell.addcmul_(released, to_cell[step]).mul_(inside[step])
            slopes[step, ..., :3, :] *= cell.unsqueeze(-2)
            slopes[step, ..., 3, :] *= released
            later = torch.bmm(slopes[step].flatten(-2).to(precision), recurrent).to(full)
            later_cell = cell * forgetting[step]
        sums = slopes.flatten(-2)  # (T, D, B, 4 H)
        narrow = sums.to(precision)
        found = (
            _products(narrow, into.transpose(1, 2)).permute(1, 2, 0, 3),
            _outer(narrow, x),
            _outer(narrow, outputs[:-1]),
            _outer(by_output, (leaving * squashed).to(precision)),
            sums.sum((0, 2)),
        )
        return *(value.to(dtype) for value, dtype in zip(found, ctx.dtypes, strict=True)), None, None, None


def _products(x: Tensor, weights: Tensor) -> Tensor:
    """x (T, D, B, I) by the weights (D, O, I) of each direction: (T, D, B, O), each step's in one piece."""
    steps, count, rows, _ = x.shape
    found = x.new_empty(steps, count, rows, weights.shape[1])
    for number, weight in enumerate(weights):
        found[:, number] = (x[:, number].flatten(0, 1) @ weight.T).view(steps, rows, -1)
    return found


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """The sum over steps and rows of left (T, D, B, O) times right (T, D, B, I): (D, O, I)."""
    pairs = zip(left.unbind(1), right.unbind(1), strict=True)
    return torch.stack([a.flatten(0, 1).T @ b.flatten(0, 1) for a, b in pairs])


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
