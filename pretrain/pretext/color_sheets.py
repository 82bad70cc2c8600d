"""What colours does the model give, and how near do they come?  Sheets of pictures, and the area under the curve.

Zhang et al. 2016, section 3.1: the share of pixels whose ab lies within a distance of the truth, averaged over
distances from 0 to 150; over all pixels, and with each pixel weighed by how rare its colour is, so that a model cannot
win by grey.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from corpus.images.sheets import sheet
from engine.publish.exhibits import Exhibit, Picture
from engine.train.batch import Batch
from networks.colorization import ANNEALED, ForColorization, paint
from networks.lab import Pixels
from pretrain.pretext.colors import ColorTable

TEMPERATURES = (1.0, 0.77, ANNEALED, 0.14, 0.0)  # the paper's figure 4: from the mean to the mode
ROWS = 8  # pictures of a sheet
COMPARED = 256  # pictures on which ways to colour are compared
FARTHEST = 150  # a distance of the curve
LEAST_SIDE = 96  # pixels of a picture on a sheet


def describe_colors(batch: Batch) -> list[Exhibit]:
    """Each picture of a batch as it is shown, beside its colours as they are asked for."""
    asked = dict(zip(batch.y["positions"].tolist(), batch.y["ab"], strict=True))
    exhibits: list[Exhibit] = []
    for number, lightness in enumerate(batch.x["lightness"]):
        grey = as_grey(lightness)
        if number in asked:
            sides = [grey, paint(lightness, asked[number])]
            exhibits.append(Picture("The input and its target colours", draw_rows([sides], ["shown", "asked"])))
        else:
            exhibits.append(Picture("A grey picture: it has no part in the loss", draw_rows([[grey]], ["grey"])))
    return exhibits


@torch.no_grad()
def draw_sheet(model: ForColorization, table: ColorTable, unseen: list[Batch]) -> list[Exhibit]:
    """Some held-out pictures: grey, as they are, and in the colours of the model and of p(ab | L)."""
    rows = []
    for batch in first_asked(unseen, ROWS):
        logits = model(batch.x["lightness"].to(model.device)).cpu()
        for lightness, ab, own, other in zip(
            batch.x["lightness"], batch.y["ab"], logits, given_lightness(table, batch), strict=True
        ):
            decode = model.settings.decode
            colors = [ab, *(decode(own, temperature) for temperature in TEMPERATURES), decode(other, ANNEALED)]
            rows.append([as_grey(lightness), *(paint(lightness, each) for each in colors)])
    if not rows:
        return []
    names = {1.0: "T 1, mean", 0.0: "T 0, mode"}
    heads = ["grey", "truth", *(names.get(each, f"T {each:g}") for each in TEMPERATURES), "p(ab | L)"]
    caption = "Held-out pictures: grey, as they are, coloured by the model at several temperatures, and by p(ab | L)"
    return [Picture(caption, draw_rows(rows, heads))]


@torch.no_grad()
def compare(model: ForColorization, table: ColorTable, unseen: list[Batch]) -> list[Exhibit]:
    """How near ways to colour come to the truth: the area under the curve, raw and with all colours alike."""
    decode = model.settings.decode
    ways: dict[str, Any] = {
        "grey": lambda own, other: torch.zeros(*own.shape[:-1], 2),
        "p(ab | L)": lambda own, other: decode(other, ANNEALED),
        "the model's mean": lambda own, other: decode(own, 1.0),
        f"at T {ANNEALED}": lambda own, other: decode(own, ANNEALED),
        "its mode": lambda own, other: decode(own, 0.0),
    }
    sums = {name: np.zeros(2) for name in ways}
    whole = np.zeros(2)
    rare = 1 / np.maximum(table.bins.prior, 1e-6)
    for batch in first_asked(unseen, COMPARED):
        own = model(batch.x["lightness"].to(model.device)).float().cpu()
        other = given_lightness(table, batch)
        truth = batch.y["ab"]
        counts = np.stack([np.ones(truth[..., 0].numel()), rare[batch.y["bins"][:, 0].numpy()]])  # (2, M)
        whole += counts.sum(1)
        for name, way in ways.items():
            sums[name] += counts @ nearness(way(own, other), truth).numpy()
    if not whole.any():
        return []
    shares = {name: each / whole for name, each in sums.items()}
    found = "; ".join(f"{name} {raw:.3f}, {alike:.3f}" for name, (raw, alike) in shares.items())
    return [f"- Area under the curve over distances of ab from 0 to {FARTHEST}, of all pixels, and with all colours "
            f"alike: {found}"]  # fmt: skip


def nearness(found: Tensor, truth: Tensor) -> Tensor:
    """The share of distances from 0 to 150 within which colours `found` (..., 2) come to the truth: (M,)."""
    apart = torch.linalg.vector_norm((found - truth).double(), dim=-1).flatten()
    return (1 - apart / FARTHEST).clamp(min=0)


def given_lightness(table: ColorTable, batch: Batch) -> Tensor:
    """log p(ab | L) (P, h, w, Q) of the pictures of a batch, all of which are asked."""
    height, width = batch.y["ab"].shape[1:3]
    coarse = torch.nn.functional.adaptive_avg_pool2d(batch.x["lightness"], (height, width))[:, 0]
    return torch.from_numpy(table.log_given(100 * coarse.numpy()))


def first_asked(batches: list[Batch], most: int) -> Iterator[Batch]:
    """The first `most` pictures that are not grey, still in batches."""
    for batch in batches:
        rows = batch.y["positions"][:most]
        if len(rows):
            pixels = batch.y["ab"][0, :, :, 0].numel()
            y = {"positions": torch.arange(len(rows)), "ab": batch.y["ab"][: len(rows)],
                 "bins": batch.y["bins"][: len(rows) * pixels]}  # fmt: skip
            yield Batch({"lightness": batch.x["lightness"][rows]}, y, {}, (1,) * len(rows), len(rows))
        most -= len(rows)
        if most <= 0:
            return


def as_grey(lightness: Tensor) -> Pixels:
    return paint(lightness, torch.zeros(1, 1, 2))


def draw_rows(rows: list[list[Pixels]], heads: list[str]) -> bytes:
    """A PNG of square pictures of one size, made some times as large if they are small, a word above each column."""
    size = len(rows[0][0])
    return sheet(rows, size * -(-LEAST_SIDE // size), heads)
