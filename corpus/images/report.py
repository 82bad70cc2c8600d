"""What is there to say of a collection of pictures?  Sources, licences, sizes, classes; what was left out."""

from collections.abc import Sequence
from typing import Any

from corpus.images.source import PictureSource
from corpus.images.store import StoredPictures

LICENCES = {
    "photos": "each package's own",
    "digits": "scikit-learn's, of UCI's data (CC BY 4.0)",
    "faces": "scikit-image's, of Labeled Faces in the Wild",
}
UNSAID = {"hub": "as its publisher says: see there before you use the model"}


def report(sources: Sequence[PictureSource], pictures: StoredPictures, license: str) -> list[str]:
    """Markdown lines for the model card and the data report: the sources with their licences, and their sizes.

    `license` is what the recipe says of one's own pictures.
    """
    lines = [f"- {source}: {how_cut(source)}; licence: {licence_of(source, license)}" for source in sources]
    lines += ["", "| | images |", "|---|---:|"]
    lines += [f"| training | {len(pictures.train.array):,} |", f"| held out | {len(pictures.held_out.array):,} |"]
    return lines


def remarks(pictures: StoredPictures, chapter: Any) -> list[str]:
    """Markdown lines for the data report alone."""
    about = pictures.manifest
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in about["skipped"].items())
    lines = ["", f"Left out: {skipped}."] if skipped else []
    return [*lines, *(f"- {name}: {reason}" for name, reason in about["named"])]


def how_cut(source: PictureSource) -> str:
    return f"cut into squares of {source.side} x {source.side} pixels" if source.side else "whole pictures"


def licence_of(source: PictureSource, license: str) -> str:
    """What is known of the kind, or else what the recipe says; nothing is guessed."""
    return LICENCES.get(source.kind) or license or UNSAID.get(source.kind, "not stated")


def hub_ids(sources: Sequence[PictureSource]) -> tuple[str, ...]:
    return tuple(source.path for source in sources if source.kind == "hub")
