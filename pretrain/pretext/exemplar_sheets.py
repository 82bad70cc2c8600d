"""What does an exemplar network make of its seeds?  Their transformations, invariance curves and mistakes, as pictures.

Invariance curves are those of Dosovitskiy et al. 2014 (figure of section 5): how far features move while a patch is
turned, shifted, scaled or recoloured more and more. A distance of 1 is that between two seeds.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor

from corpus.images.medium import Images
from corpus.images.pictures import Pixels
from corpus.images.seeds import Seeds
from corpus.images.sheets import sheet
from corpus.images.transformations import Parameters, Transformations, draw_parameters, transform, unchanged
from engine.publish.curves import COLOURS, INK, ink_style, save
from engine.publish.exhibits import Exhibit, Picture
from engine.train.batch import Batch

SHOWN = 12  # transformations of a seed, or mistakes
ASKED = 32  # seeds whose features are compared
WITHIN = np.linspace(-1, 1, 9)
CHANGES: dict[str, tuple[str, npt.NDArray[np.float64]]] = {  # title: what is changed, and its values
    "rotation, degrees": ("rotation", 45 * WITHIN),
    "shift, sides of the patch": ("translation", 0.5 * WITHIN),
    "scale": ("scale", 2**WITHIN),
    "contrast": ("contrast", 4**WITHIN),
    "hue, circles": ("hue", 0.5 * WITHIN),
}


def show_variants(seeds: Seeds, number: int, strengths: Transformations) -> Exhibit:
    """One seed and some of its transformations, as a sheet."""
    again = np.full(SHOWN - 1, number)
    drawn = draw_parameters(strengths, 0, again, np.arange(SHOWN - 1))
    others = as_pixels(transform(windows_of(seeds, again), seeds.size, drawn, seeds.colours))
    caption = f"Seed {number:,}, of picture {int(seeds.pictures[number]):,}, and transformations of it"
    return Picture(caption, sheet([[seed_pixels(seeds, number), *others]]))


def show_mistakes(model: Any, seeds: Seeds, images: Images, batch: Batch) -> list[Exhibit]:
    """Some patches that the model takes for another seed: each above its seed, and that above the guess."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        guess = model.scores(model(batch.x["pixel_values"].to(device))).argmax(1).cpu()
    wrong = (guess != batch.y["seeds"]).nonzero()[:SHOWN, 0]
    if not len(wrong):
        return []
    asked = as_pixels(images.shown(batch.x["pixel_values"][wrong]))
    right, guessed = ([seed_pixels(seeds, int(number)) for number in of[wrong]] for of in (batch.y["seeds"], guess))
    caption = "Confused: transformed patches, the seeds that they are made of, and the seeds they were taken for"
    return [Picture(caption, sheet([list(asked), right, guessed]))]


def draw_invariance(model: Any, seeds: Seeds, images: Images) -> Exhibit:
    """How far features, and pixels, move as patches are changed."""
    numbers = np.linspace(0, len(seeds) - 1, min(ASKED, len(seeds))).astype(int)
    windows, plain = windows_of(seeds, numbers), unchanged(len(numbers))

    def look(drawn: Parameters) -> dict[str, Tensor]:
        patches = transform(windows, seeds.size, drawn, seeds.colours)
        with torch.inference_mode():
            features = model.features(images.normalised(patches).to(next(model.parameters()).device)).float().cpu()
        return {"features": features, "pixels": patches.flatten(1)}

    start = look(plain)
    usual = {name: torch.nn.functional.pdist(values).mean() for name, values in start.items()}
    moved: dict[str, list[dict[str, float]]] = {}
    for title, (changed, values) in CHANGES.items():
        found = [look(vary(plain, changed, value)) for value in values]
        moved[title] = [
            {name: float((each[name] - start[name]).norm(dim=1).mean() / usual[name]) for name in usual}
            for each in found
        ]
    with rc_context(ink_style(INK)):
        drawn = save(plot_moves(moved), "png")
    return Picture("How far features move as a patch is changed, beside its pixels", drawn)


def plot_moves(moved: dict[str, list[dict[str, float]]]) -> Figure:
    """A panel for each of CHANGES, with how far features and pixels have moved at each of its values."""
    figure = Figure((2.6 * len(CHANGES), 2.6))
    axes = figure.subplots(1, len(CHANGES), sharey=True)
    for axis, (title, (_changed, values)) in zip(axes, CHANGES.items(), strict=True):
        for name, colour in (("features", COLOURS["eval_"]), ("pixels", COLOURS["baseline_"])):
            axis.plot(values, [each[name] for each in moved[title]], color=colour, label=name)
        if title in ("scale", "contrast"):
            axis.set_xscale("log", base=2)
        axis.set_xticks(values[::4], [f"{value:g}" for value in values[::4]])
        axis.set_title(title)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("distance; 1: another seed")
    axes[0].legend(frameon=False)
    figure.subplots_adjust(0.06, 0.12, 0.99, 0.88, wspace=0.12)
    return figure


def vary(plain: Parameters, name: str, value: float) -> Parameters:
    """One value for all patches: degrees of a rotation, and of a shift the part to the right."""
    changed = getattr(plain, name).copy()
    changed[..., : 1 if name == "translation" else None] = np.radians(value) if name == "rotation" else value
    return replace(plain, **{name: changed})


def windows_of(seeds: Seeds, numbers: npt.NDArray[np.int64]) -> Tensor:
    """(B, 3, W, W) between 0 and 1."""
    return torch.from_numpy(seeds.windows[numbers]).permute(0, 3, 1, 2).float().div_(255)


def seed_pixels(seeds: Seeds, number: int) -> Pixels:
    border = (seeds.windows.shape[1] - seeds.size) // 2
    return seeds.windows[number, border : border + seeds.size, border : border + seeds.size]


def as_pixels(patches: Tensor) -> list[Pixels]:
    """(H, W, 3) each of (B, 3, H, W) between 0 and 1."""
    return list(patches.clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).numpy())
