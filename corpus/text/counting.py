"""How often does each word stand in a chapter?  Word counts, for subsampling and for the noise of word2vec."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from corpus.text.chapters import Chapter
from corpus.text.store import Store

Ints = npt.NDArray[np.int64]
AT_A_TIME = 1 << 20  # tokens


def count_words(chapter: Chapter, size: int) -> Ints:
    """How often each id below `size` stands in a chapter: (size,)."""
    counts = np.zeros(size, np.int64)
    for ids, _ in read_in_portions(chapter.store, chapter.documents):
        counts += np.bincount(ids, minlength=size)
    return counts


def read_in_portions(store: Store, documents: Ints) -> Iterator[tuple[Ints, Ints]]:
    """The tokens of `documents`, and for each token which of them it is of: whole documents, about AT_A_TIME tokens
    together."""
    sentences, first = store.offsets(documents)
    begin, end = sentences[first[:-1]], sentences[first[1:] - 1]
    portion = np.cumsum(end - begin) // AT_A_TIME
    for some in np.split(np.arange(len(begin)), np.flatnonzero(np.diff(portion)) + 1):
        size = end[some] - begin[some]
        place = np.arange(size.sum()) + np.repeat(begin[some] - (np.cumsum(size) - size), size)
        yield store.tokens(place), np.repeat(some, size)
