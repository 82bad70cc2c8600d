"""Which documents are shuffled together?  A chapter: as many as fit in memory, scattered over the whole corpus.

Examples are made, paired and ordered within a chapter, so what a run holds in memory does not grow with its corpus, and
its first batch comes as soon from a large one as from a small one. An epoch is all chapters, one after the other.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from corpus.text.store import Store
from engine.train import draws


@dataclass(frozen=True)
class Chapter:
    """Documents of a store, in the order in which they are read."""

    store: Store
    documents: npt.NDArray[np.int64]  # (K,)
    is_last: bool  # of its epoch
    cursor: dict[str, Any] = field(default_factory=dict)  # where the sources of a stream stand at its start: plain JSON
    next_cursor: dict[str, Any] = field(default_factory=dict)  # and at its end


class StoredText:
    """A prepared store, cut into chapters of about `chapter_tokens` tokens, anew for each epoch."""

    def __init__(self, store: Store, seed: int, chapter_tokens: int):
        self.store, self.seed = store, seed
        wanted = max(1, round(store.num_tokens / chapter_tokens))
        self.num_chapters = max(1, min(wanted, len(store) // 2))  # a random next sentence needs a second document

    def chapter(self, epoch: int, number: int, cursor: dict[str, Any]) -> Chapter:
        size = len(self.store)
        first, last = (size * place // self.num_chapters for place in (number, number + 1))
        key = draws.stream("documents", self.seed, epoch)
        documents = draws.scattered(key, np.arange(first, last), size)
        return Chapter(self.store, documents, is_last=number + 1 == self.num_chapters)
