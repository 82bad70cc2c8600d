"""How do tensors reach the disk and come back?  One at a time, whether a process holds them whole or in shards.

A file is the same however many processes shared the tensors, so that any other number can read it. The format is
safetensors (https://huggingface.co/docs/safetensors): a table of contents in JSON, then the numbers, nothing that runs.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import xxhash
from safetensors import safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def write(path: Path | None, tensors: Mapping[str, Tensor]) -> None:
    """Write `tensors`, gathered where they are sharded. All processes take part; the one that has a path writes.

    Only one whole tensor is in memory at a time.
    """
    order = _in_order(tensors)
    if path is None:
        for name in order:
            whole(tensors[name])
        return
    with path.open("wb") as file:
        file.write(_contents(tensors))
        for name in order:
            value = whole(tensors[name]).detach().cpu().contiguous()
            file.write(value.reshape(-1).view(torch.uint8).numpy().data)


def size(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of the file that `write` makes."""
    return len(_contents(tensors)) + sum(_bytes(tensor) for tensor in tensors.values())


def read(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield names and whole tensors, on the CPU. Errors: SafetensorError if the file is none."""
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  (it is no dict)
            yield name, file.get_tensor(name)


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a file."""
    with safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def whole(tensor: Tensor) -> Tensor:
    """Gather a tensor that is in shards, with all other processes."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def digest(tensor: Tensor) -> str:
    """A checksum (XXH3, 64 bits, as hex) of a whole tensor's numbers."""
    numbers = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return xxhash.xxh3_64_hexdigest(numbers.data)


def placed(value: Tensor, like: Tensor) -> Tensor:
    """Copy a whole `value` to the device of `like`, and of it only this process's part if `like` is sharded so.

    What has another shape than `like`, as an optimizer's count of steps, stays whole. No process speaks to another.
    """
    if isinstance(like, DTensor) and value.shape == like.shape:
        shard = distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
        return torch.empty_like(like, dtype=value.dtype).copy_(shard)  # the shard itself keeps all of `value` alive
    return value.to(like.device, copy=True)


def _in_order(tensors: Mapping[str, Tensor]) -> list[str]:
    """Wide numbers first: then each tensor begins at a multiple of its number's size, as readers expect."""
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def _bytes(tensor: Tensor) -> int:
    return math.prod(tensor.shape) * tensor.element_size()


def _contents(tensors: Mapping[str, Tensor]) -> bytes:
    table, end = {}, 0
    for name in _in_order(tensors):
        begin, end = end, end + _bytes(tensors[name])
        shape = list(tensors[name].shape)
        table[name] = {"dtype": _NAMES[tensors[name].dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
