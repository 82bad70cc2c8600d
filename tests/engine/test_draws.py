"""Are the draws a function of their key, even, and unrelated to their neighbours'?"""

import numpy as np
import pytest
from scipy import stats

from engine.train import draws

ROWS, COLUMNS = np.arange(400)[:, None], np.arange(250)
# A fixed key gives fixed draws, so these bounds never flicker: they say how unlikely such draws would be.
UNLIKELY = 1e-4


def test_a_draw_depends_on_its_coordinates_alone():
    key = draws.stream("mask", 1, 2)
    table = draws.uniform(key, ROWS, COLUMNS)
    some = np.array([399, 3, 7])
    assert (draws.uniform(key, some[:, None], COLUMNS[:9]) == table[some][:, :9]).all()
    assert draws.uniform(key, 7, 5) == table[7, 5]
    assert (draws.permutation(key, 50) == draws.permutation(key, 50)).all()


def test_draws_fill_the_unit_interval_evenly():
    table = draws.uniform(draws.stream("mask", 0, 0), ROWS, COLUMNS)
    assert table.min() >= 0
    assert table.max() < 1
    assert stats.chisquare(np.histogram(table, 256, (0, 1))[0]).pvalue > UNLIKELY
    for axis in (0, 1):  # and so does every row and every column: no coordinate is a bad one
        lowest = min(stats.kstest(line, "uniform").pvalue for line in np.moveaxis(table, axis, 0))
        assert lowest > UNLIKELY / 10


def test_whole_numbers_reach_every_value_below_their_bound_evenly():
    found = draws.integers(draws.stream("word", 0, 0), 30, ROWS, COLUMNS)
    assert stats.chisquare(np.bincount(found.ravel(), minlength=30)).pvalue > UNLIKELY
    assert (draws.integers(draws.stream("word"), [[1], [2]], np.arange(100)).max(axis=1) == [0, 1]).all()


@pytest.mark.parametrize(
    ("name", "numbers", "row", "column"),
    [
        ("mask", (0, 0), 1, 0),
        ("mask", (0, 0), 0, 1),
        ("mask", (0, 0), 1, -1),
        ("mask", (0, 1), 0, 0),
        ("mask", (1, 0), 0, 0),
        ("fate", (0, 0), 0, 0),
        ("mask", (-1, 0), 0, 0),
    ],
    ids=["next row", "next column", "diagonal", "next epoch", "next seed", "other purpose", "negative seed"],
)
def test_neighbours_are_unrelated(name, numbers, row, column):
    here = draws.uniform(draws.stream("mask", 0, 0), ROWS, COLUMNS).ravel()
    there = draws.uniform(draws.stream(name, *numbers), ROWS + row, COLUMNS + column).ravel()
    assert stats.pearsonr(here, there).pvalue > UNLIKELY
    cells = np.histogram2d(here, there, 16, [(0, 1), (0, 1)])[0]
    assert stats.chisquare(cells.ravel()).pvalue > UNLIKELY


def test_epochs_and_seeds_do_not_swap_places():
    assert draws.stream("mask", 1, 2) != draws.stream("mask", 2, 1)


def test_a_permutation_has_every_number_once_and_each_number_everywhere():
    orders = np.array([draws.permutation(draws.stream("order", 0, epoch), 20) for epoch in range(1000)])
    assert (np.sort(orders, axis=1) == np.arange(20)).all()
    places = np.array([np.bincount(orders[:, place], minlength=20) for place in range(20)])
    assert stats.chi2.sf(((places - 50) ** 2 / 50).sum(), 19 * 19) > UNLIKELY


@pytest.mark.parametrize("tosses", [0, 1, 63, 64, 65, 200])
def test_heads_are_binomial(tosses):
    row = np.arange(20_000)
    found = draws.heads(draws.stream("coin"), np.full(len(row), tosses), row)
    expected = stats.binom.pmf(np.arange(tosses + 1), tosses, 0.5) * len(row)
    usual = expected > 5
    assert (
        stats.chisquare(
            [*np.bincount(found, minlength=tosses + 1)[usual], np.isin(found, np.flatnonzero(~usual)).sum() + 1],
            [*expected[usual], expected[~usual].sum() + 1],
            sum_check=False,
        ).pvalue
        > UNLIKELY
    )
    alone = draws.heads(draws.stream("coin"), np.array([3, tosses]), np.array([9, 5]))
    assert alone[1] == found[5]  # whatever its neighbours toss


@pytest.mark.parametrize("size", [1, 2, 3, 16, 17, 1000, 4097])
def test_scattered_is_a_permutation_that_can_be_asked_at_any_place(size):
    key = draws.stream("documents", size)
    order = draws.scattered(key, np.arange(size), size)
    assert sorted(order.tolist()) == list(range(size))
    assert draws.scattered(key, np.array([size - 1, 0]), size).tolist() == [order[-1], order[0]]


@pytest.mark.slow
def test_every_place_is_reached_from_every_place_equally_often():
    found = np.stack([draws.scattered(draws.stream("documents", number), np.arange(20), 20) for number in range(8000)])
    for place in range(20):
        assert stats.chisquare(np.bincount(found[:, place], minlength=20)).pvalue > UNLIKELY
    steps = (found[:, 1:] - found[:, :-1]) % 20  # neighbours are no longer neighbours
    assert stats.chisquare(np.bincount(steps.ravel(), minlength=20)[1:]).pvalue > UNLIKELY
