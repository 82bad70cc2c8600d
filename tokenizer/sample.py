"""Which documents is the vocabulary learned from, and which are kept to judge it?

Each document has a place from 0 to 1, a hash of its id. The first places are held out; from there on documents are read
until `max_bytes` are reached. So a bounded sample is spread over all sources instead of being their beginning, and
neither choice depends on the order in which the documents come.
"""

import heapq
import re
import sys
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from corpus.text.document import Document, Tally, draw
from corpus.text.readers import documents
from corpus.text.source import Source

LONGEST = 1_000  # characters of a word that is learnt from as it is
_LONG_WORD = re.compile(rf"\S{{{LONGEST}}}")
_JUDGED_BYTES = 8_000_000  # held-out text kept in memory; more does not make the figures better


@dataclass(frozen=True)
class Sample:
    """What a first reading of all sources found. Sizes count the training text alone."""

    sources: tuple[Source, ...]
    first: float  # documents with a place in [first, last) are read
    last: float
    num_documents: int
    num_bytes: int  # UTF-8
    characters: Counter[str]  # of all documents that are not held out
    held_out: tuple[Document, ...]
    skipped: dict[str, int]  # what was left out of the sources → how often

    def texts(self) -> Iterator[list[str]]:
        """Yield the paragraphs of each training document, in a second reading."""
        for document in _all_documents(self.sources, Tally()):
            if self.first <= draw(document.id) < self.last:
                yield [piece for paragraph in document.paragraphs for piece in without_long_words(paragraph)]


def survey(sources: tuple[Source, ...], held_out: float, max_bytes: int | None) -> Sample:
    """Read every document once and choose. `held_out` is a share of the documents; memory: 16 bytes a document.

    Errors: ValueError when nothing is left to learn from.
    """
    tally, sizes, places = Tally(), array("q"), array("d")
    characters, kept = _Characters(), _Kept(_JUDGED_BYTES)
    for document in _all_documents(sources, tally):
        here, size = draw(document.id), _size_of(document)
        if here < held_out:
            kept.offer(here, size, document)
        else:
            places.append(here)
            sizes.append(size)
            characters.add(document)
    last, num_documents, num_bytes = _bounded(np.array(places), np.array(sizes), max_bytes)
    if not num_bytes:
        raise ValueError(
            f"the sources give no text to learn from: {len(places)} documents to read, {len(kept.heap)} held out "
            f"(held_out: {held_out}), max_bytes: {max_bytes}; say held_out: 0, and leave out max_bytes"
        )
    return Sample(sources, held_out, last, num_documents, num_bytes, characters.counts(), kept.documents(), dict(tally))


def without_long_words(paragraph: str) -> list[str]:
    """The paragraph in pieces that have no word of more than LONGEST characters: to learn from a word takes time as the
    square of its length, minutes where somebody's data are 100,000 characters without a blank."""
    if max(map(len, paragraph.split()), default=0) <= LONGEST:
        return [paragraph]
    ends = [found.end() for found in _LONG_WORD.finditer(paragraph)]
    return [paragraph[start:end] for start, end in pairwise([0, *ends, len(paragraph)]) if end > start]


def _all_documents(sources: tuple[Source, ...], tally: Tally) -> Iterator[Document]:
    for source in sources:
        yield from documents(source, tally)


def _size_of(document: Document) -> int:
    return sum(len(paragraph.encode()) for paragraph in document.paragraphs)


def _bounded(
    places: npt.NDArray[np.float64], sizes: npt.NDArray[np.int64], max_bytes: int | None
) -> tuple[float, int, int]:
    """Return the place to stop before, and how many documents and bytes come before it."""
    order = np.argsort(places, kind="stable")
    total = np.cumsum(sizes[order])
    most = len(order) if max_bytes is None else int(np.searchsorted(total, max_bytes, side="right"))
    last = 1.0 if most == len(order) else float(places[order[most]])
    return last, most, int(total[most - 1]) if most else 0


class _Characters:
    """Count characters about as fast as text is read."""

    def __init__(self) -> None:
        self.by_code = np.zeros(sys.maxunicode + 1, np.int64)

    def add(self, document: Document) -> None:
        codes = np.frombuffer("".join(document.paragraphs).encode("utf-32-le"), np.uint32)
        counts = np.bincount(codes)
        self.by_code[: len(counts)] += counts

    def counts(self) -> Counter[str]:
        return Counter({chr(code): int(self.by_code[code]) for code in np.flatnonzero(self.by_code)})


class _Kept:
    """The documents with the first places, as many as fit into `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        self.room = most_bytes
        self.heap: list[tuple[float, int, int, Document]] = []  # place (the last on top), size, number, document
        self.number = 0  # of documents offered: two may have the same place and size

    def offer(self, here: float, size: int, document: Document) -> None:
        self.number += 1
        heapq.heappush(self.heap, (-here, size, self.number, document))
        self.room -= size
        while self.room < 0:
            self.room += heapq.heappop(self.heap)[1]

    def documents(self) -> tuple[Document, ...]:
        return tuple(document for *_, document in sorted(self.heap, key=lambda entry: (-entry[0], entry[2])))
