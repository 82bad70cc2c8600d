"""What will a step need?  Memory by part, from shapes alone, and seconds, by trying a piece of one on this machine.

The forecast of memory plays micro-batches with tensors that have shapes and no numbers, and counts what is alive. So
any model, loss and optimizer is foreseen by its own code, and no formula has to follow a change of it.
"""

import statistics
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from engine.train.average import Average
from engine.train.batch import Batch, Loss
from engine.train.optimizer import Optimizer, build_optimizers


@dataclass(frozen=True)
class Memory:
    """Bytes on one process's device. Not all parts are at their largest at once: `peak` may be below their sum."""

    weights: int
    gradients: int
    moments: int  # of the optimizers
    average: int  # of the weights over time
    activations: int  # what a micro-batch's forward pass keeps for its backward pass
    logits: int  # the most that is as wide as the vocabulary at once, kept or not
    copies: int  # of the weights in a lower precision, while a micro-batch is under way
    peak: int
    results: int  # not bytes: how many tensors a micro-batch makes, each by a kernel that Python starts

    @property
    def state(self) -> int:
        """Bytes on disk of what a run needs in order to resume."""
        return self.weights + self.moments + self.average


def foreseen_memory(
    build: Callable[[], PreTrainedModel], loss: Loss, batch: Batch, optimizer: Optimizer, bf16: bool, accumulated: bool,
    width: int, compute_twice: bool = False,
) -> Memory:  # fmt: skip
    """Play two micro-batches like `batch`: of one step if gradients are `accumulated`, else of two.

    `width` is the vocabulary's; `compute_twice` is the plan's `gradient_checkpointing`. Takes a second or two.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as shapes:
        with no_init_weights():  # some draws look at the numbers that they drew
            model = build().train()
        model.tie_weights()  # which is a part of it
        if compute_twice:
            model.activation_checkpointing_enable()
        x, y = ({name: shapes.from_tensor(value) for name, value in part.items()} for part in (batch.x, batch.y))
        batch = replace(batch, x=dict(x), y=dict(y))
        weights = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}.values()
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        average = Average(model, optimizer.ema).tensors().values() if optimizer.ema else []
        optimizers = build_optimizers(model, optimizer)
        with _Books(weights, width) as books:
            for is_last in (False, True):  # the first makes the moments
                before, made = books.alive, books.made
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    sums = loss(model, batch)
                    total = torch.stack([sums[term].float() for term in batch.counts]).sum()
                    kept, copies = books.alive - before, books.copies
                total.backward()
                del sums, total
                results = books.made - made
                for part in optimizers:
                    part.step()
                    if is_last or not accumulated:  # else the next micro-batch meets the gradients of this one
                        part.zero_grad()
        states = [state for part in optimizers for state in part.state.values()]
        moments = [value for state in states for value in state.values() if isinstance(value, Tensor)]
        fixed = _bytes(weights) + _bytes(average)
        return Memory(
            weights=_bytes(weights), gradients=_bytes(trained), moments=_bytes(moments), average=_bytes(average),
            activations=kept - copies, logits=books.most_wide, copies=copies, peak=fixed + books.most, results=results,
        )  # fmt: skip


def _bytes(tensors: Any) -> int:
    return sum(tensor.nbytes for tensor in tensors)


class _Books(TorchDispatchMode):
    """Keeps count of the bytes that are alive, of all that is made inside this block."""

    def __init__(self, weights: Any, width: int):
        super().__init__()
        self.alive = self.most = self.copies = self.wide = self.most_wide = self.made = 0
        self._width = width
        self._weights = {tensor.untyped_storage()._cdata for tensor in weights}
        self._held: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        is_copy = func is torch.ops.aten._to_copy.default and self._key(args[0]) in self._weights
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._note(tensor, is_copy)
        return made

    def _note(self, tensor: Tensor, is_copy: bool) -> None:
        key = self._key(tensor)
        if key in self._weights or key in self._held:
            return
        storage = tensor.untyped_storage()
        size, is_wide = storage.nbytes(), not is_copy and tensor.ndim > 1 and tensor.shape[-1] == self._width
        self._held.add(key)
        self.made += 1
        self._count(size, is_copy, is_wide)
        weakref.finalize(storage, self._freed, key, size, is_copy, is_wide)

    def _freed(self, key: int, size: int, is_copy: bool, is_wide: bool) -> None:
        self._held.remove(key)
        self._count(-size, is_copy, is_wide)

    def _count(self, size: int, is_copy: bool, is_wide: bool) -> None:
        self.alive, self.copies, self.wide = self.alive + size, self.copies + size * is_copy, self.wide + size * is_wide
        self.most, self.most_wide = max(self.most, self.alive), max(self.most_wide, self.wide)

    def _key(self, tensor: Tensor) -> int:
        return tensor.untyped_storage()._cdata


def measured_seconds(
    build: Callable[[], PreTrainedModel], loss: Loss, batch: Batch, optimizer: Optimizer, bf16: bool,
    compute_twice: bool = False, budget: float = 4.0,
) -> tuple[float, float]:  # fmt: skip
    """Seconds of a micro-batch (forward and backward) and of the optimizers, on this CPU now, within about `budget`."""
    model = build().train()
    if compute_twice:
        model.activation_checkpointing_enable()
    optimizers = build_optimizers(model, optimizer)

    def learn() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            sums = loss(model, batch)
        torch.stack([sums[term].float() for term in batch.counts]).sum().backward()

    def step() -> None:
        for part in optimizers:
            part.step()

    learn()  # what is first is slower: memory is asked for, kernels are chosen
    step()
    return _median_seconds(learn, 0.75 * budget), _median_seconds(step, 0.25 * budget)


def _median_seconds(act: Callable[[], None], budget: float) -> float:
    """The median of two calls or more."""
    found: list[float] = []
    while len(found) < 2 or sum(found) + found[-1] < budget:
        began = time.perf_counter()
        act()
        found.append(time.perf_counter() - began)
    return statistics.median(found)
