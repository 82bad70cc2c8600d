"""Is every file that a run leaves whole and readable?  Each is opened as whoever receives it would."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import yaml
from PIL import Image
from safetensors.numpy import load_file

OUTSIDE = re.compile(r"<(?:script|img|link|iframe)[^>]+(?:src|href)=[\"']?https?://")


def open_all(folder: Path) -> list[Path]:
    """Open every file under `folder`; return them. A file of a kind that nobody knows how to open is an error."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    assert found, f"{folder} is empty"
    for path in found:
        check = OPENED.get(path.name) or OPENED[path.suffix]
        try:
            check(path)
        except Exception as error:
            raise AssertionError(f"{path} does not open: {error}") from error
    return found


def json_(path: Path) -> None:
    json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def lines_of_json(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines
    for line in lines:
        json.loads(line, parse_constant=refuse)


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def yaml_(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def weights(path: Path) -> None:
    tensors = load_file(path)
    assert tensors
    for name, tensor in tensors.items():
        if np.issubdtype(tensor.dtype, np.floating):
            assert np.isfinite(tensor).all(), name


def page(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.lstrip().lower().startswith("<!doctype html")
    assert "</html>" in text
    assert not OUTSIDE.search(text), "it asks another machine for something"


def text_(path: Path) -> None:
    assert path.read_text(encoding="utf-8").strip()


def any_text(path: Path) -> None:
    path.read_text(encoding="utf-8")


def numbers(path: Path) -> None:
    assert path.read_bytes()


def drawing(path: Path) -> None:
    assert ElementTree.parse(path).getroot().tag.endswith("svg")


def picture(path: Path) -> None:
    with Image.open(path) as opened:
        opened.verify()


OPENED: dict[str, Callable[[Path], None]] = {
    ".json": json_, ".jsonl": lines_of_json, ".yaml": yaml_, ".safetensors": weights, ".html": page, ".md": text_,
    ".txt": text_, ".tsv": text_, ".png": picture, ".svg": drawing, ".bin": numbers, ".lock": any_text, "": any_text,
}  # fmt: skip
