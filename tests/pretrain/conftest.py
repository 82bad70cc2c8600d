"""What do the tests of pretraining share?  The launched program, and stores whose every token is unique."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from corpus.text.encoding import Encoded
from corpus.text.store import Store, Writer
from corpus.text.vocabulary import Vocabulary
from pretrain.run import main

NUM_SPECIAL = 4  # of the stores below: [PAD] [CLS] [SEP] [MASK] are 0 to 3, and token n of the text is 4 + n


@pytest.fixture
def store_of(tmp_path) -> Callable[[list[list[int]]], Store]:
    """Make a store of documents given as their sentences' lengths; token n of all has the id NUM_SPECIAL + n."""

    def make(documents: list[list[int]]) -> Store:
        lengths = np.array([length for document in documents for length in document], np.int64)
        ids = NUM_SPECIAL + np.arange(lengths.sum())
        encoded = Encoded(ids, lengths, np.array([len(document) for document in documents], np.int64), 0, Counter())
        writer = Writer(tmp_path / "store", "uint32")
        writer.append(encoded)
        writer.close({"dtype": "uint32"})
        return Store(tmp_path / "store")

    return make


@pytest.fixture
def vocabulary_of() -> Callable[[Store], Vocabulary]:
    def make(store: Store) -> Vocabulary:
        size = NUM_SPECIAL + store.num_tokens
        special = {"pad": 0, "cls": 1, "sep": 2, "mask": 3, "eos": 2}
        return Vocabulary(size, special, np.arange(NUM_SPECIAL, size), np.zeros(size, bool), np.ones(size, bool))

    return make


@pytest.fixture(scope="session")
def launch(launch_program) -> Callable[..., Any]:
    """`launch(folder, *argv)` runs pretrain.run."""
    return partial(launch_program, main)
