"""Which numbers are none?  NaN and infinity in weights are named before anything is done with them; JSON has none."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from engine.run import tensors
from engine.train.shards import local


def not_finite(named: Iterable[tuple[str, Tensor]]) -> str:
    """Name the first tensor with a number that is not finite, and say how many it has; empty if there is none.

    Of a tensor in shards, this process's own shard is looked at.
    """
    for name, tensor in named:
        mine = local(tensor.detach())
        if mine.is_floating_point() and not torch.isfinite(mine).all():
            count = int((~torch.isfinite(mine)).sum())
            return f"{name} holds {count:,} numbers that are not finite, of {mine.numel():,}"
    return ""


def not_finite_in(folder: Path) -> str:
    """Name the first such file and tensor of a folder; empty if there is none. Errors: ValueError for a damaged one."""
    for path in sorted(folder.glob("*.safetensors")):
        try:
            found = not_finite(tensors.read(path))
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged ({error}); restore it, or train it again") from None
        if found:
            return f"{path}: {found}"
    return ""


def strict_json(value: Any, **options: Any) -> str:
    """JSON as the standard has it: a number that is not finite becomes null. `options` are those of `json.dumps`."""
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_without(value), allow_nan=False, **options)


def _without(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
