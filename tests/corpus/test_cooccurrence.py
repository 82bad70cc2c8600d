"""Is the co-occurrence table what a naive count finds, whatever memory it may take?"""

from collections import Counter, defaultdict

import numpy as np
import pytest

from corpus.text import cooccurrence
from corpus.text.cooccurrence import open_table
from corpus.text.encoding import Encoded
from corpus.text.store import Store, Writer

WORDS = np.arange(2, 40)  # 0 and 1 are no words


@pytest.fixture
def documents() -> list[list[int]]:
    drawn = np.random.default_rng(0)
    return [np.minimum(39, drawn.zipf(1.3, size)).tolist() for size in (1, 3, 400, 250, 30)]


@pytest.fixture
def store(documents, tmp_path) -> Store:
    lengths = np.array([len(document) for document in documents])
    encoded = Encoded(np.concatenate(documents), lengths, np.ones(len(documents), np.int64), 0, Counter())
    writer = Writer(tmp_path / "store", "uint16")
    writer.append(encoded)
    writer.close({"dtype": "uint16"})
    return Store(tmp_path / "store")


def naive_count(documents: list[list[int]], window: int) -> dict[tuple[int, int], float]:
    found: dict[tuple[int, int], float] = defaultdict(float)
    for document in documents:
        kept = [word for word in document if word in WORDS]
        for place, word in enumerate(kept):
            for apart in range(1, window + 1):
                if place + apart < len(kept):
                    found[min(word, kept[place + apart]), max(word, kept[place + apart])] += 1 / apart
    return found


@pytest.mark.parametrize("window", [1, 7, 15])
def test_the_table_is_a_naive_count(store, documents, window):
    table = open_table(store, WORDS, window, memory_mb=64)
    expected = naive_count(documents, window)
    pairs = list(zip(table.low.tolist(), table.high.tolist(), strict=True))
    assert pairs == sorted(expected)
    assert table.count.tolist() == pytest.approx([expected[pair] for pair in pairs], rel=1e-6)


def test_it_is_the_same_table_however_little_memory_there_is(store, tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    whole.mkdir()
    cooccurrence.count_pairs(store, WORDS, 15, 64, whole)
    runs, sorted_runs = [], cooccurrence.sorted_runs

    def noting(*arguments):
        for run in sorted_runs(*arguments):
            runs.append(len(run[0]))
            yield run

    monkeypatch.setattr(cooccurrence, "sorted_runs", noting)
    monkeypatch.setattr(cooccurrence, "BYTES_A_PAIR", 8192)  # so that a megabyte holds 128 pairs
    little = tmp_path / "little"
    little.mkdir()
    cooccurrence.count_pairs(store, WORDS, 15, 1, little)
    assert len(runs) > 10
    assert sorted(path.name for path in little.iterdir()) == sorted(cooccurrence.FILES)  # the runs are gone
    for name in cooccurrence.FILES:
        assert (whole / name).read_bytes() == (little / name).read_bytes()


def test_it_is_counted_once_and_another_window_is_another_table(store, monkeypatch):
    first = open_table(store, WORDS, 5, memory_mb=64)
    monkeypatch.setattr(cooccurrence, "count_pairs", lambda *_: pytest.fail("counted again"))
    again = open_table(store, WORDS, 5, memory_mb=1)
    assert np.array_equal(first.count, again.count)
    with pytest.raises(pytest.fail.Exception, match="counted again"):
        open_table(store, WORDS, 6, memory_mb=64)
