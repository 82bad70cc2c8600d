"""What does a model of relative position see?  Pairs, its confusions, nearest patches, filters of its first layer.

They are what the paper shows (Doersch et al. 2015, figures 1, 4 and 6), and how far one patch of a pair is enough.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import normalize

from corpus.images.pictures import Ints, Pixels
from corpus.images.sheets import sheet
from engine.publish.curves import ink_style, save
from engine.publish.exhibits import Exhibit, Picture
from engine.train.batch import Batch
from networks.relative_position import ALONE, PLACES, RelativePositionModel, normalize_patches

ARROWS = "↖↑↗←→↙↓↘"
SHOWN_PAIRS = 4
PICTURES = 256  # held-out pictures whose answers are looked at
QUERIES, NEAREST = 8, 8  # rows and columns of the nearest patches
FILTERS = 96


def show_pairs(batch: Batch, project: bool) -> list[Exhibit]:
    """Each picture's first pairs, as the trunk takes them."""
    patches, pairs = as_taken(batch.x["patches"], project), batch.x["pairs"]
    asked = len(pairs) // len(batch.sizes)
    exhibits: list[Exhibit] = []
    for number in range(len(batch.sizes)):
        rows = range(number * asked, min((number + 1) * asked, number * asked + 2 * SHOWN_PAIRS), 2)
        places = batch.y["place"][rows.start : rows.stop : 2].tolist()
        drawn = [draw_pair(patches[pairs[row]], place) for row, place in zip(rows, places, strict=True)]
        exhibits.append(Picture(" ".join(ARROWS[place] for place in places), sheet([drawn], 128)))
    return exhibits


def as_taken(patches: Tensor, project: bool) -> Pixels:
    """Normalized patches (N, P, P, 3): what is missing is grey."""
    values = normalize_patches(patches, project).permute(0, 2, 3, 1)
    return (255 * (0.5 + 0.2 * values).clamp(0, 1)).byte().numpy()


def draw_pair(pair: Pixels, place: int) -> Pixels:
    """Two patches (2, P, P, 3): one in the middle of nine places, and its neighbour in one of the others."""
    side = pair.shape[1]
    step = side + max(1, side // 6)
    page = np.full((2 * step + side, 2 * step + side, 3), 255, np.uint8)
    for pixels, (row, column) in zip(pair, ((0, 0), PLACES[place]), strict=True):
        top, left = step * (1 + row), step * (1 + column)
        page[top : top + side, left : left + side] = pixels
    return page


@dataclass(frozen=True)
class Guesses:
    """What a model makes of N patches, and of the M pairs of B pictures."""

    patches: Pixels  # (N, P, P, 3)
    features: Tensor  # (N, F)
    picture: Ints  # (N,) of the patches
    place: Ints  # (M,)
    guess: dict[str, Ints]  # (M,) by who guesses: from both patches, or from one alone
    pictures: int  # B

    def right(self, name: str) -> tuple[float, float]:
        """The share of right guesses, and its standard error over pictures."""
        each = (self.guess[name] == self.place).reshape(self.pictures, -1).mean(1)
        return float(each.mean()), float(each.std() / max(1, self.pictures - 1) ** 0.5)


@torch.no_grad()
def guess(model: RelativePositionModel, unseen: list[Batch]) -> Guesses:
    """Look at the first held-out pictures."""
    found: dict[str, list[Any]] = {"patches": [], "features": [], "picture": [], "place": []}
    logits: dict[str, list[Tensor]] = {name: [] for name in ("place", *ALONE)}
    pictures = 0
    for batch in unseen:
        x = batch.to(model.device).x
        found["features"].append(model.encode(x["patches"]).float().cpu())
        found["patches"].append(as_taken(batch.x["patches"], model.settings["project"]))
        number = np.arange(pictures, pictures + len(batch.sizes))
        found["picture"].append(np.repeat(number, len(x["patches"]) // len(batch.sizes)))
        found["place"].append(batch.y["place"].numpy())
        for name, each in model(**x).items():
            logits[name].append(each.argmax(1).cpu())
        pictures += len(batch.sizes)
        if pictures >= PICTURES:
            break
    arrays = {name: np.concatenate(parts) for name, parts in found.items() if name != "features"}
    guesses = {name: torch.cat(parts).numpy() for name, parts in logits.items()}
    return Guesses(features=torch.cat(found["features"]), guess=guesses, pictures=pictures, **arrays)


def draw_samples(model: Any, unseen: list[Batch]) -> list[Exhibit]:
    """How one patch alone does, which places are taken for which, nearest patches, and the first layer."""
    found = guess(model, unseen)
    return [
        tell_controls(found),
        Picture(f"Rows: where the patch lies; columns: the guess, in % of {len(found.place):,}", draw_confusion(found)),
        Picture("Patches (left), and the nearest of other pictures by their features", draw_nearest(found)),
        Picture("The filters of the first layer", draw_filters(model.trunk)),
    ]


def tell_controls(found: Guesses) -> str:
    """A Markdown line: from both patches, and from one alone, which should be chance."""
    shares = {name: found.right(name) for name in found.guess}
    said = ", ".join(f"{name.replace('_', ' ')} {share:.1%} (±{error:.1%})" for name, (share, error) in shares.items())
    high = [name.replace("_", " ") for name in ALONE if shares[name][0] - 3 * shares[name][1] > 1 / len(PLACES)]
    verdict = f"; above chance: {', '.join(high)}. A patch tells by itself where in its picture it lies" if high else ""
    return f"- Right of {found.pictures:,} held-out pictures: {said}; chance {1 / len(PLACES):.1%}{verdict}"


def draw_confusion(found: Guesses) -> bytes:
    """8 x 8: each place (rows) taken for each other, in percent of its row."""
    counts = np.bincount(8 * found.place + found.guess["place"], minlength=64).reshape(8, 8)
    percent: npt.NDArray[np.float64] = 100 * counts / np.maximum(1, counts.sum(1, keepdims=True))
    with rc_context(ink_style()):
        figure = Figure((4.2, 4.2))
        axis = figure.subplots()
        most = max(25.0, percent.max())
        axis.imshow(percent, cmap="Blues", vmin=0, vmax=most)
        axis.set(xticks=range(8), yticks=range(8), xticklabels=ARROWS, yticklabels=ARROWS)
        for (row, column), value in np.ndenumerate(percent):
            ink = "white" if value > most / 2 else "black"
            axis.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=ink)
        return save(figure, "png")


def draw_nearest(found: Guesses) -> bytes:
    """A row for each of some patches, one a picture: itself, and the nearest by cosine of other pictures."""
    queries = np.unique(found.picture, return_index=True)[1][:QUERIES]
    unit = normalize(found.features, dim=1)
    near = unit[queries] @ unit.T  # (Q, N)
    near[torch.from_numpy(found.picture[queries][:, None] == found.picture)] = -2  # its own picture's
    best = near.topk(min(NEAREST, near.shape[1]), dim=1).indices.numpy()
    return sheet([list(found.patches[[query, *row]]) for query, row in zip(queries.tolist(), best, strict=True)], 48)


def draw_filters(trunk: nn.Module) -> bytes:
    """The filters over red, green and blue, each from its lowest to its highest value."""
    first = next(module for module in trunk.modules() if isinstance(module, nn.Conv2d))
    weights = first.weight.detach().float().cpu()[:FILTERS].permute(0, 2, 3, 1)  # (O, h, w, 3)
    low, high = weights.amin((1, 2, 3), keepdim=True), weights.amax((1, 2, 3), keepdim=True)
    pixels = (255 * (weights - low) / (high - low).clamp(min=1e-12)).byte().numpy()
    return sheet([list(pixels[start : start + 16]) for start in range(0, len(pixels), 16)], 33)
