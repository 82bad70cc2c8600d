"""What is asked of a model that is not trained for it?  A probe. One file a probe, with one subclass of `Probe`."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from engine.publish.exhibits import Picture
from engine.run.disk import sha256
from engine.run.nearest import suggest
from engine.run.recipe import data_path
from engine.run.saved import located

Scores = dict[str, dict[str, float]]  # split -> metric -> fraction, -1 to 1

ROOM = {
    "similarity": "probe.similarity",
    "analogies": "probe.similarity",
    "neighbours": "probe.neighbours",
    "knn": "probe.knn",
    "linear": "probe.linear",
    "detection": "probe.detection.evaluation",
    "edges": "probe.edges.edges",
    "sentence_similarity": "probe.sentences",
    "occurrences": "probe.occurrences",
    "word_map": "probe.word_map",
}


@dataclass(frozen=True)
class Found:
    """What a probe came to. `headline` is the metric of the first split that judges the model; "": none does.

    `baseline` has, under names of `metrics`, what a guess reaches that does not look at the question. The coverage is
    the share of the questions that the model can answer, `NAME_coverage` of the score NAME, or `coverage` of all.
    """

    metrics: Scores = field(default_factory=dict)
    baseline: Scores = field(default_factory=dict)
    headline: str = ""
    sizes: dict[str, int] = field(default_factory=dict)  # questions, by split
    page: str = ""  # in Markdown, for a person
    pictures: Sequence[Picture] = ()  # that belong to the page
    drawn_from: int = 0  # rows that those of the first size are a part of; 0: they are all
    details: dict[str, Any] = field(default_factory=dict)  # what else was measured, as plain values
    layers: dict[str, list[float]] = field(default_factory=dict)  # a score's name -> its value at each layer, from 0
    shortcuts: Sequence[str] = ()  # those of the metrics that are reached without asking the model


@dataclass(frozen=True, kw_only=True)
class Probe(ABC):
    """One thing that is asked. The fields are a section of the recipe's `probes:`."""

    name: str  # which probe

    trains: ClassVar[bool] = False  # something of its own, so that a seed also matters for a trained model

    @staticmethod
    def section_names() -> list[str]:
        """The probes there are."""
        return list(ROOM)

    @staticmethod
    def from_section(name: str) -> type["Probe"]:
        """Return the class a recipe means by `name`. Errors: ValueError with the names there are."""
        if name not in ROOM:
            raise ValueError(f"unknown probe {name!r}{suggest(name, ROOM)} (probes: {', '.join(ROOM)})")
        class_name = "".join(part.capitalize() for part in name.split("_"))
        found: type[Probe] = getattr(importlib.import_module(ROOM[name]), class_name)
        return found

    @property
    @abstractmethod
    def task(self) -> str:
        """What the table calls it, such as similarity/ws-353."""

    @property
    def files(self) -> Sequence[str]:
        """The files that it reads: other contents, another result."""
        return ()

    @property
    def stamps(self) -> dict[str, str]:
        """A hash of what it reads, by name."""
        return {name: sha256(data_path(name)) for name in self.files}

    @property
    def beside(self) -> Sequence[str]:
        """What it is asked of beside models, such as the pictures' own pixels."""
        return ()

    @abstractmethod
    def ask(self, model: str, untrained: bool, seed: int) -> Found:
        """Ask a model, or, `untrained`, the same network with random weights of this seed. Errors: ValueError and
        OSError for what is wrong with model or files."""

    @classmethod
    def make_pages(cls, jobs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, str]:
        """File name -> a page on all finished jobs of this kind, each with its results line and its details."""
        return {}


def label_of(path: str) -> str:
    """A file as the table calls it: EN-WS-353-ALL.txt is en-ws-353-all."""
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].rsplit(".", 1)[0].lower()


def stamp_of(model: str) -> list[Any]:
    """What a model consists of: the names, sizes and times of its files; of the Hub, its name."""
    try:
        place = data_path(model)
    except FileNotFoundError:
        return [located(model)]
    files = [place] if place.is_file() else sorted(path for path in Path(located(model)).iterdir() if path.is_file())
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def plain(probe: Probe) -> dict[str, Any]:
    """The probe's settings as plain values."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(probe).items()}
