"""Is the order of the systems the expected one, or might the seeds have made it?  Kendall's rank agreement, resampled.

The systems come in the order that is expected, the weakest first. A draw takes one seed's score of each system and
task, and asks of each pair of systems whether it stands as expected: tau is the share of pairs that do, less the share
that do not. What draws differ by is the seeds' doing; that other dev rows would give other scores is not in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import factorial
from statistics import fmean, median

import numpy as np
import numpy.typing as npt

DRAWS = 4000
Scores = Mapping[str, Mapping[str, Sequence[float]]]  # system -> column -> a score a seed, percent
Floats = npt.NDArray[np.float64]
AVERAGE = "Average"


@dataclass(frozen=True)
class Agreement:
    """How far a column's order is the expected one."""

    column: str
    order: str  # the systems as they came out, by their medians, the weakest first: `ELMo < GPT = BERT`
    tau: float  # of the medians: 1 for the expected order, -1 for its reverse
    low: float  # of 5 % of the draws tau is lower,
    high: float  # and of 5 % higher
    exact: float  # the share of draws with the whole expected order
    published: float | None  # tau of the published scores of the same systems; None if fewer than two are known


@dataclass(frozen=True)
class Mean:
    """A system's average over the columns that all systems have."""

    value: float  # of the medians
    low: float  # 5 % of the draws
    high: float


def compute_agreements(scores: Scores, published: Mapping[str, Mapping[str, float]]) -> list[Agreement]:
    """One for each column that all systems have, and for their average. `published`: system -> column -> score."""
    systems, columns = list(scores), list_common(scores)
    draws = {column: draw(scores, column, number) for number, column in enumerate(columns)}
    medians = {column: [median(scores[system][column]) for system in systems] for column in columns}
    known = {column: {system: row[column] for system, row in published.items() if column in row} for column in columns}
    if len(columns) > 1:
        draws[AVERAGE] = np.mean(list(draws.values()), 0)
        medians[AVERAGE] = [fmean(values) for values in zip(*medians.values(), strict=True)]
        whole = [system for system in systems if all(system in row for row in known.values())]
        known[AVERAGE] = {system: fmean(known[column][system] for column in columns) for system in whole}
    return [
        agree(column, systems, medians[column], drawn, [known[column][one] for one in systems if one in known[column]])
        for column, drawn in draws.items()
    ]


def agree(
    column: str, systems: Sequence[str], medians: Sequence[float], draws: Floats, published: Sequence[float]
) -> Agreement:
    before, behind = np.triu_indices(len(systems), 1)
    taus = np.sign(draws[:, behind] - draws[:, before]).mean(1)  # (DRAWS,)
    low, high = np.quantile(taus, [0.05, 0.95])
    return Agreement(
        column, describe_order(systems, medians), compute_tau(medians), float(low), float(high),
        float((taus == 1).mean()), compute_tau(published) if len(published) > 1 else None,
    )  # fmt: skip


def describe_order(systems: Sequence[str], scores: Sequence[float]) -> str:
    """
    >>> describe_order(["A", "B", "C"], [2.0, 1.0, 2.0])
    'B < A = C'
    """
    (first, before), *others = sorted(zip(systems, scores, strict=True), key=lambda pair: pair[1])
    words = first
    for system, score in others:
        words += f" {'<' if score > before else '='} {system}"
        before = score
    return words


def compute_tau(values: Sequence[float]) -> float:
    """Kendall's tau of `values` and a rising order; a tie counts for neither.

    >>> compute_tau([1, 3, 2])
    0.3333333333333333
    """
    pairs = [(first, second) for place, first in enumerate(values) for second in values[place + 1 :]]
    return sum((second > first) - (second < first) for first, second in pairs) / len(pairs)


def compute_means(scores: Scores, columns: Sequence[str]) -> dict[str, Mean]:
    """Each system's average over `columns`, and how far the seeds move it."""
    draws = np.mean([draw(scores, column, number) for number, column in enumerate(columns)], 0)  # (DRAWS, systems)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    return {
        system: Mean(fmean(median(scores[system][column]) for column in columns), float(low[place]), float(high[place]))
        for place, system in enumerate(scores)
    }


def draw(scores: Scores, column: str, key: int) -> Floats:
    """One seed's score of each system, DRAWS times: (DRAWS, systems)."""
    chance = np.random.default_rng(key)
    return np.stack([chance.choice(np.asarray(row[column], float), DRAWS) for row in scores.values()], 1)


def list_common(scores: Scores) -> list[str]:
    """The columns that all systems have, in their order."""
    first, *others = scores.values()
    return [column for column in first if all(column in row for row in others)]


def describe_chance(systems: int) -> str:
    return f"By chance tau is 0 in the mean, and the whole order comes out once in {factorial(systems)}."
