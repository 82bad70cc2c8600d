"""How many patches a second are transformed for exemplar networks?  Ours beside kornia, on one thread of the CPU.

python -m benchmarks.augmentations [--patches 256] [--rounds 9] [--size 32]

Both shift, scale and turn by one resampling with reflection, and change saturation, value and hue. Kornia's pipeline
(RandomAffine, ColorJiggle) is called for each patch, as a data set's `__getitem__` calls it, and for the whole batch,
with parameters for each patch. Ours also does the contrast along principal components and the powers, which kornia has
not. The ways take turns; medians.
"""

import sys
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from kornia.augmentation import AugmentationSequential, ColorJiggle, RandomAffine
from kornia.constants import SamplePadding

from benchmarks.measuring import finish, ratio, seconds, turn_by_turn
from corpus.images.seeds import side_of
from corpus.images.transformations import Colours, Transformations, draw_parameters, transform
from engine.run.options import read_options


@dataclass(frozen=True)
class Options:
    """Transform patches in three ways, turn by turn."""

    patches: int = 256  # in a batch
    rounds: int = 9  # of which the median counts
    size: int = 32  # the side of a patch, in pixels


def main(argv: list[str]) -> dict[str, float]:
    options = read_options(Options, argv, "python -m benchmarks.augmentations")
    torch.set_num_threads(1)
    number, size = options.patches, options.size
    windows = torch.randint(256, (number, 3, side_of(size), side_of(size)), dtype=torch.uint8)
    border = (side_of(size) - size) // 2
    patches = windows[:, :, border : border + size, border : border + size]
    colours = Colours.of(windows.movedim(1, 3).reshape(-1, 3).numpy()[:100_000] / 255)
    index = np.arange(number)
    theirs = AugmentationSequential(
        RandomAffine(20, (0.2, 0.2), (0.7, 1.4), padding_mode=SamplePadding.REFLECTION, p=1.0),
        ColorJiggle(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1, p=1.0),
        data_keys=["input"],
    )  # fmt: skip

    def ours() -> None:
        drawn = draw_parameters(Transformations(), 0, index, index)
        transform(windows.float() / 255, size, drawn, colours)

    def per_sample() -> None:
        torch.cat([theirs(patch[None].float() / 255) for patch in patches])

    def batched() -> None:
        theirs(patches.float() / 255)

    ways = {"ours": ours, "kornia_per_sample": per_sample, "kornia_batched": batched}
    with torch.inference_mode():
        for way in ways.values():
            way()
        taken = turn_by_turn({name: lambda way=way: seconds(way) for name, way in ways.items()}, options.rounds)  # type: ignore[misc]
    found = {f"{name}_patches_per_second": round(number / median(times)) for name, times in taken.items()}
    result = {
        **found,
        "speedup_per_sample": ratio(taken["kornia_per_sample"], taken["ours"]),
        "speedup_batched": ratio(taken["kornia_batched"], taken["ours"]),
    }
    finish(result)
    return result


if __name__ == "__main__":
    main(sys.argv[1:])
