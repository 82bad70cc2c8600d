"""Which pictures do sources hold?  Each file, row of a table or member of an archive, undecoded, with its class."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet

from corpus.images.archives import as_text, shards
from corpus.images.decoding import TOO_LARGE
from corpus.images.found import REST, Found
from corpus.images.pictures import Pixels
from corpus.images.source import PHOTOS, PictureSource, classes_of, files, hub_data

ROWS = 64  # of a table that are in memory at a time


def read(source: PictureSource) -> Iterator[Found]:
    """The pictures of a source, always in the same order. Errors: ValueError, OSError."""
    found = READERS[source.kind](source)
    return islice(found, source.limit) if source.limit else found


def classes(source: PictureSource) -> list[str]:
    """The classes that a source names before it is read, in its order."""
    if source.kind == "folder":
        return classes_of(source, [name for name, _ in files(source)])
    if source.kind == "parquet":
        return Columns.of_file(source, files(source)[0][1]).classes
    if source.kind == "hub":
        return Columns.of_hub(source).classes
    return []


def folder(source: PictureSource) -> Iterator[Found]:
    found = files(source)
    known = classes_of(source, [name for name, _ in found])
    for name, path in found:
        label = name.split("/")[0] if known and "/" in name else None
        if path.stat().st_size > source.max_bytes:
            yield Found(name, b"", trouble=TOO_LARGE)
        else:
            yield Found(name, path.read_bytes(), label)


# What installed packages bring


def photos(source: PictureSource) -> Iterator[Found]:
    shown = {f"{package}/{name}": what for package, name, what in PHOTOS}
    for name, path in files(source):
        yield Found(name, path.read_bytes(), group=shown[name])


def digits(source: PictureSource) -> Iterator[Found]:
    """Scikit-learn's: 1,797 of 8 x 8 pixels, written by 43 people."""
    from sklearn.datasets import load_digits

    content = load_digits()
    for number, (grey, label) in enumerate(zip(content.images, content.target, strict=True)):
        yield Found(f"digits: row {number}", as_colour(grey / 16), str(label))


def faces(source: PictureSource) -> Iterator[Found]:
    """Scikit-image's part of Labeled Faces in the Wild: 100 faces and 100 other cuttings, of 25 x 25 pixels."""
    (_, path), *_ = files(source)
    for number, grey in enumerate(np.load(path)):
        yield Found(f"faces: row {number}", as_colour(grey), "face" if number < 100 else "no face")


def as_colour(grey: Any) -> Pixels:
    """(H, W) from 0 to 1."""
    return np.repeat(np.round(np.asarray(grey) * 255).astype(np.uint8)[:, :, None], 3, axis=2)


# Tables: a row is a picture


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold pictures, classes and groups; "" where there is none such."""

    picture: str
    label: str
    group: str
    classes: list[str]  # that the table names

    @staticmethod
    def of_file(source: PictureSource, path: Path) -> "Columns":
        import datasets

        try:
            schema = pyarrow.parquet.read_schema(path)
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise ValueError(f"{path} is not a whole Parquet file: {' '.join(str(error).split())}") from None
        try:
            features = datasets.Features.from_arrow_schema(schema)
        except Exception:  # the metadata are not the Hub's; the columns' own types will do
            features = datasets.Features.from_arrow_schema(schema.remove_metadata())
        return Columns.of(source, features, str(path))

    @staticmethod
    def of_hub(source: PictureSource) -> "Columns":
        return Columns.of(source, hub_data(source).features or {}, str(source))

    @staticmethod
    def of(source: PictureSource, features: Any, where: str) -> "Columns":
        """Errors: ValueError for a column that there is not, or where one must be named."""
        import datasets

        there = ", ".join(features)
        holds = [name for name, feature in features.items()
                 if is_picture(feature) and name not in (source.label, source.group)]  # fmt: skip
        picture = source.column or (holds[0] if len(holds) == 1 else "")
        if not picture:
            some = f"pictures may be in {', '.join(holds)}" if holds else "no column has pictures"
            raise ValueError(f"{where}: {some}; name one by `column` (its columns are {there})")
        default = type(source).__dataclass_fields__["label"].default
        label = "" if source.label == default and source.label not in features else source.label
        for name in filter(None, (picture, label, source.group)):
            if name not in features:
                raise ValueError(f"{where}: no column {name!r}; its columns are {there}")
        if not is_picture(features[picture]):
            raise ValueError(
                f"{where}: the column {picture!r} is of {kind_of(features[picture])}; a picture is a file, as bytes or "
                "{bytes, path}: save each as a PNG, and its bytes in a column"
            )
        for name in filter(None, (label, source.group)):
            if not isinstance(features[name], datasets.Value | datasets.ClassLabel):
                raise ValueError(f"{where}: the column {name!r} is of {kind_of(features[name])}; a class or a group is "
                                 "one number or text a row: name another column")  # fmt: skip
        return Columns(picture, label, source.group, list(getattr(features.get(label), "names", None) or []))

    def found(self, row: dict[str, Any], name: str) -> Found:
        picture = row[self.picture]
        content = picture.get("bytes") if isinstance(picture, dict) else picture
        label, group = row.get(self.label), row.get(self.group)
        if self.classes and isinstance(label, int):
            label = self.classes[label] if 0 <= label < len(self.classes) else None  # -1: the Hub's "unlabelled"
        if not isinstance(content, bytes):
            return Found(name, b"", trouble=f"rows without a picture in {self.picture}")
        return Found(name, content, as_text(label), as_text(group) or "")


def is_picture(feature: Any) -> bool:
    import datasets

    return isinstance(feature, datasets.Image) or is_bytes(feature)


def kind_of(feature: Any) -> str:
    """What a column holds, for a message."""
    return (str(getattr(feature, "dtype", "")) or type(feature).__name__).lower()


def is_bytes(feature: Any) -> bool:
    """Whether a column without the Hub's words for it holds files: {bytes, path}, or bytes."""
    inner = feature.get("bytes") if isinstance(feature, dict) else feature
    return getattr(inner, "dtype", "") in ("binary", "large_binary", "binary_view")


def parquet(source: PictureSource) -> Iterator[Found]:
    for name, path in files(source):
        columns = Columns.of_file(source, path)
        wanted = [column for column in (columns.picture, columns.label, columns.group) if column]
        number = 0
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(ROWS, columns=wanted):
                    for row in batch.to_pylist():
                        yield columns.found(row, f"{name}: row {number}")
                        number += 1
        except (OSError, pyarrow.ArrowException) as error:
            yield Found(f"{name}: row {number}", b"", trouble=f"{REST} ({' '.join(str(error).split())})")


def hub(source: PictureSource) -> Iterator[Found]:
    import datasets

    columns, data = Columns.of_hub(source), hub_data(source)
    if isinstance((data.features or {}).get(columns.picture), datasets.Image):
        data = data.cast_column(columns.picture, datasets.Image(decode=False))
    for number, row in enumerate(data):
        yield columns.found(row, f"{source.path}: row {number}")


READERS = {
    "photos": photos, "digits": digits, "faces": faces, "folder": folder, "parquet": parquet, "shards": shards,
    "hub": hub,
}  # fmt: skip
