"""Where in the encoder does a task become solvable?  Gains by layer, the expected layer, the centre of gravity, and how
sure they are.

Tenney et al. 2019, section 3: Delta(l) is what the layer l adds to the score of a probe over the layers 0 to l - 1, and
the expected layer E = sum of l Delta(l) / sum of Delta(l), l from 1. The centre of gravity is the mean of l, from 0, by
the shares of the layers in the scalar mix of the probe over all of them. The two answer different questions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probe.edges.training import Counts

DRAWS = 1000  # of the bootstrap
LEVEL = 95  # percent

Floats = npt.NDArray[np.float64]


def scores_of(counts: npt.NDArray[Any]) -> Floats:
    """Micro-F1 (...) of counts (..., 3)."""
    hits, false, missed = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    return 2 * hits / np.maximum(1.0, 2 * hits + false + missed)


def gains(scores: Floats) -> Floats:
    """Delta(l), l = 1 to L (..., L), of scores of the mixes 0..l (..., L + 1)."""
    return np.diff(scores, axis=-1)


def expected_layer(scores: Floats) -> Floats:
    """E of scores (..., L + 1); NaN where the sum of the gains is 0 or less."""
    found = gains(scores)
    total = found.sum(-1)
    weighed = (found * np.arange(1, found.shape[-1] + 1)).sum(-1)
    return np.divide(weighed, total, out=np.full_like(total, np.nan), where=total > 0)


def centre_of_gravity(shares: Sequence[float]) -> float:
    return float(np.dot(np.arange(len(shares)), shares))


@dataclass(frozen=True)
class Summary:
    """What the seeds of one task, model and kind of weights come to."""

    scores: list[float]  # of the mixes 0..l, the mean of the seeds
    gains: list[float]
    total_gain: float
    gain_range: tuple[float, float]  # 95 % of the bootstrap, over seeds and documents
    expected: float | None  # None: the total gain is within its noise, or the range is not that of a layer
    expected_range: tuple[float, float] | None
    centre: float
    centre_range: tuple[float, float]  # the lowest and highest seed
    f1_range: tuple[float, float]  # of the probe over all layers, the lowest and highest seed
    control: float
    seeds: int

    @property
    def selectivity(self) -> float:
        """How much better the probe over all layers does on the task than on its control."""
        return self.scores[-1] - self.control

    @property
    def falls(self) -> bool:
        """Whether some layer takes away from the score, so that the expected layer is no mean of layers."""
        return min(self.gains, default=0.0) < 0


def summarize(counts: Sequence[Counts], centres: Sequence[float], controls: Sequence[float]) -> Summary:
    """Of S seeds: counts (L + 1, blocks, 3) of the mixes 0..l, centres of gravity, and scores of the control task."""
    every = np.stack([np.asarray(one) for one in counts])  # (S, L + 1, blocks, 3)
    each = scores_of(every.sum(2))  # (S, L + 1)
    scores = each.mean(0)
    drawn = resample(every)
    totals = drawn[:, -1] - drawn[:, 0]
    low, high = interval(totals)
    expected = expected_range = None
    if low > 0:
        expected, expected_range = float(expected_layer(scores)), interval(expected_layer(drawn))
        if expected_range[0] < 0 or expected_range[1] > len(scores) - 1:  # gains that take each other away
            expected = expected_range = None
    return Summary(
        scores.tolist(), gains(scores).tolist(), float(scores[-1] - scores[0]), (low, high), expected, expected_range,
        float(np.mean(centres)), (min(centres), max(centres)), (float(each[:, -1].min()), float(each[:, -1].max())),
        float(np.mean(controls)), len(counts),
    )  # fmt: skip


def resample(counts: npt.NDArray[Any]) -> Floats:
    """Scores (DRAWS, L + 1) of S seeds and all documents, drawn anew, with replacement, from counts (S, L + 1, blocks,
    3)."""
    drawn = np.random.default_rng(0)
    seeds, _, blocks, _ = counts.shape
    times = drawn.multinomial(blocks, np.full(blocks, 1 / blocks), size=DRAWS)  # of each group of documents
    scores = scores_of(np.einsum("slbc,db->dslc", counts, times, optimize=True))  # (DRAWS, S, L + 1)
    chosen = drawn.integers(seeds, size=(DRAWS, seeds))
    return scores[np.arange(DRAWS)[:, None], chosen].mean(1)


def interval(values: Floats) -> tuple[float, float]:
    """In which 95 % of the values lie."""
    low, high = np.nanpercentile(values, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(low), float(high)
