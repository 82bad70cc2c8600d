"""Run by two processes: does a model whose parameters are sharded train as one whole does?  Prints JSON.

python -m torch.distributed.run --standalone --nproc_per_node 2 -m tests.engine.sharded
"""

import json
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from engine.train.average import Average
from engine.train.optimizer import Optimizer, build_optimizers, step_unless
from engine.train.shards import local

STEPS, BATCH = 4, 16


class Net(nn.Module):
    """Sizes that two do not divide: shards are unequal, and that of `row` is empty on one process."""

    def __init__(self, vectors: bool = True) -> None:
        """With `vectors`, biases and LayerNorm's weights, or with matrices alone."""
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(11, 9)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(9, elementwise_affine=vectors), nn.Linear(9, 9, bias=vectors), nn.Tanh())
            for _ in range(2)
        )
        self.words, self.row = nn.Linear(9, 11, bias=vectors), nn.Linear(9, 1, bias=vectors)
        self.words.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        states = self.embed(ids)
        for layer in self.layers:
            states = states + layer(states)
        return nn.functional.cross_entropy(self.words(states), ids) + self.row(states).square().mean()


def trained(model: nn.Module, name: Any, rows: slice) -> Average:
    """Train on `rows` of each batch; data parallelism averages the gradients."""
    decay: dict[str, Any] = {} if name == "powered_sgd" else {"weight_decay": 0.1}
    optimizers = build_optimizers(model, Optimizer(name=name, learning_rate=0.01, **decay))
    average = Average(model, 0.9)
    for step in range(STEPS):
        ids = torch.randint(11, (BATCH,), generator=torch.Generator().manual_seed(step))
        model(ids[rows]).backward()
        step_unless(torch.zeros(()), optimizers)
        for parameter in model.parameters():
            assert parameter.grad is not None
            local(parameter.grad).fill_(torch.nan)
        step_unless(torch.ones(()), optimizers)  # must change nothing
        for optimizer in optimizers:
            optimizer.zero_grad()
        average.update()
    return average


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor().detach() if isinstance(tensor, DTensor) else tensor.detach().clone()


def values(model: nn.Module) -> list[Tensor]:
    return [whole(parameter) for parameter in model.parameters()]


def distance(one: list[Tensor], other: list[Tensor], start: list[Tensor]) -> float:
    """How far apart two ends are, the worst parameter's, over the way from the start."""
    return max(float((a - b).norm() / (a - s).norm()) for a, b, s in zip(one, other, start, strict=True))


def main() -> None:
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    half = BATCH // dist.get_world_size()
    own = slice(dist.get_rank() * half, (dist.get_rank() + 1) * half)
    found: dict[str, Any] = {"processes": dist.get_world_size(), "distance": {}}
    for name in ("powered_sgd", "adamw", "lamb", "muon", "sgd"):
        one, shared, begun = (Net(vectors=name != "powered_sgd") for _ in range(3))
        for layer in shared.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(shared, mesh=mesh)
        average_of_one, average = trained(one, name, slice(None)), trained(shared, name, own)
        ends = values(shared)
        found["distance"][name] = distance(values(one), ends, values(begun))
    parameters = list(shared.parameters())
    found["cut"] = all(isinstance(p, DTensor) and p.placements[0].is_shard() for p in parameters)
    found["share"] = sum(local(p).numel() for p in parameters) / sum(p.numel() for p in parameters)

    one, shared = Net(), Net()
    fully_shard(shared, mesh=mesh)
    average_of_one, average = trained(one, "adamw", slice(None)), trained(shared, "adamw", own)
    averages = [[whole(value) for value in a.tensors().values() if value.ndim] for a in (average_of_one, average)]
    found["distance"]["average"] = distance(averages[0], averages[1], values(begun))
    ends = values(shared)
    kinds = {"average": averages[1], "own": ends}
    with average.swapped():
        inside = values(shared)
    after = values(shared)
    found["swapped"] = {"inside": which(inside, kinds), "after": which(after, kinds)}
    if dist.get_rank() == 0:
        print(json.dumps(found), flush=True)
    dist.barrier()
    dist.destroy_process_group()


def which(found: list[Tensor], kinds: dict[str, list[Tensor]]) -> str:
    """Which of the lists `found` equals, bit for bit."""
    equal = [kind for kind, expected in kinds.items() if all(map(torch.equal, found, expected))]
    return " and ".join(equal) or "neither"


if __name__ == "__main__":
    main()
