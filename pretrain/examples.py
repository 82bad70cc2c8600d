"""Which batches does an objective make of a store?  An epoch of a store, cut by an objective."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from corpus.store import Store
from engine import draws
from engine.batch import Batch
from pretrain.objective import Objective
from pretrain.vocabulary import Vocabulary


class ObjectiveEpoch:
    """One pass over a store: a new grouping, a new order and new splits, all a function of (seed, epoch)."""

    def __init__(self, store: Store, objective: Objective, vocabulary: Vocabulary, length: int, seed: int, number: int):
        self.units = objective.units(store, length, seed, number)
        self.order = draws.permutation(draws.stream("order", seed, number), len(self.units))
        self._split = lambda t: objective.split(t, vocabulary, seed, number)

    def batch(self, index: npt.NDArray[np.int64]) -> Batch:
        return self._split(self.units.take(index))


def epochs(
    store: Store, objective: Objective, vocabulary: Vocabulary, length: int, seed: int
) -> Callable[[int], ObjectiveEpoch]:
    """Return a function that opens epoch `number`."""
    return lambda number: ObjectiveEpoch(store, objective, vocabulary, length, seed, number)


def fixed_batches(epoch: ObjectiveEpoch, examples: int, batch: int) -> list[Batch]:
    """The first `examples` of an epoch's order, for evaluation: the same ones each time, on any number of processes."""
    chosen = epoch.order[:examples]
    return [epoch.batch(chosen[start : start + batch]) for start in range(0, len(chosen), batch)]
