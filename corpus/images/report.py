"""What is there to say of a collection of pictures?  Sources, licences, sizes, classes, sheets; what was left out."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from corpus.images.pictures import Ints
from corpus.images.sheets import sheet
from corpus.images.source import PictureSource
from corpus.images.store import StoredPictures
from corpus.manifest import Mapped
from engine.publish.exhibits import Exhibit, Picture
from engine.train import draws

LICENCES = {
    "photos": "each package's own",
    "digits": "scikit-learn's, of UCI's data (CC BY 4.0)",
    "faces": "scikit-image's, of Labeled Faces in the Wild",
}
UNSAID = {"hub": "as its publisher says: see there before you use the model"}
LOOKED_AT = 100_000  # pictures whose sizes are read
CLASSES = 24  # that are listed and shown; of more, the first ones
SHEET = 10, 5  # pictures beside and below each other
SIDE = 64  # pixels of each
CHUNK = 1_000_000  # pictures whose classes are counted at a time


def report(sources: Sequence[PictureSource], pictures: StoredPictures, license: str) -> list[str]:
    """Markdown lines for the model card and the data report: the sources with their licences, and their sizes.

    `license` is what the recipe says of one's own pictures.
    """
    lines = [f"- {source}: {how_cut(source)}; licence: {licence_of(source, license)}" for source in sources]
    lines += ["", "| | images |", "|---|---:|"]
    lines += [f"| {name} | {len(members.array):,} |" for name, members in sides(pictures).items()]
    return [*lines, "", size_line(pictures)]


def remarks(pictures: StoredPictures, chapter: Any) -> list[Exhibit]:
    """Markdown lines and sheets for the data report alone."""
    return [
        "", *file_lines(pictures), *left_out_lines(pictures), "", *class_lines(pictures), "",
        *(line for name, members in sides(pictures).items() for line in (some_of(pictures, name, members), "")),
    ]  # fmt: skip


def sides(pictures: StoredPictures) -> dict[str, Mapped]:
    return {"training": pictures.train, "held out": pictures.held_out}


def how_cut(source: PictureSource) -> str:
    words = [f"the first {source.limit:,}"] if source.limit else []
    words += [f"made smaller, to {source.shorter_side} pixels on the shorter side"] if source.shorter_side else []
    words += [f"cut into squares of {source.side} x {source.side} pixels" if source.side else "whole pictures"]
    return ", ".join(words)


def licence_of(source: PictureSource, license: str) -> str:
    """What is known of the kind, or else what the recipe says; nothing is guessed."""
    return LICENCES.get(source.kind) or license or UNSAID.get(source.kind, "not stated")


def hub_ids(sources: Sequence[PictureSource]) -> tuple[str, ...]:
    return tuple(source.path for source in sources if source.kind == "hub")


def size_line(pictures: StoredPictures) -> str:
    """How large the pictures are."""
    found = pictures.sizes(np.unique(np.linspace(0, len(pictures) - 1, LOOKED_AT).astype(np.int64)))
    if (found == found[0]).all():
        return f"All have {found[0][1]} x {found[0][0]} pixels."
    parts = []
    for name, values in (("shorter", found.min(1)), ("longer", found.max(1))):
        tenths = np.quantile(values, (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1), method="nearest")
        parts.append(f"{name} side {', '.join(map(str, tenths))}")
    return f"Pixels at 0, 5, 25, 50, 75, 95, 100 %: {'; '.join(parts)}."


def file_lines(pictures: StoredPictures) -> list[str]:
    """Formats, what was done to pictures that are not plain, doubles, and the mean colour."""
    about = pictures.manifest
    lines = [f"- Formats: {counted(about['forms'])}."]
    if scarce := sum(number for form, number in about["forms"].items() if form in ("JPEG 4:2:0", "JPEG 4:2:2")):
        lines.append(
            f"- {scarce:,} are JPEGs with subsampled colour (4:2:0: once for two by two pixels, 4:2:2: once for "
            "two): finer colour than that is not in them."
        )
    lines += [f"- Treated: {counted(about['remarks'])}."] if about["remarks"] else []
    if about["doubles"]:
        lines.append(f"- {about['doubles']:,} are equal to another one; equal ones are on one side of the division.")
    lines += [f"- Held out: {about['division']}."] if about["division"] else []
    mean, std = (", ".join(f"{value:.3f}" for value in about[name]) for name in ("mean", "std"))
    return [*lines, f"- Red, green and blue, of 1: mean {mean}, standard deviation {std}."]


def left_out_lines(pictures: StoredPictures) -> list[str]:
    about = pictures.manifest
    lines = [f"- Beside the pictures lie {counted(about['others'])}, which are not read."] if about["others"] else []
    if about["skipped"]:
        lines.append(f"- **Left out: {counted(about['skipped'])}.**")
        lines += [f"    - `{name}`: {reason}" for name, reason in about["named"]]
        more = sum(about["skipped"].values()) - len(about["named"])
        lines += [f"    - and {more:,} more"] if more else []
    return lines


def class_lines(pictures: StoredPictures) -> list[str]:
    """How many pictures each class has."""
    if not pictures.classes:
        return ["The pictures have no classes."]
    counts = {name: class_counts(pictures, members) for name, members in sides(pictures).items()}
    lines = [f"| class | {' | '.join(counts)} |", f"|---|{'---:|' * len(counts)}"]
    named = list(enumerate(pictures.classes))[:CLASSES] + [(-1, "(no class)")]
    rows = [(name, [found[number] for found in counts.values()]) for number, name in named]
    lines += [f"| {name} | {' | '.join(f'{number:,}' for number in row)} |" for name, row in rows if any(row)]
    more = len(pictures.classes) - CLASSES
    return lines + (["", f"and {more:,} classes more."] if more > 0 else [])


def class_counts(pictures: StoredPictures, members: Mapped) -> Ints:
    """(C + 1,) Pictures of each class; the last are those without one."""
    found = np.zeros(len(pictures.classes) + 1, np.int64)
    for start in range(0, len(members.array), CHUNK):
        labels = pictures.labels[members.at(np.arange(start, min(start + CHUNK, len(members.array))))]
        found += np.bincount(np.where(labels < 0, len(found) - 1, labels), minlength=len(found))
    return found


def some_of(pictures: StoredPictures, name: str, members: Mapped) -> Exhibit:
    """A sheet of pictures by chance: of each class a row, or just some."""
    across, down = SHEET
    order = draws.scattered(draws.stream("sheet"), np.arange(min(len(members.array), LOOKED_AT)), len(members.array))
    shown = members.at(order)
    if not pictures.classes:
        rows = [shown[start : start + across] for start in range(0, min(len(shown), across * down), across)]
        return Picture(f"Some pictures, {name}", drawn(pictures, rows))
    labels = pictures.labels[shown]
    rows = [shown[labels == number][:across] for number in range(min(len(pictures.classes), CLASSES))]
    return Picture(f"Some pictures of each class, {name}", drawn(pictures, [row for row in rows if len(row)]))


def drawn(pictures: StoredPictures, rows: Iterable[Ints]) -> bytes:
    return sheet([pictures.load(row, least=SIDE) for row in rows], SIDE)


def counted(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {what}" for what, number in numbers.items())
