"""Which pictures are there, and which objects are boxed in them?  Any folder in the layout of PASCAL VOC.

FOLDER/ImageSets/Main/train.txt      names of pictures, one a line
FOLDER/JPEGImages/NAME.jpg
FOLDER/Annotations/NAME.xml          objects: name, bndbox, difficult
"""

import hashlib
import math
import shlex
import xml.etree.ElementTree as xml
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corpus.images.decoding import Unreadable, decode, read_header
from corpus.images.pictures import Pixels
from corpus.images.source import PICTURES
from engine.run.disk import sha256
from engine.run.nearest import suggest
from engine.train import draws
from probe.detection.boxes import Boxes, clip
from probe.lines import read_text

ENDINGS = (*PICTURES, *map(str.upper, PICTURES))


@dataclass(frozen=True)
class Photo:
    """One picture, and the objects that are boxed in it. Difficult ones are neither asked for nor counted."""

    name: str
    picture: Path
    annotation: Path
    width: int
    height: int
    boxes: Boxes  # (K, 4)
    classes: tuple[str, ...]  # (K,) names
    difficult: npt.NDArray[np.bool_]  # (K,)
    clipped: int = 0  # boxes that reached over the edge

    def load(self) -> Pixels:
        """(H, W, 3). Errors: ValueError for a damaged picture."""
        try:
            return decode(self.picture.read_bytes())
        except Unreadable as error:
            raise ValueError(f"{self.picture}: {error}; restore it, or take {self.name} out of the list") from None

    def of(self, name: str) -> npt.NDArray[np.bool_]:
        """(K,) Which of the boxes are of this class."""
        return np.array([other == name for other in self.classes], bool)


def read_voc(folder: Path, split: str, limit: int = 0) -> list[Photo]:
    """The pictures that ImageSets/Main/SPLIT.txt names, in its order; with `limit`, so many of them, drawn by chance.

    Errors: FileNotFoundError and ValueError, for the first file that is missing or damaged, with its name.
    """
    path = folder / "ImageSets" / "Main" / f"{split}.txt"
    names = list_names(folder, split)
    if double := next((name for name, count in Counter(names).items() if count > 1), None):
        raise ValueError(f"{path} names {double} twice; take one line out")
    drawn = np.sort(draws.permutation(draws.stream("pictures"), len(names))[: limit or None])
    return [read_photo(folder, names[number], path) for number in drawn]


def list_names(folder: Path, split: str) -> list[str]:
    """The names of the pictures. Errors: as for `read_voc`."""
    lists = folder / "ImageSets" / "Main"
    if not lists.is_dir():
        raise FileNotFoundError(
            f"{folder} is no folder in the layout of VOC: it has no ImageSets/Main, the folder of the lists of pictures"
        )
    path = lists / f"{split}.txt"
    if not path.is_file():
        there = ", ".join(sorted(found.stem for found in lists.glob("*.txt"))) or "none"
        raise FileNotFoundError(f"{path} is not there (lists in this folder: {there})")
    names = [name_in(folder, line) for line in map(str.strip, read_text(path).splitlines()) if line]
    if not names:
        raise ValueError(f"{path} names no pictures")
    return names


def name_in(folder: Path, line: str) -> str:
    """Which picture a line of a list means: the line is its name, perhaps with an ending, or its first word is, as in
    lists of one class, which say -1 or 1 behind it."""
    first = line.split()[0]
    likely = [line, first, *(str(Path(name).with_suffix("")) for name in (line, first) if name.endswith(ENDINGS))]
    return next((name for name in likely if (folder / "Annotations" / f"{name}.xml").is_file()), first)


def read_photo(folder: Path, name: str, named_in: Path) -> Photo:
    """Read one annotation, and the size of its picture."""
    annotation = folder / "Annotations" / f"{name}.xml"
    pictures = [folder / "JPEGImages" / f"{name}{ending}" for ending in ENDINGS]
    picture = next((path for path in pictures if path.is_file()), None)
    missing = annotation if not annotation.is_file() else None if picture else pictures[0]
    if missing or not picture:
        raise FileNotFoundError(f"{missing} is not there; {named_in} names it: restore it, or take {name} out of there")
    try:
        header = read_header(picture.read_bytes())
    except Unreadable as error:
        raise ValueError(f"{picture}: {error}; restore it, or take {name} out of {named_in}") from None
    width, height = header.width, header.height
    try:
        root = xml.parse(annotation).getroot()
    except (xml.ParseError, ValueError) as error:
        said = f"{annotation} is damaged XML ({error})"
        raise ValueError(f"{said}; restore it, or take {name} out of {named_in}") from None
    sides = [to_number(root.findtext(f"size/{side}")) for side in ("width", "height")]
    if all(sides) and sides != [width, height]:  # some programs write 0 x 0
        turned = any(remark.startswith("turned") for remark in header.remarks)
        raise ValueError(
            f"{annotation} says that its picture has {sides[0]:g} x {sides[1]:g} pixels, and {picture} has {width} x "
            f"{height}{' as EXIF turns it' * turned}; boxes would be wrong: put back the picture that was annotated"
            + (", or take the Orientation out of its EXIF if it was annotated unturned" if turned else "")
        )
    return read_objects(root, annotation, picture, width, height)


def read_objects(root: xml.Element, annotation: Path, picture: Path, width: int, height: int) -> Photo:
    classes, boxes, difficult = [], [], []
    for number, found in enumerate(root.findall("object"), start=1):
        where = f"{annotation}, object {number}"
        name = (found.findtext("name") or "").strip()
        if not name:
            raise ValueError(f"{where} has no name")
        box = [read_side(found, side, where) for side in ("xmin", "ymin", "xmax", "ymax")]
        if box[0] > box[2] or box[1] > box[3]:
            raise ValueError(f"{where} ({name}): xmin {box[0]:g}, xmax {box[2]:g}, ymin {box[1]:g}, ymax {box[3]:g}; "
                             "the smaller number must come first")  # fmt: skip
        if box[2] < 0 or box[3] < 0 or box[0] > width or box[1] > height:
            raise ValueError(
                f"{where} ({name}): its box {box} lies outside of the picture of {width} x {height} pixels; correct "
                "it, or take the object out"
            )
        classes.append(name)
        boxes.append(box)
        difficult.append((found.findtext("difficult") or "0").strip() not in ("0", ""))
    given = np.array(boxes, np.float64).reshape(-1, 4)
    inside = clip(given, width, height)
    over = int((inside != given).any(axis=1).sum())
    return Photo(
        annotation.stem, picture, annotation, width, height, inside, tuple(classes), np.array(difficult, bool), over
    )


def read_side(found: xml.Element, side: str, where: str) -> float:
    text = found.findtext(f"bndbox/{side}")
    value = to_number(text)
    if value is None:
        raise ValueError(f"{where}: bndbox/{side} is {(text or '').strip()!r}; a number of pixels is expected")
    return value


def to_number(text: str | None) -> float | None:
    """The finite number that a text is; None for another."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def choose_classes(
    training: Sequence[Photo], test: Sequence[Photo], asked: Sequence[str]
) -> tuple[tuple[str, ...], list[Photo], list[Photo]]:
    """The classes to detect, in order, and the pictures with the objects of these classes alone.

    `asked`: their names; empty for all that are in the training pictures. Errors: ValueError for a class that no
    training picture has, which names a file.
    """
    shown = {name for photo in training for name, hard in zip(photo.classes, photo.difficult, strict=True) if not hard}
    if not shown:
        raise ValueError(
            f"no object is boxed in the {len(training)} training pictures, such as {training[0].annotation}"
        )
    if not any(not hard for photo in test for hard in photo.difficult):
        raise ValueError(
            f"no object is boxed in the {len(test)} pictures to be scored on, such as {test[0].annotation}"
        )
    for name in asked:
        if name not in shown:
            raise ValueError(
                f"classes has {name!r}, which no training picture has{suggest(name, shown)} (they have: "
                f"{', '.join(sorted(shown))})"
            )
    if not asked:
        spelt = {name.lower(): name for name in sorted(shown)}
        if twice := shown - set(spelt.values()):
            raise ValueError(
                f"the classes {min(twice)!r} and {spelt[min(twice).lower()]!r} differ in capitals alone: spell them "
                f"alike, or, if they are two, name all: --probes.0.classes {shlex.join(sorted(shown))}"
            )
        for photo in test:
            if strange := set(photo.classes) - shown:
                raise ValueError(
                    f"{photo.annotation} has the class {min(strange)!r}, which no training picture has; to leave it "
                    f"out, name the others: --probes.0.classes {shlex.join(sorted(shown))}"
                )
    classes = tuple(asked or sorted(shown))
    return classes, [only(photo, classes) for photo in training], [only(photo, classes) for photo in test]


def only(photo: Photo, classes: Sequence[str]) -> Photo:
    """The picture without the objects of other classes."""
    mine = np.array([name in classes for name in photo.classes], bool)
    kept = tuple(name for name in photo.classes if name in classes)
    return replace(photo, boxes=photo.boxes[mine], classes=kept, difficult=photo.difficult[mine])


def refuse_shared(training: Sequence[Photo], test: Sequence[Photo]) -> None:
    """Refuse a picture that is learnt from and asked about. Errors: ValueError."""
    if shared := {photo.name for photo in training} & {photo.name for photo in test}:
        raise ValueError(f"{min(shared)} is both a training and a test picture; take it out of one of the lists")


def hash_of(photos: Sequence[Photo]) -> str:
    """SHA-256 of names, pictures and annotations."""
    digest = hashlib.sha256()
    for photo in photos:
        for path in (photo.annotation, photo.picture):
            digest.update(f"{photo.name} {sha256(path)}\n".encode())
    return digest.hexdigest()
