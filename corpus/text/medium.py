"""What is a text to an objective?  Ids of a vocabulary, in documents and sentences. The medium `Text`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerFast

from corpus.medium import Medium
from corpus.text.chapters import Chapter
from corpus.text.store import Store
from corpus.text.vocabulary import Vocabulary
from engine.run.checkpoint import Processor

SENTENCE = 25  # tokens, in Wikipedia and books


@dataclass(frozen=True)
class Text(Medium):
    """Text in the ids of a tokenizer. Without a tokenizer, its shapes alone: what `pretrain.plan` needs."""

    vocabulary: Vocabulary
    tokenizer: PreTrainedTokenizerFast | None = None
    stamp: str = ""  # of the tokenizer: tokenizer.load.tokenizer_hash

    section: ClassVar = "corpus"
    unit: ClassVar = "tokens"
    size_unit: ClassVar = "tokens"
    largest: ClassVar = 1 << 20
    held_out: ClassVar = "held-out documents of the same sources"
    processor_name: ClassVar = "tokenizer"
    limits: ClassVar = (
        "The model knows what its texts say, and repeats their errors, their views of people and groups, and their "
        "gaps; text from before its sources were written, or from outside of them, is strange to it. It is meant "
        "to be fine-tuned. What it fills in or continues is likely, not true: do not rely on it for facts or "
        "for decisions on people."
    )

    @staticmethod
    def of(tokenizer: PreTrainedTokenizerFast, stamp: str) -> "Text":
        return Text(Vocabulary.of(tokenizer), tokenizer, stamp)

    @property
    def processor(self) -> Processor:
        return cast(Processor, self.words)

    @property
    def words(self) -> PreTrainedTokenizerFast:
        """The tokenizer. Errors: ValueError where there are only shapes."""
        if self.tokenizer is None:
            raise ValueError("this text has no tokenizer: it stands for the shapes of one")
        return self.tokenizer

    def describe(self, sizes: Sequence[int]) -> str:
        examples = " and ".join(map(str, sizes))
        return f"Its vocabulary has {self.vocabulary.size:,} tokens, its examples {examples} tokens."

    def count(self, size: int) -> int:
        return size

    def fake(self, rows: int, size: int) -> Chapter:
        """Documents of sentences of SENTENCE tokens."""
        store = FakeStore(self.vocabulary, documents=rows + 8, sentences=2 * size // SENTENCE + 2)
        return Chapter(cast(Store, store), np.arange(len(store)), is_last=True)


class FakeStore:
    """A store (corpus.text.store) of documents that are nowhere: all alike, of sentences of SENTENCE tokens."""

    folder = Path("a made-up text")

    def __init__(self, vocabulary: Vocabulary, documents: int, sentences: int):
        self._ordinary, self._documents, self._sentences = vocabulary.ordinary, documents, sentences
        self.num_sentences = documents * sentences
        self.num_tokens = self.num_sentences * SENTENCE

    def __len__(self) -> int:
        return self._documents

    def tokens(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return self._ordinary[index * 7919 % len(self._ordinary)]

    def offsets(self, documents: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        size = self._sentences + 1
        places = documents[:, None] * self._sentences + np.arange(size)
        return places.ravel() * SENTENCE, np.arange(len(documents) + 1) * size
