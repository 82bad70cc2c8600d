"""Which edges does a picture have, and where?  Histograms of oriented gradients (HOG; Dalal & Triggs 2005)."""

import numpy as np
import numpy.typing as npt

from corpus.images.pictures import Pixels

BLOCK, ORIENTATIONS = 2, 9  # cells of a block's side; bins of 180 degrees


def describe_by_hog(squares: Pixels, cell: int = 8) -> npt.NDArray[np.float32]:
    """(N, D) Histograms of oriented gradients of pictures (N, S, S, 3), those of skimage.feature.hog, for all at once.

    A cell has `cell` x `cell` pixels; what is left of S beside whole cells is not looked at. Of the three colours, at
    each pixel the one counts whose gradient is largest.
    """
    number, size = squares.shape[:2]
    cells = size // cell
    values = squares.astype(np.float32)
    down, across = np.zeros_like(values), np.zeros_like(values)
    down[:, 1:-1] = values[:, 2:] - values[:, :-2]
    across[:, :, 1:-1] = values[:, :, 2:] - values[:, :, :-2]
    strongest = (down * down + across * across).argmax(axis=3)[..., None]
    inside = slice(cells * cell)
    down, across = (np.take_along_axis(one, strongest, 3)[:, inside, inside, 0] for one in (down, across))
    strength = np.sqrt(down * down + across * across)
    angle = np.rad2deg(np.arctan2(down, across)) % 180
    bins = np.minimum((angle * (ORIENTATIONS / 180)).astype(np.int64), ORIENTATIONS - 1)
    place = np.arange(cells * cell) // cell
    own = (np.arange(number)[:, None, None] * cells + place[:, None]) * cells + place
    sums = np.bincount((own * ORIENTATIONS + bins).ravel(), strength.ravel(), number * cells * cells * ORIENTATIONS)
    counts = sums.reshape(number, cells, cells, ORIENTATIONS) / cell**2
    blocks = cells - BLOCK + 1
    parts = [counts[:, y : y + blocks, x : x + blocks] for y in range(BLOCK) for x in range(BLOCK)]
    found = np.stack(parts, axis=3).reshape(number, blocks, blocks, -1)
    for most in (0.2, np.inf):  # L2-Hys
        found = np.minimum(found / np.sqrt((found**2).sum(axis=3, keepdims=True) + 1e-10), most)
    return found.reshape(number, -1).astype(np.float32)
