"""What is shown to a person beside numbers?  Lines of Markdown, and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Picture:
    """An exhibit that is no text: a PNG with a caption."""

    caption: str
    png: bytes


Exhibit = str | Picture  # a Markdown line, or a picture


def write_exhibits(exhibits: Sequence[Exhibit], folder: Path, stem: str) -> list[str]:
    """Return Markdown lines. A picture becomes FOLDER/STEM-N.png, and its line names that file."""
    lines = []
    for number, exhibit in enumerate(exhibits):
        if isinstance(exhibit, Picture):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{stem}-{number}.png").write_bytes(exhibit.png)
            exhibit = f"![{exhibit.caption}]({stem}-{number}.png)"
        lines.append(exhibit)
    return lines
