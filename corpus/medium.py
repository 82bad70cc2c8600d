"""What is t made of?  A medium: text, images or videos.

An objective names its medium, and cuts what that medium's chapters hold. Everything else (the loop, the log, the
report, the model card, the plan) asks the medium for its unit and its words, and knows nothing more of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from engine.publish.exhibits import Exhibit
from engine.run.checkpoint import Processor


class Chapter(Protocol):
    """What is shuffled together and fits in memory. An epoch is one chapter, or several."""

    @property
    def is_last(self) -> bool: ...  # of its epoch

    @property
    def cursor(self) -> dict[str, Any]: ...  # where the sources of a stream stand at its start: plain JSON

    @property
    def next_cursor(self) -> dict[str, Any]: ...  # and at its end


class Chapters(Protocol):
    """A corpus as chapters. Chapter `number` of an epoch is a function of (corpus, seed, epoch, number) alone."""

    def chapter(self, epoch: int, number: int, cursor: dict[str, Any]) -> Chapter: ...


class Medium(ABC):
    """What all objectives on one kind of raw material share."""

    section: ClassVar[str]  # of a recipe: where the material is
    unit: ClassVar[str]  # what is counted: "tokens", "images", "frames"
    size_unit: ClassVar[str]  # what the size of an example is counted in: "tokens", "pixels"
    largest: ClassVar[int]  # size of an example
    held_out: ClassVar[str]  # on what a model is evaluated, for its card
    processor_name: ClassVar[str]  # "tokenizer", "image processor"
    limits: ClassVar[str]  # what the model card warns of
    stamp: str  # a hash of everything that decides which arrays come out: a run is tied to it

    @property
    @abstractmethod
    def processor(self) -> Processor:
        """What is saved beside the model."""

    @abstractmethod
    def describe(self, sizes: Sequence[int]) -> str:
        """For the model card: the processor, and examples of these sizes, one a phase of the training."""

    @abstractmethod
    def count(self, size: int) -> int:
        """How many units an example of this size has room for."""

    @abstractmethod
    def fake(self, rows: int, size: int) -> Chapter:
        """A chapter that yields at least `rows` examples of `size` units, without any data: for `pretrain.plan`."""


@dataclass(frozen=True)
class OpenCorpus:
    """A corpus in use: what is trained on, what is held out, and what there is to say of both."""

    train: Chapters
    held_out: Chapters
    fingerprint: str  # of its content: a run is tied to it
    report: Sequence[str]  # Markdown lines for the data report and the model card: sources, licences, sizes
    remarks: Callable[[Any], Sequence[Exhibit]] = lambda chapter: []  # more for the data report, which knows a chapter
    datasets: tuple[str, ...] = ()  # the Hub ids among its sources
    note_progress: Callable[[int, int], None] = lambda epoch, chapter: None  # hears where training is
