"""Where do pictures lie, and what stamps them?  Sources, and the files that are their parts."""

import hashlib
import importlib.util
import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from corpus.files import is_hidden, name_in, root_and_pattern, stamp_files
from corpus.images.decoding import MOST_MEGAPIXELS
from corpus.text.document import OnError
from engine.run.recipe import check_least

if TYPE_CHECKING:
    import datasets  # half a second and 100 MB in every process that reads, which only the Hub needs

Kind = Literal["photos", "digits", "faces", "folder", "parquet", "shards", "hub"]
PICTURES = (
    ".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif", ".jpe", ".jfif",
)  # fmt: skip
SUFFIXES: dict[str, tuple[str, ...]] = {
    "folder": PICTURES, "parquet": (".parquet",), "shards": (".tar", ".tar.gz", ".tgz", ".zip"),
}  # fmt: skip
PARTS = ("train", "test", "val", "valid", "validation", "dev")  # names of folders that are no classes
TILE = 64  # pixels of the tiles that photos are cut into
# Photos that installed packages bring: package, file, and what it shows, for pictures of one thing stay together.
PHOTOS = (
    ("skimage", "data/astronaut.png", "astronaut"),
    ("skimage", "data/chelsea.png", "cat"),
    ("skimage", "data/coffee.png", "coffee"),
    ("skimage", "data/motorcycle_left.png", "motorcycle"),
    ("skimage", "data/motorcycle_right.png", "motorcycle"),
    ("skimage", "data/rocket.jpg", "rocket"),
    ("sklearn", "datasets/images/china.jpg", "china"),
    ("sklearn", "datasets/images/flower.jpg", "flower"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "hopper"),
    ("gradio", "media_assets/images/cheetah.jpg", "cheetah"),
    ("gradio", "media_assets/images/cheetah1.jpg", "cheetah"),
    ("gradio", "test_data/cheetah2.jpg", "cheetah"),
    ("gradio", "media_assets/images/lion.jpg", "lion"),
    ("gradio", "media_assets/images/tower.jpg", "tower"),
)
LABELLED = {"digits": ("sklearn", "datasets/data/digits.csv.gz"), "faces": ("skimage", "data/lfw_subset.npy")}


@dataclass(frozen=True)
class PictureSource:
    """One place where pictures come from.  `config`, `split` and `revision` are for the Hub alone."""

    kind: Kind
    path: str = ""  # a file, a folder (searched through) or a glob; for the Hub, the data set's name
    column: str = ""  # of Parquet and the Hub: where a row's picture is; "": the only column that has pictures
    label: str = "label"  # of Parquet, the Hub and shards with .json: the key of the class, if there are any
    group: str = ""  # of the same: a key whose equal values keep pictures on one side of the division; "": none
    limit: int = 0  # the first so many pictures; 0: all
    tile: int | None = None  # cut each into squares of so many pixels; 0: whole; null: 64 for photos, else whole
    shorter_side: int = 0  # make larger ones smaller, once, until their shorter side has so many pixels; 0: as they are
    min_side: int = 8  # pixels that the shorter side must have
    max_megapixels: int = 64  # a larger picture is left out before it is unpacked
    config: str | None = None  # of a data set of the Hub that has several
    split: str = "train"  # of a data set of the Hub
    revision: str | None = None  # None = the newest; the commit read is recorded either way
    on_error: OnError = "skip"  # skip: what is no whole picture is left out, counted and named; raise: it ends the run

    def __post_init__(self) -> None:
        check_least(self, 0, "limit")
        check_least(self, 1, "min_side", "max_megapixels")
        if self.max_megapixels > MOST_MEGAPIXELS:
            raise ValueError(f"max_megapixels is {self.max_megapixels}; it must be {MOST_MEGAPIXELS} or less")
        if self.shorter_side:
            check_least(self, max(self.side, self.min_side), "shorter_side")
        if self.tile is not None and self.tile != 0:
            check_least(self, self.min_side, "tile")
        if not self.path and self.kind in (*SUFFIXES, "hub"):
            raise ValueError(f"the {self.kind} source has no path: {wanted(self.kind)}")
        for key, kinds in ONLY_FOR.items():
            if self.kind not in kinds and getattr(self, key) != type(self).__dataclass_fields__[key].default:
                raise ValueError(
                    f"{key}: {getattr(self, key)} does nothing in a {self.kind} source; it is for {', '.join(kinds)}: "
                    "leave it out"
                )

    def __str__(self) -> str:
        """As reports and cards name it: folder `photos`, hub `alice/cats` at `COMMIT`."""
        where = f"`{self.path}`" + (f" at `{self.revision}`" if self.revision else "") if self.path else ""
        return f"{self.kind} {where}".strip()

    @property
    def max_bytes(self) -> int:
        """Of a file: 16 bits of four channels a pixel."""
        return 8_000_000 * self.max_megapixels

    @property
    def side(self) -> int:
        """Of the squares that pictures are cut into; 0 where they stay whole."""
        return (TILE if self.kind == "photos" else 0) if self.tile is None else self.tile


ONLY_FOR: dict[str, tuple[str, ...]] = {  # the kinds of source in which a key does something, where it is not all
    **dict.fromkeys(("config", "split", "revision"), ("hub",)),
    "path": (*SUFFIXES, "hub"),
    "column": ("parquet", "hub"),
    **dict.fromkeys(("label", "group"), ("parquet", "shards", "hub")),
}


def wanted(kind: str) -> str:
    if kind == "hub":
        return "it is a data set's name on the Hub, such as uoft-cs/cifar10"
    return f"a {kind} source is a file, or a folder or glob that has {', '.join(SUFFIXES[kind])}"


def fingerprint(source: PictureSource) -> str:
    """SHA-256 (hex) of what the source holds and how it is read: the files' names and bytes, or the Hub's commit."""
    how = json.dumps({key: value for key, value in vars(source).items() if key not in ("path", "revision")})
    is_hub = source.kind == "hub"
    content = f"{source.path} {pinned(source).revision}" if is_hub else stamp_files(files(source))
    return hashlib.sha256(f"{how}\n{content}".encode()).hexdigest()


def pinned(source: PictureSource) -> PictureSource:
    """The source at a Hub commit (40 hex digits), so that what is stamped is what is read; any other as it is."""
    if source.kind != "hub" or re.fullmatch("[0-9a-f]{40}", source.revision or ""):
        return source
    import datasets

    builder = datasets.load_dataset_builder(source.path, source.config, revision=source.revision)
    return replace(source, revision=builder.hash)


@cache
def hub_data(source: PictureSource) -> "datasets.IterableDataset":
    import datasets

    where = {"split": source.split, "revision": source.revision}
    return datasets.load_dataset(source.path, source.config, streaming=True, **where)


# Files


def files(source: PictureSource) -> list[tuple[str, Path]]:
    """(name within the source, path) of every file of the source, sorted by name; hidden ones are left out.

    Errors: FileNotFoundError if there is none.
    """
    if source.kind == "photos":
        return [(f"{package}/{name}", path) for package, name, _ in PHOTOS if (path := installed(package, name))]
    if source.kind in LABELLED:
        package, name = LABELLED[source.kind]
        if path := installed(package, name):
            return [(name, path)]
        raise FileNotFoundError(f"{package} is not installed, or has no {name}, of which {source.kind} are made")
    return shown_and_left_out(source)[0]


def installed(package: str, name: str) -> Path | None:
    """A file that an installed package brings."""
    found = importlib.util.find_spec(package)
    path = Path(found.origin).parent / name if found and found.origin else None
    return path if path and path.is_file() else None


def shown_and_left_out(source: PictureSource) -> tuple[list[tuple[str, Path]], Counter[str]]:
    """The files, and how many others there are, by what they are."""
    suffixes = SUFFIXES[source.kind]
    try:
        root, pattern = root_and_pattern(source.path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}: {wanted(source.kind)}") from None
    if root.is_file():  # who names a file means it
        return [(root.name, root)], Counter()
    left_out: Counter[str] = Counter()
    shown = []
    for path in root.glob(pattern):
        name = name_in(root, path)
        if path.is_dir():
            left_out["linked folders"] += path.is_symlink() and not is_hidden(name)
        elif is_hidden(name):
            left_out["hidden files"] += name.lower().endswith(suffixes)
        elif name.lower().endswith(suffixes):
            if not path.exists():
                raise FileNotFoundError(
                    f"{path} is a link to nothing: restore what it should lead to, or remove the link"
                )
            shown.append((name, path))
        else:
            left_out[f"files {path.suffix or 'without a suffix'}"] += 1
    if not shown:
        there = ", ".join(f"{number} {what}" for what, number in left_out.items() if number)
        raise FileNotFoundError(
            f"nothing to read in {root / pattern}{f' but {there}' if there else ''}: {wanted(source.kind)}"
        )
    return sorted(shown), +left_out


def classes_of(source: PictureSource, names: list[str]) -> list[str]:
    """The classes of a folder's files: the folders they lie in, CLASS/NAME.jpg. None if all lie beside each other.

    Errors: ValueError where these are the parts of a data set.
    """
    found = sorted({name.split("/")[0] for name in names if "/" in name})
    if found and all(name.lower() in PARTS for name in found):
        raise ValueError(
            f"{source}: its folders {', '.join(found)} are parts of a data set, no classes: name one of them, such as "
            f"path: {root_and_pattern(source.path)[0] / found[0]}"
        )
    return found
