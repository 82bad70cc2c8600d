"""Do blocks hold the text whole, each document ended by its separator, and nothing twice?"""

import numpy as np
import pytest

from corpus.text.chapters import Chapter
from corpus.text.units import Blocks

SEPARATOR = 2


def blocks(store, length, overlap=0):
    return Blocks(Chapter(store, np.arange(len(store))[::-1], is_last=True), length, SEPARATOR, overlap)


def text_of(store):
    """The chapter's text: its documents in order, each with its separator."""
    flat, first = store.offsets(np.arange(len(store))[::-1])
    spans = [(flat[first[k]], flat[first[k + 1] - 1]) for k in range(len(store))]
    return [token for begin, end in spans for token in [*range(4 + begin, 4 + end), SEPARATOR]]


@pytest.mark.parametrize("length", [2, 7, 16, 1000])
def test_the_blocks_are_the_text(store_of, length):
    store = store_of([[3, 4], [1], [20], [2, 2, 2]])
    units = blocks(store, length)
    t = units.take(np.arange(len(units)))
    real = t.document >= 0
    assert t.ids[real].tolist() == text_of(store)
    assert (t.ids[~real] == SEPARATOR).all()
    assert real[:-1].all()
    assert f"{(~real).sum():,} places" in units.report()[0]


def test_with_an_overlap_every_token_but_the_first_is_asked_once(store_of):
    store = store_of([[5, 6], [9], [4, 4], [30]])
    units = blocks(store, 9, overlap=1)
    t = units.take(np.arange(len(units)))
    assert t.ids[:, 1:][t.document[:, 1:] >= 0].tolist() == text_of(store)[1:]
    assert (t.ids[1:, 0] == t.ids[:-1, -1]).all()


def test_a_token_knows_its_document(store_of):
    store = store_of([[2], [3]])
    t = blocks(store, 8).take(np.array([0]))
    assert t.document.tolist() == [[0, 0, 0, 0, 1, 1, 1, -1]]


def test_a_block_is_the_same_in_any_batch(store_of):
    store = store_of([[7, 3], [11], [40]])
    units = blocks(store, 8)
    together = units.take(np.arange(len(units)))
    for index in range(len(units)):
        assert (units.take(np.array([index])).ids[0] == together.ids[index]).all()
