"""Does the rank agreement say what the scores say, and no more than the seeds allow?"""

import pytest

from compare.order import AVERAGE, compute_agreements, compute_means, compute_tau, list_common

WIDE = {"A": {"RTE": [50, 60], "CoLA": [10, 10]}, "B": {"RTE": [55, 65], "CoLA": [20, 20]}}
CLEAR = {"A": {"RTE": [50, 51]}, "B": {"RTE": [60, 61]}, "C": {"RTE": [70, 71]}}


@pytest.mark.parametrize(
    ("values", "tau"), [([1, 2, 3, 4], 1), ([4, 3, 2, 1], -1), ([1, 3, 2], 1 / 3), ([1, 1], 0), ([2, 1, 1], -2 / 3)]
)
def test_tau_counts_pairs_and_a_tie_for_neither(values, tau):
    assert compute_tau(values) == pytest.approx(tau)


def test_an_order_that_every_seed_has_is_certain():
    (found,) = compute_agreements(CLEAR, {})
    assert (found.order, found.tau, found.low, found.high, found.exact) == ("A < B < C", 1, 1, 1, 1)
    assert found.published is None


def test_an_order_against_the_expected_one_is_told_as_it_came_out():
    (found,) = compute_agreements(dict(reversed(CLEAR.items())), {})
    assert (found.order, found.tau, found.exact) == ("A < B < C", -1, 0)


def test_seeds_that_overlap_make_it_uncertain():
    """B is below A where it draws 55 and A draws 60: once in four draws."""
    rte, cola, average = compute_agreements(WIDE, {})
    assert (rte.tau, rte.low, rte.high) == (1, -1, 1)
    assert rte.exact == pytest.approx(0.75, abs=0.03)
    assert cola.exact == 1
    assert average.column == AVERAGE
    assert average.exact == 1  # 5 points more on CoLA, at least, than it is behind on RTE


def test_equal_scores_are_in_no_order():
    (found,) = compute_agreements({"A": {"CoLA": [0]}, "B": {"CoLA": [0]}, "C": {"CoLA": [-1]}}, {})
    assert (found.order, found.exact) == ("C < A = B", 0)
    assert found.tau == pytest.approx(-2 / 3)


def test_published_scores_are_asked_the_same():
    published = {"A": {"RTE": 56.8, "CoLA": 36.0}, "B": {"RTE": 56.0, "CoLA": 45.4}}
    rte, cola, average = compute_agreements(WIDE, published)
    assert (rte.published, cola.published, average.published) == (-1, 1, 1)
    rte, *_ = compute_agreements(WIDE, {"A": published["A"]})
    assert rte.published is None


def test_only_columns_that_all_have_are_compared():
    scores = {"A": {"RTE": [1], "QQP": [2]}, "B": {"RTE": [3]}}
    assert list_common(scores) == ["RTE"]
    assert [one.column for one in compute_agreements(scores, {})] == ["RTE"]


def test_means_are_of_medians_with_what_draws_reach():
    found = compute_means(WIDE, ["RTE", "CoLA"])
    assert (found["A"].value, found["A"].low, found["A"].high) == (32.5, 30, 35)


def test_the_same_scores_give_the_same_figures():
    assert compute_agreements(WIDE, {}) == compute_agreements(WIDE, {})
