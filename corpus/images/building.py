"""How do sources become a store?  Each picture is decoded once, checked, measured, and written behind the one before.

What is no whole picture is left out, counted by its reason and named. What cannot be told from the pictures before it,
such as which are held out, is decided at the end.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from corpus.images.decoding import TOO_LARGE, Header, Unreadable, decode, encode, read_header, shrunk
from corpus.images.division import divide
from corpus.images.found import Found
from corpus.images.pictures import Ints, Pixels
from corpus.images.readers import classes, read
from corpus.images.source import SUFFIXES, PictureSource, shown_and_left_out
from corpus.manifest import write_manifest
from corpus.text.document import draw
from corpus.workers import map_in_order

RECORD = np.dtype([("start", "<i8"), ("sum", "<u8"), ("size", "<i4"), ("height", "<i4"), ("width", "<i4"),
                   ("is_encoded", "<i4")])  # fmt: skip
BATCH_BYTES, MOST_IN_BATCH = 1 << 22, 256  # that a process is handed at a time
LOOK = 96  # pixels of the shorter side at which a larger picture is measured
MOST_NAMED = 50  # files that were left out


@dataclass(frozen=True)
class Checked:
    """A picture that a store takes, or why it does not."""

    name: str
    label: str | None = None
    draw: float = 0.0  # below the held-out share, it is kept from training
    content: bytes = b""  # its pixels, or its file
    height: int = 0
    width: int = 0
    is_encoded: bool = False
    moments: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, 3)))  # means; means of squares
    form: str = ""
    remarks: tuple[str, ...] = ()
    trouble: str = ""


def batches(pictures: Iterable[Found]) -> Iterator[list[Found]]:
    """Some pictures at a time, of about BATCH_BYTES together."""
    waiting: list[Found] = []
    size = 0
    for found in pictures:
        waiting.append(found)
        size += len(found.content) if isinstance(found.content, bytes) else found.content.nbytes
        if size >= BATCH_BYTES or len(waiting) == MOST_IN_BATCH:
            yield waiting
            waiting, size = [], 0
    if waiting:
        yield waiting


def check_all(some: list[Found], source: PictureSource, decoded_side: int) -> list[Checked]:
    return [checked for found in some for checked in check(found, source, decoded_side)]


def check(found: Found, source: PictureSource, decoded_side: int) -> list[Checked]:
    """The pictures that a found one becomes: itself, or its tiles."""
    if found.trouble:
        return [Checked(found.name, trouble=found.trouble)]
    try:
        return list(pieces(found, source, decoded_side))
    except Unreadable as trouble:
        return [Checked(found.name, trouble=trouble.reason)]


def pieces(found: Found, source: PictureSource, decoded_side: int) -> Iterator[Checked]:
    content: bytes | Pixels = found.content
    header = header_of(content, source)
    place = draw(found.group or xxhash.xxh3_128_hexdigest(bytes_of(content)))  # equal files are on one side
    least = max(source.side, source.min_side)
    if min(header.height, header.width) < least:
        raise Unreadable(f"smaller than {least} pixels")
    known: Any = {"label": found.label, "draw": place, "form": header.form, "remarks": header.remarks}
    if 0 < source.shorter_side < min(header.height, header.width):
        content = shrunk(content if isinstance(content, np.ndarray) else decode(content), source.shorter_side)
        header = replace(header, height=content.shape[0], width=content.shape[1])
    if source.side:
        whole = content if isinstance(content, np.ndarray) else decode(content)
        for number, tile in enumerate(tiles(whole, source.side)):
            yield of_pixels(tile, decoded_side, name=f"{found.name}, tile {number}", **known)
    elif isinstance(content, np.ndarray):
        yield of_pixels(content, decoded_side, name=found.name, **known)
    elif header.height * header.width <= decoded_side**2:
        yield of_pixels(decode(content), decoded_side, name=found.name, **known)
    else:
        seen = decode(content, LOOK)  # all of the file is read, so that a truncated one is known
        yield Checked(found.name, content=content, height=header.height, width=header.width, is_encoded=True,
                      moments=moments_of(seen), **known)  # fmt: skip


def bytes_of(content: bytes | Pixels) -> bytes:
    return content if isinstance(content, bytes) else content.tobytes()


def header_of(content: bytes | Pixels, source: PictureSource) -> Header:
    """Errors: Unreadable."""
    if isinstance(content, np.ndarray):
        return Header(content.shape[0], content.shape[1], "pixels", ())
    if len(content) > source.max_bytes:
        raise Unreadable(TOO_LARGE)
    header = read_header(content)
    if header.height * header.width > source.max_megapixels * 1e6:
        raise Unreadable(TOO_LARGE)
    return header


def of_pixels(pixels: Pixels, decoded_side: int, **known: Any) -> Checked:
    height, width = pixels.shape[:2]
    is_encoded = height * width > decoded_side**2
    content = encode(pixels) if is_encoded else pixels.tobytes()
    return Checked(
        content=content, height=height, width=width, is_encoded=is_encoded, moments=moments_of(pixels), **known
    )


def tiles(pixels: Pixels, side: int) -> Iterator[Pixels]:
    """Squares beside each other, from the middle of the picture."""
    down, right = (length // side for length in pixels.shape[:2])
    top, left = (length % side // 2 for length in pixels.shape[:2])
    for row in range(down):
        for column in range(right):
            yield pixels[top + row * side :, left + column * side :][:side, :side]


def moments_of(pixels: Pixels) -> npt.NDArray[np.float64]:
    values = pixels.reshape(-1, 3) / np.float32(255)
    return np.stack([values.mean(0, np.float64), (values**2).mean(0, np.float64)])


def build(origin: dict[str, Any], folder: Path, processes: int) -> None:
    """Fill `folder`. Errors: ValueError if nothing is left, and what the sources raise."""
    sources = [PictureSource(**source) for source in origin["sources"]]
    writer = Writer(folder)
    for source in sources:
        look = partial(check_all, source=source, decoded_side=origin["decoded_side"])
        for _, found in map_in_order(look, ((None, some) for some in batches(read(source))), processes):
            for checked in found:
                if checked.trouble and source.on_error == "raise":
                    raise ValueError(
                        f"{source}: {checked.name}: {checked.trouble} (to leave such pictures out and count them: "
                        "on_error: skip)"
                    )
                writer.append(checked)
    writer.close(origin, [name for source in sources for name in classes(source)], others(sources))


def others(sources: Iterable[PictureSource]) -> Counter[str]:
    """Files that lie beside the pictures and are none, by what they are."""
    return sum((shown_and_left_out(source)[1] for source in sources if source.kind in SUFFIXES), Counter())


@dataclass
class Writer:
    """Appends pictures to a store's files, then closes them with a manifest."""

    folder: Path
    forms: Counter[str] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    named: list[tuple[str, str]] = field(default_factory=list)  # some of those that were left out, and why

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.files = {name: (self.folder / f"{name}.bin").open("wb") for name in ("content", "table")}
        self.draws, self.labels, self.checksums = array("d"), array("q"), array("Q")  # 24 bytes a picture
        self.classes: dict[str, int] = {}  # in the order in which they are met
        self.moments, self.place = np.zeros((2, 3)), 0

    def append(self, checked: Checked) -> None:
        if checked.trouble:
            self.skipped[checked.trouble] += 1
            if len(self.named) < MOST_NAMED:
                self.named.append((checked.name, checked.trouble))
            return
        self.files["content"].write(checked.content)
        size = len(checked.content)
        checksum = xxhash.xxh3_64_intdigest(checked.content)
        record = (self.place, checksum, size, checked.height, checked.width, checked.is_encoded)
        self.files["table"].write(np.array(record, RECORD).tobytes())
        self.place += size
        self.checksums.append(checksum)
        self.draws.append(checked.draw)
        self.labels.append(-1 if checked.label is None else self.classes.setdefault(checked.label, len(self.classes)))
        self.moments += checked.moments
        self.forms[checked.form] += 1
        self.remarks.update(checked.remarks)

    def close(self, origin: dict[str, Any], known: list[str], others: Counter[str]) -> None:
        for file in self.files.values():
            file.close()
        number = len(self.labels)
        if number < 2:
            sources = ", ".join(str(PictureSource(**source)) for source in origin["sources"])
            left = ", ".join(f"{count:,} {reason}" for reason, count in self.skipped.items())
            such = f", such as {self.named[0][0]}" if self.named else ""
            raise ValueError(
                f"{sources}: {number} pictures are too few to train on some and to hold out others: give more pictures"
                + (f" (left out: {left}{such})" if left else "")
            )
        names, labels = in_order(self.classes, known, np.array(self.labels, np.int64))
        held_out, how = divide(np.array(self.draws), origin["held_out"])
        self.write("labels", labels)
        self.write("held_out", np.flatnonzero(held_out))
        self.write("train", np.flatnonzero(~held_out))
        mean, squares = self.moments / number
        content = {"content.bin": {"bytes": self.place, "largest": -1, "blocks": ""}}  # each picture has its checksum
        write_manifest(
            self.folder,
            {
                **origin, "dtype": "int64", "classes": names, "mean": mean.round(6).tolist(),
                "std": np.sqrt(np.maximum(squares - mean**2, 1e-6)).round(6).tolist(), "division": how,
                "doubles": number - len(np.unique(np.array(self.checksums))),
                "forms": dict(sorted(self.forms.items())), "remarks": dict(sorted(self.remarks.items())),
                "skipped": dict(sorted(self.skipped.items())), "named": self.named,
                "others": dict(sorted(others.items())),
            },
            content,
        )  # fmt: skip

    def write(self, name: str, numbers: Ints) -> None:
        (self.folder / f"{name}.bin").write_bytes(numbers.tobytes())


def in_order(found: dict[str, int], known: list[str], labels: Ints) -> tuple[list[str], Ints]:
    """The classes as the sources name them, and behind them others, sorted; and the labels in this order."""
    rest = sorted(found.keys() - set(known), key=lambda name: (len(name), name) if name.isdecimal() else (99, name))
    names = [*dict.fromkeys(known), *rest]
    order = np.array([names.index(name) for name in found] + [-1], np.int64)  # the last is that of -1
    return names, order[labels]
