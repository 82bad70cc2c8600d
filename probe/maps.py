"""Which vectors lie near to which?  Two-dimensional maps as pictures: PCA, and t-SNE (van der Maaten and Hinton 2008).

PCA keeps the two directions in which the vectors differ most: distances are true as far as they are seen. t-SNE keeps
who is near to whom; how far apart its clusters are, and how large, means nothing. A seed draws the same map again.
"""

import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from matplotlib import font_manager, rc_context
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor
from torch.nn.functional import normalize

from engine.publish.curves import PALETTE, ink_style, save
from engine.publish.exhibits import Picture

FEWEST = 4  # points of a map
OTHER_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "WenQuanYi Zen Hei", "PingFang SC",
               "Hiragino Sans", "Microsoft YaHei", "Yu Gothic", "Arial Unicode MS", "Noto Sans Devanagari",
               "Noto Sans Thai")  # fmt: skip
PERPLEXITY = 30.0  # of t-SNE: about so many neighbours count; of few points fewer


def draw_maps(vectors: Tensor, names: Sequence[str], groups: Sequence[str], seed: int, what: str) -> list[Picture]:
    """A map by PCA and one by t-SNE of vectors (N, D), which are taken at length 1. `names`: what is written at each
    point ("": nothing); `groups`: one colour each. None for fewer than four points, or where all are the same."""
    unit = normalize(vectors.double(), dim=1).numpy()
    if len(unit) < FEWEST or np.ptp(unit, axis=0).max() < 1e-9:
        return []
    places, share = project(unit)
    return [
        Picture(f"{what}, PCA: {share:.0%} of the variance", draw(places, names, groups)),
        Picture(f"{what}, t-SNE, seed {seed}", draw(embed(unit, seed), names, groups)),
    ]


def project(unit: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], float]:
    """The two first principal components (N, 2), and their share of the variance."""
    fitted = PCA(2, svd_solver="full").fit(unit)
    return fitted.transform(unit), float(fitted.explained_variance_ratio_.sum())


def embed(unit: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    """t-SNE's places (N, 2)."""
    perplexity = min(PERPLEXITY, (len(unit) - 1) / 3)
    found = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(unit)
    return np.asarray(found, np.float64)


@cache
def list_fonts() -> list[str]:
    """The usual font, and those installed here that have the letters which it lacks."""
    there = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in OTHER_FONTS if name in there)]


def draw(places: npt.NDArray[np.float64], names: Sequence[str], groups: Sequence[str]) -> bytes:
    """A PNG to be seen on white and on black."""
    kinds = list(dict.fromkeys(groups))
    lines = -(-len(kinds) // 4) if len(kinds) > 1 else 0  # of the legend
    with rc_context({**ink_style(), "font.family": list_fonts()}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a letter that no font here has is a box, which is seen
        figure = Figure((5.2, 4.8 + 0.25 * lines))
        axis = figure.subplots()
        figure.subplots_adjust(0.01, (0.05 + 0.25 * lines) / figure.get_figheight(), 0.99, 0.99)  # a layout that
        for number, kind in enumerate(kinds):  # measures every label is slower than the drawing
            own = [place for place, group in enumerate(groups) if group == kind]
            axis.scatter(places[own, 0], places[own, 1], s=16, color=PALETTE[number % len(PALETTE)], label=kind)
        for (x, y), name, group in zip(places, names, groups, strict=True):
            if name:
                colour = PALETTE[kinds.index(group) % len(PALETTE)]
                axis.annotate(name, (x, y), (3, 3), textcoords="offset points", fontsize=8, color=colour)
        if lines:
            figure.legend(frameon=False, loc="lower center", ncols=4, fontsize=9)
        axis.set(xticks=[], yticks=[])
        axis.margins(0.15)
        axis.spines[["top", "right", "left", "bottom"]].set_alpha(0.3)
        return save(figure, "png")
