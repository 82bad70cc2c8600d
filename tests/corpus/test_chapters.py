"""Is an epoch of chapters every document once, in an order that seed and epoch decide, whatever the corpus' size?"""

import numpy as np
import pytest

from corpus.text.chapters import StoredText
from corpus.text.encoding import Encoded
from corpus.text.store import Store, Writer


@pytest.fixture
def store(tmp_path):
    lengths = np.random.default_rng(0).integers(1, 30, 500)
    writer = Writer(tmp_path / "store", "uint16")
    writer.append(Encoded(np.zeros(lengths.sum(), np.uint16), lengths, np.ones(500, np.int64), 0, {}))
    writer.close({"dtype": "uint16"})
    return Store(tmp_path / "store")


def epoch_of(text, number):
    found = []
    while True:
        chapter = text.chapter(number, len(found), {})
        found.append(chapter.documents.tolist())
        if chapter.is_last:
            return found


@pytest.mark.parametrize(("chapter_tokens", "expected"), [(1, 250), (1000, 8), (10**9, 1)])
def test_every_document_comes_once_an_epoch_in_chapters_of_like_size(store, chapter_tokens, expected):
    text = StoredText(store, seed=0, chapter_tokens=chapter_tokens)
    for number in range(2):
        chapters = epoch_of(text, number)
        assert sorted(document for chapter in chapters for document in chapter) == list(range(500))
        assert len(chapters) == pytest.approx(expected, rel=0.1)
        sizes = list(map(len, chapters))
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 2


def test_who_meets_whom_changes_with_the_epoch_and_the_seed(store):
    first = set(StoredText(store, 0, 1000).chapter(0, 0, {}).documents.tolist())
    assert first == set(StoredText(store, 0, 1000).chapter(0, 0, {}).documents.tolist())
    for seed, epoch in ((0, 1), (1, 0)):
        other = set(StoredText(store, seed, 1000).chapter(epoch, 0, {}).documents.tolist())
        assert len(first & other) < len(first) / 2
    assert max(first) - min(first) > 400  # from all over the corpus
