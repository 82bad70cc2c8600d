"""Which batches does an objective make of a text?  The examples of a chapter, cut by an objective."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from corpus.text.chapters import Chapter, Text
from engine.train import draws
from engine.train.batch import Batch
from engine.train.batches import Position
from pretrain.objective import Objective
from pretrain.vocabulary import Vocabulary


class ChapterExamples:
    """The examples of one chapter: their grouping, order and splits are a function of `key`."""

    def __init__(self, chapter: Chapter, objective: Objective, vocabulary: Vocabulary, length: int, key: int):
        self.is_last, self.cursor, self.next_cursor = chapter.is_last, chapter.cursor, chapter.next_cursor
        self.units = objective.units(chapter, length, vocabulary, key)
        self.order = draws.permutation(draws.stream("order", key), len(self.units))
        self._split = lambda t: objective.split(t, vocabulary, key)

    def batch(self, index: npt.NDArray[np.int64]) -> Batch:
        return self._split(self.units.take(index))


def open_chapters(
    text: Text, objective: Objective, vocabulary: Vocabulary, seed: int
) -> Callable[[Position, int], ChapterExamples]:
    """Return a function that opens the chapter in which a position stands, in examples of a length."""

    def open_chapter(position: Position, length: int) -> ChapterExamples:
        chapter = text.chapter(position.epoch, position.chapter, position.cursor)
        key = int(draws.stream("chapter", seed, position.epoch, position.chapter, length) >> np.uint64(1))
        return ChapterExamples(chapter, objective, vocabulary, length, key)

    return open_chapter


def fixed_batches(examples: ChapterExamples, number: int, batch: int) -> list[Batch]:
    """The first `number` examples of a chapter's order, for evaluation: the same ones each time, on any number of
    processes."""
    chosen = examples.order[:number]
    return [examples.batch(chosen[start : start + batch]) for start in range(0, len(chosen), batch)]
