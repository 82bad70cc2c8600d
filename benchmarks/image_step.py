"""How many pictures a second does a step of an image network take?  Our way beside plain PyTorch, on one thread.

python -m benchmarks.image_step [--network small_patches] [--rounds 5]

The network is the same in all ways, relative position over a ResNet with group normalisation: forward, backward and
AdamW. Plain is torch's default: pictures one channel behind the other (NCHW), fp32. Ours is channels last, as
`networks.pictures.feature_maps` gives pictures to a trunk, in the arithmetic that a run would choose on this machine;
where the processor has bf16, ours in fp32 is measured as well. The ways take turns; medians.
"""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.measuring import cpu_seconds, finish, name_precision, ratio, turn_by_turn
from engine.run.options import read_options
from engine.run.precision import BF16, measured_rates
from networks.pictures import make_trunk
from networks.relative_position import RelativePositionModel

SMALL = {"layer_type": "basic", "embedding_size": 32, "hidden_sizes": [32, 64, 128], "depths": [1, 1, 1]}
RESNET_18 = {"layer_type": "basic", "embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]}
NETWORKS: dict[str, tuple[dict[str, Any], int, int]] = {  # settings of the trunk, pixels of a patch, patches a step
    "small_patches": (SMALL, 6, 512),
    "resnet_18": ({**RESNET_18, "small_stem": False}, 96, 16),
}


@dataclass(frozen=True)
class Options:
    """Train an image network in several ways, turn by turn."""

    network: Literal["small_patches", "resnet_18"] = "small_patches"  # of a small recipe; or ResNet-18 on 96 pixels
    rounds: int = 5  # of which the median counts


def main(argv: list[str]) -> dict[str, float]:
    options = read_options(Options, argv, "python -m benchmarks.image_step")
    torch.set_num_threads(1)
    settings, size, number = NETWORKS[options.network]
    ways = {"plain": step_of(settings, size, number, plain=True, bf16=False)}
    ways[f"ours_{name_precision('no', 'mkl')}"] = step_of(settings, size, number, plain=False, bf16=False)
    if BF16 in measured_rates():
        ways["ours_bf16"] = step_of(settings, size, number, plain=False, bf16=True)
    for way in ways.values():
        way()
    taken = turn_by_turn({name: lambda way=way: cpu_seconds(way) for name, way in ways.items()}, options.rounds)  # type: ignore[misc]
    result = {f"{name}_patches_per_second": round(number / median(times)) for name, times in taken.items()}
    result |= {f"speedup_{name}": ratio(taken["plain"], times) for name, times in taken.items() if name != "plain"}
    finish(result)
    return result


def step_of(settings: dict[str, Any], size: int, number: int, plain: bool, bf16: bool) -> Callable[[], None]:
    """A function that takes a step."""
    torch.manual_seed(0)
    model = RelativePositionModel.over(*make_trunk(settings, size), patch_size=size, head_size=256, project=False)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    patches = torch.randint(256, (number, size, size, 3), dtype=torch.uint8)
    pairs = torch.arange(number).view(-1, 2)
    place = torch.randint(8, (len(pairs),))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            logits = judge_plainly(model, patches, pairs) if plain else model(patches, pairs)
        sum(cross_entropy(each.float(), place) for each in logits.values()).backward()  # type: ignore[union-attr]
        optimizer.step()
        optimizer.zero_grad()

    return step


def judge_plainly(model: RelativePositionModel, patches: Tensor, pairs: Tensor) -> dict[str, Tensor]:
    """What the model does, with pictures one channel behind the other."""
    pixels = patches.permute(0, 3, 1, 2).float().contiguous()
    pixels = pixels - pixels.mean((2, 3), keepdim=True)
    pixels = pixels / (pixels.square().mean((1, 2, 3), keepdim=True).sqrt() + 1)
    features = model.patch_features(model.trunk(pixels).last_hidden_state.flatten(1))
    centre, neighbour = features[pairs[:, 0]], features[pairs[:, 1]]
    return {
        "place": model.place(torch.cat([centre, neighbour], 1)),
        "neighbour_alone": model.neighbour_alone(neighbour.detach()),
        "centre_alone": model.centre_alone(centre.detach()),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
