"""How much arithmetic is a step, and how much of it could this machine do?  Their ratio is the MFU of the log.

Chowdhery et al. 2022 ("PaLM", arXiv 2204.02311, appendix B): the operations that the *model* asks for, forward and
backward, over what the hardware could do in that time. What an implementation adds, such as activations computed twice
to save memory or in a fused kernel, is not counted; attention is counted in full, whatever a mask leaves out.
"""

import copy
import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from engine.run.precision import on_one_thread
from engine.train.batch import Batch, Loss


class UncountableError(Exception):
    """The loss has shapes that depend on numbers, which an outline of it does not have."""


def count_flops(model: nn.Module, loss: Loss, batch: Batch) -> float:
    """Floating point operations of one forward and backward pass of `loss(model, batch)`; a multiply-add is two.

    Matrix products are counted, as is customary, and nothing else. The pass is made by a copy of the model that has
    shapes and no numbers: it takes no memory, less than a second, and no random draw. `model` is the bare one, not yet
    wrapped for several processes. Errors: UncountableError.
    """
    shapes = FakeTensorMode(allow_non_fake_inputs=True)
    hollow = _hollow(model, shapes).train()
    device = next(hollow.parameters()).device
    x, y = _shapes_of(batch.x, shapes), _shapes_of(batch.y, shapes)
    counter = FlopCounterMode(display=False, custom_mapping=PASSED_OVER)
    # The plain attention kernel is the only one whose products are those of the formula, on every device.
    with torch.compiler.set_stance("force_eager"), shapes, sdpa_kernel(SDPBackend.MATH), counter, torch.enable_grad():
        try:
            sums = loss(hollow, replace(batch, x=x, y=y).to(device))
        except (DynamicOutputShapeException, DataDependentOutputException) as error:
            raise UncountableError(str(error)) from error
        torch.stack([sums[term].float() for term in batch.counts]).sum().backward()
    return float(counter.get_total_flops())


def shape_of(model: nn.Module) -> nn.Module:
    """A copy of `model` without numbers: what `count_flops` can use when the model itself has been sharded."""
    meta = {
        id(tensor): nn.Parameter(tensor.detach().to("meta")) if isinstance(tensor, nn.Parameter) else tensor.to("meta")
        for tensor in [*model.parameters(), *model.buffers()]
    }
    return copy.deepcopy(model, meta)


def _shapes_of(tensors: dict[str, Tensor], shapes: FakeTensorMode) -> dict[str, Tensor]:
    return {name: shapes.from_tensor(tensor) for name, tensor in tensors.items()}


def _shape_of(tensor: Tensor, shapes: FakeTensorMode) -> Tensor:
    """One of no device (`meta`) is put on the CPU, where an LSTM has one kernel instead of thousands of small ones."""
    if tensor.device.type != "meta":
        return shapes.from_tensor(tensor)
    with shapes:
        found = torch.empty_like(tensor, device="cpu")
    return nn.Parameter(found, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else found


def _hollow(model: nn.Module, shapes: FakeTensorMode) -> nn.Module:
    """A copy whose tensors are shapes (tied ones stay tied), and which recomputes no activation."""
    tensors = [*model.parameters(), *model.buffers()]
    hollow = copy.deepcopy(model, {id(tensor): _shape_of(tensor, shapes) for tensor in tensors})
    for module in hollow.modules():
        if hasattr(module, "gradient_checkpointing"):
            setattr(module, "gradient_checkpointing", False)  # noqa: B010 (a module's attributes are untyped)
    return hollow


def _products(into: Sequence[int], a: Sequence[int], b: Sequence[int], **_: Any) -> int:
    """2 m n k of (..., m, k) @ (..., k, n), for the products added in place."""
    return 2 * math.prod(a) * b[-1]


def _lstm_layer(x: Sequence[int], into: Sequence[int], recurrent: Sequence[int], *_: Any, **__: Any) -> int:
    """One direction of one layer, forward: x (T, B, I) or (B, T, I), and weights (4 H, I) and (4 H, H)."""
    return 2 * x[0] * x[1] * (math.prod(into) + math.prod(recurrent))


def _lstm_layer_backward(x: Sequence[int], into: Sequence[int], recurrent: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * _lstm_layer(x, into, recurrent)  # by the input and by the weights


def _lstm(x: Sequence[int], weights: Sequence[Sequence[int]], *_: Any, **__: Any) -> int:
    """cuDNN's, forward: all weight matrices of all layers meet each of the places of x (T, B, I) or (B, T, I)."""
    return 2 * x[0] * x[1] * sum(math.prod(weight) for weight in weights if len(weight) == 2)


def _lstm_backward(x: Sequence[int], weights: Sequence[Sequence[int]], *_: Any, **__: Any) -> int:
    return 2 * _lstm(x, weights)


# Products that torch's counter passes over: those that are added in place, and those inside of an LSTM's kernels.
PASSED_OVER = {
    torch.ops.aten.addmm_: _products,
    torch.ops.aten.baddbmm_: _products,
    torch.ops.aten.mkldnn_rnn_layer: _lstm_layer,
    torch.ops.aten.mkldnn_rnn_layer_backward: _lstm_layer_backward,
    torch.ops.aten._cudnn_rnn: _lstm,
    torch.ops.aten._cudnn_rnn_backward: _lstm_backward,
}


# What the hardware could do


@dataclass(frozen=True)
class Card:
    """A GPU: memory in GB (1e9 bytes), and its peak in TFLOP/s on dense matrices; None where it has no such units."""

    name: str
    memory: float
    bf16: float | None
    tf32: float | None
    fp32: float


# As the makers' data sheets are commonly quoted. They print tensor-core peaks with 2:4 sparsity first, of which the
# dense peak is half; bf16 is with fp32 accumulation. Variants stand before the card they are variants of.
CARDS = (
    Card("B200", 180, 2250, 1125, 75),
    Card("H200 NVL", 141, 835, 417, 60),
    Card("H200", 141, 989, 494, 67),
    Card("H100 NVL", 94, 835, 417, 60),
    Card("H100 PCIe", 80, 756, 378, 51),
    Card("H100", 80, 989, 494, 67),
    Card("A100", 80, 312, 156, 19.5),
    Card("A40", 48, 149.7, 74.8, 37.4),
    Card("A30", 24, 165, 82, 10.3),
    Card("A10", 24, 125, 62.5, 31.2),
    Card("A6000", 48, 154.8, 77.4, 38.7),
    Card("A5000", 24, 111.1, 55.6, 27.8),
    Card("A4000", 16, 76.7, 38.3, 19.2),
    Card("6000 Ada", 48, 364.2, 182.1, 91.1),
    Card("L40S", 48, 362, 183, 91.6),
    Card("L40", 48, 181, 90.5, 90.5),
    Card("L4", 24, 121, 60, 30.3),
    Card("V100 PCIe", 16, None, None, 14),
    Card("V100", 16, None, None, 15.7),
    Card("T4", 16, None, None, 8.1),
    Card("5090", 32, 209.5, 104.8, 104.8),
    Card("4090", 24, 165.2, 82.6, 82.6),
    Card("3090 Ti", 24, 80, 40, 40),
    Card("3090", 24, 71, 35.6, 35.6),
    Card("2080 Ti", 11, None, None, 13.4),
)
_VARIANTS = {"LAPTOP", "MIG", "TI", "SUPER", "D", "MAX"}  # other chips, or a part of one, under the same number


def card(name: str) -> Card | None:
    """The card that `name` means, as a driver (`NVIDIA A100-SXM4-80GB`) or a person (`a100`) says it; None: unknown."""
    words = _words(name)
    fitting = (known for known in CARDS if (own := _words(known.name)) <= words and words & _VARIANTS <= own)
    return next(fitting, None)


def _words(name: str) -> set[str]:
    return set(re.split(r"[\s_-]+", name.upper().replace("RTX", "RTX ").strip()))


def peak_flops(accelerator: Accelerator) -> float | None:
    """The most this process's device does a second, in the precision it trains in; None for an unknown device.

    A GPU's is its data sheet's. A CPU's is measured, in 0.3 seconds, since it hangs on threads and kernels.
    """
    bf16 = accelerator.mixed_precision == "bf16"
    if accelerator.device.type == "cpu":
        return measured_peak(torch.bfloat16 if bf16 else torch.float32)
    if accelerator.device.type != "cuda":
        return None
    known = card(torch.cuda.get_device_name(accelerator.device))
    if known is None:
        return None
    in_tf32 = torch.get_float32_matmul_precision() != "highest"
    peak = known.bf16 if bf16 else (in_tf32 and known.tf32) or known.fp32
    return None if peak is None else peak * 1e12


def measured_peak(dtype: torch.dtype, seconds: float = 0.3) -> float:
    """FLOP/s of this process's CPU threads: the best of `seconds` of square matrix products on one, times their number.

    One thread, since several wait for the slowest: beside other programs they would show a tenth of the peak.
    """
    with on_one_thread() as threads:
        return threads * _one_thread(dtype, seconds)


def _one_thread(dtype: torch.dtype, seconds: float) -> float:
    size, best, began = 256, 0.0, time.perf_counter()
    a = torch.ones(size, size, dtype=dtype)
    while time.perf_counter() - began < seconds:
        started = time.perf_counter()
        a @ a
        took = time.perf_counter() - started
        best = max(best, 2 * size**3 / took)
        if size < 1024 and took < seconds / 100:  # an old CPU may be very slow in bf16
            size *= 2
            a = torch.ones(size, size, dtype=dtype)
    return best
