"""How large is a picture made?  By its shorter side; and the square in its middle."""

import numpy as np
from PIL import Image

from corpus.images.pictures import Pixels


def scale(pixels: Pixels, least: int, most: int) -> Pixels:
    """The picture (H, W, 3) with `least` to `most` pixels along its shorter side, which keeps its shape."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    wanted = max(least, min(side, most))
    if wanted == side:
        return pixels
    sides = max(wanted, round(width * wanted / side)), max(wanted, round(height * wanted / side))
    return np.asarray(Image.fromarray(pixels).resize(sides, Image.Resampling.BILINEAR))


def middle(pixels: Pixels, size: int) -> Pixels:
    """The square in the middle of a picture, size x size pixels."""
    scaled = scale(pixels, size, size)
    row, column = ((length - size) // 2 for length in scaled.shape[:2])
    return scaled[row : row + size, column : column + size]
