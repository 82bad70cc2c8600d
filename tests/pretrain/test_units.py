"""Are the segment pairs what BERT was trained on: true or strange in equal parts, contiguous, filled, fairly cut?"""

from collections import Counter

import numpy as np
import pytest

from corpus.text.chapters import StoredText
from corpus.text.source import Source
from corpus.text.store import prepare
from corpus.text.units import SegmentPairs
from tokenizer.load import load_tokenizer, tokenizer_hash

LENGTH = 64


def documents(number=60, sentences=(2, 40), tokens=(1, 25), seed=0):
    chance = np.random.default_rng(seed)
    return [chance.integers(*tokens, size=chance.integers(*sentences)).tolist() for _ in range(number)]


def chapter_of(store):
    return StoredText(store, seed=0, chapter_tokens=store.num_tokens).chapter(0, 0, {})


def pairs(store, length=LENGTH, short_seq_probability=0.1, seed=0, epoch=0):
    return SegmentPairs(chapter_of(store), length, short_seq_probability, key=10 * seed + epoch)


def rows(store, units):
    """(A's tokens, B's tokens, is_random_next) of each example, as positions in the store."""
    t = units.take(np.arange(len(units)))
    for ids, a, b, is_random_next in zip(t.ids, t.a_length, t.b_length, t.is_random_next, strict=True):
        yield ids[1 : a + 1] - 4, ids[a + 2 : a + 2 + b] - 4, is_random_next


def document_of(store, tokens):
    """The documents that positions in the store belong to."""
    flat, first = store.offsets(np.arange(len(store)))
    return np.searchsorted(flat[first[:-1]], tokens, side="right") - 1


def shown(store, units):
    """The positions in the store that stand in some example."""
    return {int(token) for a, b, _ in rows(store, units) for token in (*a, *b)}


@pytest.mark.parametrize("epoch", range(4))
def test_a_pair_is_two_slices_of_the_text_and_what_its_label_says(store_of, epoch):
    store = store_of(documents())
    units = pairs(store, epoch=epoch)
    for a, b, is_random_next in rows(store, units):
        assert len(a) >= 1
        assert len(b) >= 1
        assert len(a) + len(b) + 3 <= LENGTH
        assert (np.diff(a) == 1).all()
        assert (np.diff(b) == 1).all()
        home, guest = set(document_of(store, a)), set(document_of(store, b))
        assert len(home) == len(guest) == 1
        assert (home != guest) == bool(is_random_next)
        assert is_random_next or a[-1] < b[0]
    assert abs(2 * sum(is_random_next for *_, is_random_next in rows(store, units)) - len(units)) <= 1


@pytest.mark.parametrize(
    "shape", [[[3, 3]] * 2, [[1, 1]] * 9, [[5, 5]] + [[9] * 200], [[400, 1, 400]] * 3, [[1] * 2000] * 2]
)
def test_extreme_documents_keep_the_rules(store_of, shape):
    store = store_of(shape)
    units = pairs(store)
    for a, b, is_random_next in rows(store, units):
        assert min(len(a), len(b)) >= 1
        assert (set(document_of(store, a)) != set(document_of(store, b))) == bool(is_random_next)


def test_no_token_is_shown_twice_as_a_document_goes_on(store_of):
    store = store_of(documents())
    for epoch in range(3):
        shown = Counter(
            int(token) for a, b, odd in rows(store, pairs(store, epoch=epoch)) if not odd for token in (*a, *b)
        )
        assert max(shown.values()) == 1
        first = Counter(int(token) for a, _, _ in rows(store, pairs(store, epoch=epoch)) for token in a)
        assert max(first.values()) == 1


def test_every_sentence_starts_some_example_or_is_counted(store_of):
    # Without truncation (a sentence a side), nothing is cut.
    store = store_of([[2, 2]] * 30 + [[2]] * 5)
    units = pairs(store, short_seq_probability=0)
    assert units.count_tokens() == (len(shown(store, units)), 0, store.num_tokens - len(shown(store, units)))
    assert units.count_tokens()[2] > 0


def test_the_tokens_that_an_epoch_shows_are_counted_one_by_one(store_of):
    store = store_of(documents(60, (1, 40), (1, 90)))  # of which some are longer than an example
    for epoch in range(3):
        units = pairs(store, epoch=epoch)
        num_shown, num_cut, num_alone = units.count_tokens()
        assert num_shown == len(shown(store, units))
        assert num_shown + num_cut + num_alone == store.num_tokens
        assert min(num_cut, num_alone) > 0
        assert f"an epoch shows {num_shown:,} ({num_shown / store.num_tokens:.2%})" in "\n".join(units.report())


@pytest.mark.parametrize(("sentence", "least"), [(62, 0.95), (100, 0.85), (122, 0.75), (1000, 0.95), (5000, 0.95)])
def test_sentences_longer_than_an_example_are_used_in_pieces(store_of, sentence, least):
    store = store_of([[sentence] * 30] * 8)
    units = pairs(store, short_seq_probability=0)
    assert len(shown(store, units)) > least * store.num_tokens
    assert units.num_long == 240
    for a, b, _ in rows(store, units):
        assert len(a) + len(b) + 3 <= LENGTH


def test_a_document_that_is_one_long_sentence_makes_pairs(store_of):
    store = store_of([[700]] * 20)  # as in Thai, which has no mark that ends a sentence
    units = pairs(store, short_seq_probability=0)
    assert len(shown(store, units)) > 0.95 * store.num_tokens


@pytest.mark.slow
def test_real_text_is_counted_as_its_examples_show_it(data, tmp_path):
    tokenizer = load_tokenizer("vocab/bert-base-uncased")
    sources = [Source("wikipedia", "wikipedia/wiki-00.jsonl.gz"), Source("books", "books/[a-b]*.txt")]
    store, _ = prepare(sources, tokenizer, tokenizer_hash(tokenizer), tmp_path)
    units = pairs(store, length=128)
    seen = np.zeros(store.num_tokens, bool)
    for a_start, a_end, b_start, b_end, _ in units.rows:
        seen[a_start:a_end] = seen[b_start:b_end] = True
    num_shown, num_cut, num_alone = units.count_tokens()
    assert (num_shown, num_shown + num_cut + num_alone) == (int(seen.sum()), store.num_tokens)
    assert 0.85 < num_shown / store.num_tokens < 0.95
    assert num_cut > 10 * num_alone


def test_examples_of_long_documents_are_full(store_of):
    store = store_of(documents(20, (150, 200)))
    lengths = np.array([len(a) + len(b) + 3 for a, b, _ in rows(store, pairs(store, short_seq_probability=0))])
    assert lengths.mean() >= 0.95 * LENGTH
    assert np.median(lengths) == LENGTH


def test_short_seq_rate_makes_that_share_shorter(store_of):
    store = store_of(documents(20, (3000, 4000), (1, 4)))
    for rate in (0.0, 0.1, 1.0):
        lengths = np.array([len(a) + len(b) + 3 for a, b, _ in rows(store, pairs(store, short_seq_probability=rate))])
        # A target is drawn from 2 to 61 tokens; it is overshot by up to a sentence of 3, so most reach below 55.
        assert (lengths < 55).mean() == pytest.approx(rate * (55 - 5) / 60, abs=0.02)


def test_the_length_does_not_give_the_label_away(store_of):
    store = store_of(documents(200, (20, 200)))
    found = [(len(a), len(b), odd) for a, b, odd in rows(store, pairs(store))]
    a, b, odd = np.array(found).T
    for measure in (a, b, a + b):
        best = max(np.mean((measure >= bound) == odd) for bound in np.unique(measure))
        assert max(best, 1 - best) < 0.55


def test_both_ends_and_both_spans_are_cut_alike(store_of):
    store = store_of([[60] * 50] * 40)  # two sentences of 60 tokens, cut to 61
    gone = []
    for a, b, _ in rows(store, pairs(store, short_seq_probability=0)):
        assert {len(a), len(b)} == {30, 31}
        if a[0] // 60 % 50 > 46:
            continue  # the document's last three sentences make one pair
        gone += [span[0] % 60 / (60 - len(span)) for span in (a, b)]
    assert np.mean(gone) == pytest.approx(0.5, abs=0.01)  # the share that was cut off in front
    assert min(gone) > 0.15
    assert max(gone) < 0.85


def test_strangers_come_from_all_over_the_corpus(store_of):
    store = store_of([[5] * 30] * 50)
    guests = [
        tuple(document_of(store, b[:1]))
        for epoch in range(5)
        for _, b, odd in rows(store, pairs(store, epoch=epoch))
        if odd
    ]
    homes = Counter(guest for (guest,) in guests)
    assert set(homes) == set(range(50))
    assert max(homes.values()) < 3 * len(guests) / 50


def test_a_division_is_a_function_of_its_key(store_of):
    store = store_of(documents())
    same = [pairs(store, seed=1, epoch=2).rows for _ in range(2)]
    assert (same[0] == same[1]).all()
    for other in (pairs(store, seed=1, epoch=3), pairs(store, seed=2, epoch=2)):
        assert {tuple(row) for row in other.rows} & {tuple(row) for row in same[0]} != {tuple(row) for row in same[0]}


def test_an_example_is_the_same_in_any_batch(store_of):
    store = store_of(documents())
    units = pairs(store)
    together = units.take(np.arange(10))
    for index in range(10):
        alone = units.take(np.array([index]))
        width = alone.ids.shape[1]
        assert (together.ids[index, :width] == alone.ids[0]).all()
        assert not together.ids[index, width:].any()


@pytest.mark.parametrize(
    ("shape", "complaint"),
    [
        ([[3, 3]], "the training text has 1: say objective.next_sentence: false, or"),
        ([[3], [3]], "each document of the training text is one sentence: say objective.next_sentence: false, or"),
    ],
)
def test_text_that_makes_no_pairs_is_refused(store_of, shape, complaint):
    with pytest.raises(ValueError, match=complaint):
        pairs(store_of(shape))
