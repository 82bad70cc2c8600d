"""How are many pictures seen at a glance?  On a sheet: rows of squares of one size, a thin gap between them."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from corpus.images.pictures import Pixels

GAP = 2  # pixels


def sheet(rows: Sequence[Sequence[Pixels]], side: int = 64) -> bytes:
    """A PNG of rows of pictures, each cut to a square from its middle and resized to `side` pixels."""
    width, height = max(map(len, rows)), len(rows)
    paper = Image.new("RGB", (width * (side + GAP) - GAP, height * (side + GAP) - GAP), "white")
    for down, row in enumerate(rows):
        for right, pixels in enumerate(row):
            enlarged = min(pixels.shape[:2]) < side
            how = Image.Resampling.NEAREST if enlarged else Image.Resampling.BICUBIC  # small pixels are to be seen
            square = ImageOps.fit(Image.fromarray(np.ascontiguousarray(pixels)), (side, side), how)
            paper.paste(square, (right * (side + GAP), down * (side + GAP)))
    file = io.BytesIO()
    paper.save(file, "PNG")
    return file.getvalue()
