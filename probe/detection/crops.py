"""What is in a box, and a little around it?  The picture in it, warped to a square (R-CNN)."""

import numpy as np
from PIL import Image

from corpus.images.pictures import Pixels
from probe.detection.boxes import Boxes


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
