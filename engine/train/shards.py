"""Which part of a tensor lies on this process?  All of it, or the shard of a DTensor.

What is elementwise needs only the shards; norms need one sum over the processes that share a tensor.
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor


def local(tensor: Tensor) -> Tensor:
    """This process's part, sharing the memory: what is written to it is written to `tensor`."""
    tensor = tensor.detach()
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole_norms(parts: list[Tensor], wholes: list[Tensor]) -> Tensor:
    """Euclidean norms (N,) of N whole tensors, of which `parts` lie here; `wholes` are sharded in the same way."""
    squares = torch.stack(list(torch._foreach_norm(parts))).square()
    for (mesh, dim), numbers in _sharded_over(wholes).items():
        own = squares[numbers]
        dist.all_reduce(own, group=mesh.get_group(dim))
        squares[numbers] = own
    return squares.sqrt()


def sum_over_shards(own: Tensor, whole: Tensor) -> Tensor:
    """What the processes that share `whole` have found of their parts, added up."""
    for mesh, dim in _sharded_over([whole]):
        dist.all_reduce(own, group=mesh.get_group(dim))
    return own


def _sharded_over(tensors: list[Tensor]) -> dict[tuple[DeviceMesh, int], list[int]]:
    """Along which dimension of which mesh the tensors, by number, are cut."""
    found: dict[tuple[DeviceMesh, int], list[int]] = {}
    for number, tensor in enumerate(tensors):
        if isinstance(tensor, DTensor):
            for dim, placement in enumerate(tensor.placements):
                if not placement.is_replicate():
                    found.setdefault((tensor.device_mesh, dim), []).append(number)
    return found
