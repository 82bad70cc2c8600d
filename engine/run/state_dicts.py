"""Which tensors are a model and its optimizers?  State dicts: weights and moments by name, gathered and put back."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from engine.run import tensors
from engine.run.folders import ANEW


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and saved buffer once."""
    return without_ties(model.state_dict(keep_vars=True))


def without_ties(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tied tensors under their first name (safetensors refuses shared memory)."""
    first: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in state.items():
        first.setdefault(id(tensor), (name, tensor))
    return dict(first.values())


def gather_weights(model: nn.Module) -> dict[str, Tensor]:
    """The whole state on every process, tied tensors as one.

    It is what `state_dict` gives; but at that torch takes a model apart that was gathered to be used (`fully_shard`).
    """
    state: dict[str, Tensor] = {}
    for place, module in model.named_modules(remove_duplicate=False):
        passing = module._non_persistent_buffers_set
        kept = {name: buffer for name, buffer in module._buffers.items() if name not in passing}
        for name, tensor in (module._parameters | kept).items():
            if tensor is not None:
                state[f"{place}.{name}" if place else name] = tensor
    once = {id(tensor): _off_the_device(tensor.detach()) for tensor in state.values()}
    return {name: once[id(tensor)] for name, tensor in state.items()}


def _off_the_device(tensor: Tensor) -> Tensor:
    """What was in shards for want of room is gathered in the machine's memory; a whole tensor stays where it is."""
    return tensors.whole(tensor).cpu() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def load_weights(model: nn.Module, path: Path) -> None:
    mine = weights_of(model)
    refuse_misfit(path, mine)
    for name, value in tensors.read(path):
        mine[name].copy_(tensors.placed(value, mine[name]))


def refuse_misfit(path: Path, mine: dict[str, Tensor]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in mine.items()}
    found = tensors.shapes(path)
    if differing := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        raise ValueError(
            f"{path} does not fit the model: {len(differing)} tensors differ in name or shape, such as {differing[0]}; "
            "resume with the version of transformers that wrote it, or start anew with --overwrite True"
        )


def _owned(model: nn.Module, optimizers: Sequence[Optimizer]) -> Iterator[tuple[str, Tensor, Optimizer]]:
    """Every parameter that is trained: its name, itself, and whose it is."""
    by_identity = {id(tensor): name for name, tensor in weights_of(model).items()}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                yield by_identity[id(parameter)], parameter, optimizer


def moments_of(model: nn.Module, optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """The optimizers' tensors as `parameter|key`."""
    return {
        f"{name}|{key}": value
        for name, parameter, optimizer in _owned(model, optimizers)
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_moments(model: nn.Module, optimizers: Sequence[Optimizer], path: Path) -> None:
    owners = {name: (parameter, optimizer) for name, parameter, optimizer in _owned(model, optimizers)}
    for name, value in tensors.read(path):
        owner, _, key = name.rpartition("|")
        if owner not in owners:
            raise ValueError(f"{path} does not fit the model: no parameter of it is called as {name}; {ANEW}")
        parameter, optimizer = owners[owner]
        optimizer.state[parameter][key] = tensors.placed(value, parameter)
