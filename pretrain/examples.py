"""Which batches does an objective make of a text?  The examples of a chapter, cut by an objective.

The data set of a run: what others do in a collate function, `Objective.split` does.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from corpus.medium import Chapter, Chapters, Medium
from engine.train import draws
from engine.train.batch import Batch
from engine.train.batches import Position
from pretrain.objective import Objective


class ChapterExamples:
    """The examples of one chapter: their grouping, order and splits are a function of `key`."""

    def __init__(self, chapter: Chapter, objective: Objective[Any], medium: Medium, size: int, key: int):
        self.is_last, self.cursor, self.next_cursor = chapter.is_last, chapter.cursor, chapter.next_cursor
        self.chapter = chapter
        self.units = objective.units(chapter, size, medium, key)
        self.order = draws.permutation(draws.stream("order", key), len(self.units))
        self._split = lambda t: objective.split(t, medium, key)

    def batch(self, index: npt.NDArray[np.int64]) -> Batch:
        return self._split(self.units.take(index))


def open_chapters(
    chapters: Chapters, objective: Objective[Any], medium: Medium, seed: int, purpose: str = "chapter"
) -> Callable[[Position, int], ChapterExamples]:
    """Return a function that opens the chapter in which a position stands, in examples of a size. Another `purpose`,
    other draws."""

    def open_chapter(position: Position, size: int) -> ChapterExamples:
        chapter = chapters.chapter(position.epoch, position.chapter, position.cursor)
        key = int(draws.stream(purpose, seed, position.epoch, position.chapter, size) >> np.uint64(1))
        return ChapterExamples(chapter, objective, medium, size, key)

    return open_chapter


def fixed_batches(examples: ChapterExamples, number: int, batch: int) -> list[Batch]:
    """The first `number` examples of a chapter's order, for evaluation: the same ones each time, on any number of
    processes."""
    chosen = examples.order[:number]
    return [examples.batch(chosen[start : start + batch]) for start in range(0, len(chosen), batch)]


def check_answers(batches: Sequence[Batch], objective: Objective[Any], what: str) -> None:
    """Refuse examples that ask nothing of a term, with the words `what`. Errors: ValueError."""
    if batches and not all(any(batch.counts[name] for batch in batches) for name in batches[0].counts):
        raise ValueError(
            f"{what}{f' (nothing is asked of {objective.asks_nothing})' if objective.asks_nothing else ''}"
        )
