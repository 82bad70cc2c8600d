"""How are many small pictures shown at once?  In rows, as one PNG (a contact sheet)."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from corpus.images.pictures import Pixels

GAP = 2  # pixels between pictures, transparent


def sheet(rows: Sequence[Sequence[Pixels]], side: int = 64) -> bytes:
    """A PNG of rows of pictures (H, W, 3), each made to fit `side` x `side` pixels: larger ones by repeating pixels."""
    width = max(map(len, rows)) * (side + GAP) - GAP
    page = Image.new("RGBA", (width, len(rows) * (side + GAP) - GAP))
    for row, pictures in enumerate(rows):
        for column, pixels in enumerate(pictures):
            picture = Image.fromarray(np.ascontiguousarray(pixels))
            factor = side / max(picture.size)
            size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
            way = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BILINEAR
            page.paste(picture.resize(size, way), (column * (side + GAP), row * (side + GAP)))
    written = io.BytesIO()
    page.save(written, "PNG")
    return written.getvalue()
