"""Is the best span the best of all, and read off the window with most context?"""

from itertools import product

import numpy as np
import pytest
from datasets import Dataset

from finetune.questions.windows import (
    Windows,
    choose_answer,
    compute_null_odds,
    find_best_spans,
    find_best_threshold,
    find_most_central,
)


def texts(start, end, windows, rows):
    """{id: the text of the best span}"""
    return {id_: choose_answer(spans, 0.0) for id_, spans in find_best_spans(start, end, windows, rows).items()}


def one_window(num_windows=1, length=12, first=3, num_context=8):
    """Windows of single letters, each the only one of its row."""
    windows = Windows()
    for row in range(num_windows):
        offsets = np.zeros((length, 2), np.int32)
        offsets[first : first + num_context] = np.stack([np.arange(num_context), np.arange(1, num_context + 1)], 1)
        windows.row.append(row)
        windows.offsets.append(offsets)
        windows.first.append(first)
        windows.num_context.append(num_context)
    windows.central += find_most_central(np.array(windows.row), np.array(windows.num_context), 0)
    ids = [f"q{row}" for row in range(num_windows)]
    return windows, Dataset.from_dict({"id": ids, "context": ["abcdefghijklmnopqrstuvwxyz" * 20] * num_windows})


def test_the_best_spans_are_those_of_an_exhaustive_search():
    windows, rows = one_window(num_windows=5)
    logits = np.random.default_rng(0).normal(size=(2, 5, 12)).astype(np.float32)
    found = find_best_spans(*logits, windows, rows, num_best=6, longest=4)
    for row in range(5):
        scores = {
            (start, end): logits[0, row, start] + logits[1, row, end]
            for start, end in product(range(3, 11), range(3, 11))
            if start <= end < start + 4
        }
        best = sorted(scores, key=scores.__getitem__, reverse=True)[:6]
        assert [span.text for span in found[f"q{row}"]] == ["abcdefgh"[start - 3 : end - 2] for start, end in best]
        assert [span.score for span in found[f"q{row}"]] == [pytest.approx(scores[place]) for place in best]


def test_no_span_stands_outside_the_context_or_ends_before_it_starts():
    windows, rows = one_window()
    start, end = np.zeros((1, 12), np.float32), np.zeros((1, 12), np.float32)
    start[0, 0], end[0, 11], start[0, 8], end[0, 4] = 50, 50, 5, 5  # outside, outside, and crossed
    start[0, 3], end[0, 5] = 4, 6
    assert texts(start, end, windows, rows) == {"q0": "abc"}


def test_a_span_has_a_longest_length():
    windows, rows = one_window(length=50, first=2, num_context=45)
    start, end = np.zeros((1, 50), np.float32), np.zeros((1, 50), np.float32)
    start[0, 2], end[0, 2 + 30] = 9, 9  # 31 tokens
    end[0, 2 + 29] = 1  # 30 tokens
    assert len(texts(start, end, windows, rows)["q0"]) == 30


def test_most_central_is_devlins_example():
    """Appendix of their script: "bought" has min(4, 0) context left and right in one span, min(1, 3) in the other."""
    words = ["the", "man", "went", "to", "the", "store", "and", "bought", "a", "gallon", "of", "milk"]
    central = find_most_central(np.array([0, 0, 0]), np.array([5, 5, 6]), 2)  # tokens 0–4, 3–7, 6–11
    assert words[7] == "bought"
    assert not central[1][7 - 3]
    assert central[2][7 - 6]
    assert [len(part) for part in central] == [5, 5, 6]
    # Every token is most central in one window.
    counts = np.zeros(12, int)
    for start, part in zip((0, 3, 6), central, strict=True):
        counts[start : start + len(part)] += part
    assert (counts == 1).all()


def test_rows_do_not_share_windows():
    central = find_most_central(np.array([0, 1, 1]), np.array([4, 4, 3]), 2)
    assert central[0].all()
    assert [part.tolist() for part in central[1:]] == [[True, True, True, False], [False, True, True]]


def test_the_window_with_most_context_is_believed():
    windows, rows = one_window(num_windows=2, length=8, first=2, num_context=5)
    windows.row = [0, 0]  # two windows of one row: letters 0–4 and 3–7
    windows.offsets[1][2:7] += 3
    windows.central = find_most_central(np.array(windows.row), np.array(windows.num_context), 2)
    logits = np.zeros((2, 2, 8), np.float32)
    logits[:, 1, 2] = 9  # "d" at the very edge of the second window, where the first knows it better
    logits[:, 0, 4] = 5  # "c" in the first
    assert texts(*logits, windows, rows.select([0])) == {"q0": "c"}


def test_a_nan_is_an_error():
    windows, rows = one_window()
    logits = np.zeros((1, 12), np.float32)
    with pytest.raises(ValueError, match="NaN"):
        texts(logits * np.nan, logits, windows, rows)


def test_of_spans_with_the_same_text_the_best_is_kept():
    windows, rows = one_window(num_windows=1)
    rows = Dataset.from_dict({"id": ["q0"], "context": ["ababababab"]})
    start, end = np.zeros((2, 1, 12), np.float32)
    start[0, 5] = end[0, 5] = 3
    spans = find_best_spans(start, end, windows, rows)["q0"]
    found = [span.text for span in spans]
    assert len(found) == len(set(found))
    assert (spans[0].start_logit, spans[0].end_logit, spans[0].score) == (3, 3, 6)
    assert sum(span.probability for span in spans) == pytest.approx(1.0, abs=1e-6)


class TestNoAnswer:
    """The token at 0 stands for it."""

    def spans(self, null, best):
        windows, rows = one_window(num_windows=2)
        windows.null += [0, 0]
        start, end = np.full((2, 2, 12), -5, np.float32)
        start[:, 0], start[:, 4], end[:, 6] = null, best, best
        end[:, 0] = 0
        return find_best_spans(start, end, windows, rows)["q0"]

    def test_it_stands_among_the_best_with_its_share(self):
        spans = self.spans(null=3.0, best=2.0)
        assert [span.text for span in spans[:2]] == ["bcd", ""]
        assert compute_null_odds(spans) == pytest.approx(3.0 - 4.0)
        assert sum(span.probability for span in spans) == pytest.approx(1.0, abs=1e-6)
        assert spans[0].probability / spans[1].probability == pytest.approx(np.e, rel=1e-5)
        assert (spans[0].start, spans[0].end, spans[1].start) == (1, 4, -1)

    def test_the_threshold_decides(self):
        spans = self.spans(null=3.0, best=2.0)
        assert choose_answer(spans, -0.5) == "bcd"
        assert choose_answer(spans, -1.5) == ""

    def test_every_window_has_to_do_without(self):
        windows, rows = one_window(num_windows=2)
        windows.row, windows.null = [0, 0], [0, 0]
        start = np.zeros((2, 12), np.float32)
        start[:, 0] = [9, 1]
        spans = find_best_spans(start, np.zeros((2, 12), np.float32), windows, rows.select([0]))["q0"]
        assert next(span.score for span in spans if span.text == "") == 1.0

    def test_the_threshold_is_the_best_of_all(self):
        chance = np.random.default_rng(0)
        for _ in range(50):
            odds = chance.integers(-4, 5, 12).astype(float)
            answered, unanswered = chance.random(12), chance.integers(0, 2, 12).astype(float)

            reached = {t: np.where(odds > t, unanswered, answered).sum() for t in [-99.0, *odds, 99.0]}
            found = find_best_threshold(odds, answered, unanswered)
            assert np.where(odds > found, unanswered, answered).sum() == pytest.approx(max(reached.values()))
            assert found not in odds  # so no last digit decides

    def test_a_context_without_tokens_has_no_answer_and_odds_that_json_knows(self):
        windows = Windows([0], [np.zeros((4, 2), np.int32)], [0], [0], [np.zeros(0, bool)], [0])
        rows = Dataset.from_dict({"id": ["q0"], "context": [" "]})
        spans = find_best_spans(np.zeros((1, 4), np.float32), np.zeros((1, 4), np.float32), windows, rows)["q0"]
        assert [span.text for span in spans] == [""]
        assert choose_answer(spans, 100.0) == ""
        assert np.isfinite(compute_null_odds(spans))
