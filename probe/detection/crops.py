"""What is in a box, and a little around it?  The picture in it, warped to a square (R-CNN), and its HOG."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from corpus.images.pictures import Pixels
from probe.detection.boxes import Boxes

CELL, BLOCK, ORIENTATIONS = 8, 2, 9  # of HOG: pixels, cells, bins of 180 degrees (Dalal & Triggs 2005)


def warp(pixels: Pixels, boxes: Boxes, size: int, context: int) -> Pixels:
    """(N, size, size, 3) What is in each box, of whatever shape, with `context` pixels of the crop around it on each
    side (Girshick et al. 2014, appendix A). What lies outside of the picture has the picture's mean colour."""
    height, width = pixels.shape[:2]
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    around = sides * context / (size - 2 * context)
    edges = np.concatenate([boxes[:, :2] - 1 - around, boxes[:, 2:] + around], axis=1)
    left, top = np.ceil(np.maximum(0, -edges[:, :2]).max(axis=0, initial=0)).astype(int)
    right, bottom = np.ceil(np.maximum(0, edges[:, 2:] - [width, height]).max(axis=0, initial=0)).astype(int)
    mean = pixels.mean(axis=(0, 1)).round().astype(np.uint8)
    padded = np.empty((height + top + bottom, width + left + right, 3), np.uint8)
    padded[:] = mean
    padded[top : top + height, left : left + width] = pixels
    image = Image.fromarray(padded)
    inside = edges + [left, top, left, top]
    crops = [image.resize((size, size), Image.Resampling.BILINEAR, box=tuple(box)) for box in inside.tolist()]
    return np.stack([np.asarray(crop) for crop in crops]) if crops else np.empty((0, size, size, 3), np.uint8)


def describe_by_hog(crops: Pixels) -> npt.NDArray[np.float32]:
    """(N, D) Histograms of oriented gradients of crops (N, S, S, 3), those of skimage.feature.hog, for all at once.

    S is a multiple of 8. Of the three colours, at each pixel the one counts whose gradient is largest.
    """
    number, size = crops.shape[:2]
    values = crops.astype(np.float32)
    down, across = np.zeros_like(values), np.zeros_like(values)
    down[:, 1:-1] = values[:, 2:] - values[:, :-2]
    across[:, :, 1:-1] = values[:, :, 2:] - values[:, :, :-2]
    strongest = (down * down + across * across).argmax(axis=3)[..., None]
    down, across = (np.take_along_axis(one, strongest, 3)[..., 0] for one in (down, across))
    strength = np.sqrt(down * down + across * across)
    angle = np.rad2deg(np.arctan2(down, across)) % 180
    bins = np.minimum((angle * (ORIENTATIONS / 180)).astype(np.int64), ORIENTATIONS - 1)
    cells = size // CELL
    place = np.arange(size) // CELL
    cell = (np.arange(number)[:, None, None] * cells + place[:, None]) * cells + place
    sums = np.bincount((cell * ORIENTATIONS + bins).ravel(), strength.ravel(), number * cells * cells * ORIENTATIONS)
    counts = sums.reshape(number, cells, cells, ORIENTATIONS) / CELL**2
    blocks = cells - BLOCK + 1
    parts = [counts[:, y : y + blocks, x : x + blocks] for y in range(BLOCK) for x in range(BLOCK)]
    found = np.stack(parts, axis=3).reshape(number, blocks, blocks, -1)
    for most in (0.2, np.inf):  # L2-Hys
        found = np.minimum(found / np.sqrt((found**2).sum(axis=3, keepdims=True) + 1e-10), most)
    return found.reshape(number, -1).astype(np.float32)
