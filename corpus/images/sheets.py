"""How are many pictures seen at a glance?  On a sheet: rows of squares of one size, a thin gap between them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from corpus.images.decoding import encode
from corpus.images.pictures import Pixels

GAP = 2  # pixels
HEAD = 16  # pixels of the line above the columns


def sheet(rows: Sequence[Sequence[Pixels]], side: int = 64, heads: Sequence[str] = ()) -> bytes:
    """A PNG of rows of pictures, each cut to a square from its middle and resized to `side` pixels; `heads` are words
    above the columns."""
    width, height, top = max(map(len, rows)), len(rows), HEAD if heads else 0
    paper = Image.new("RGB", (width * (side + GAP) - GAP, top + height * (side + GAP) - GAP), "white")
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(size=11)
    for right, head in enumerate(heads):
        pen.text((right * (side + GAP), 1), head, fill="black", font=font)
    for down, row in enumerate(rows):
        for right, pixels in enumerate(row):
            enlarged = min(pixels.shape[:2]) < side
            how = Image.Resampling.NEAREST if enlarged else Image.Resampling.BICUBIC  # small pixels are to be seen
            square = ImageOps.fit(Image.fromarray(np.ascontiguousarray(pixels)), (side, side), how)
            paper.paste(square, (right * (side + GAP), top + down * (side + GAP)))
    return encode(np.asarray(paper))
