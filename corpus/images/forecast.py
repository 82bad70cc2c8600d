"""How many pictures do sources have, and how large will their store be?  By a look at the first ones."""

from collections.abc import Iterable
from itertools import islice

import pyarrow.parquet

from corpus.images.building import RECORD, check
from corpus.images.readers import read
from corpus.images.source import PictureSource, files

LOOKED_AT = 64  # pictures of a source
BESIDE = RECORD.itemsize + 16  # bytes of a picture's rows in the tables


def foresee_store(sources: Iterable[PictureSource], decoded_side: int) -> tuple[int | None, int | None]:
    """About how many pictures there are, and bytes of their store; None where one source is on the Hub, or not there.

    Errors: what the sources raise.
    """
    pictures = size = 0
    for source in sources:
        if source.kind == "hub":
            return None, None
        try:
            number, stored = foresee(source, decoded_side)
        except FileNotFoundError:
            return None, None
        pictures, size = pictures + number, size + stored
    return pictures, size


def foresee(source: PictureSource, decoded_side: int) -> tuple[int, int]:
    some = list(islice(read(source), LOOKED_AT))
    kept = [checked for found in some for checked in check(found, source, decoded_side) if not checked.trouble]
    room = sum(len(checked.content) + BESIDE for checked in kept)
    times = count_found(source, [len(found.content) for found in some]) / max(1, len(some))
    return round(len(kept) * times), round(room * times)


def count_found(source: PictureSource, sizes: list[int]) -> int:
    """How many pictures the source has, of which the first ones have so many bytes."""
    if source.kind in ("photos", "digits", "faces"):
        number = {"digits": 1797, "faces": 200}.get(source.kind, len(files(source)))
    elif source.kind == "folder":
        number = len(files(source))
    elif source.kind == "parquet":
        number = sum(pyarrow.parquet.read_metadata(path).num_rows for _, path in files(source))
    else:
        number = round(sum(path.stat().st_size for _, path in files(source)) / max(1, sum(sizes) / max(1, len(sizes))))
    return min(number, source.limit) if source.limit else number
