"""How do documents become ids?  Sentence by sentence, on every core, in bounded memory."""

import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import numpy
from numpy.typing import NDArray
from tokenizers import Tokenizer

from corpus.text.document import Document, Tally
from corpus.text.sentences import sentences
from corpus.text.words import Words
from corpus.workers import map_in_order

Label = TypeVar("Label")


@dataclass(frozen=True)
class Encoded:
    """A batch of documents as ids."""

    ids: NDArray[Any]  # (n,) uint16 or uint32
    sentences: NDArray[numpy.int64]  # (s,) tokens of each sentence, at least 1
    documents: NDArray[numpy.int64]  # (d,) sentences of each document, at least 1
    num_bytes: int  # of UTF-8 text
    skipped: Tally
    letters: tuple[int, int, int] = (0, 0, 0)  # unknown tokens; characters other than blanks; the unknown ones of them


def encode_all(
    work: Iterator[tuple[Label, list[Document]]], tokenizer: Tokenizer, processes: int
) -> Iterator[tuple[Label, Encoded]]:
    """Every batch encoded, in the order given, under its label; a few are under way at a time, so memory is bounded.

    Processes rather than the tokenizer's threads, because most of the time goes into splitting sentences, in Python.
    """
    return map_in_order(encode, work, processes, become_worker, (tokenizer.to_str(),))


encoder: "Encoder"  # a process's own, set once when it starts


def become_worker(tokenizer_json: str) -> None:
    global encoder
    gc.disable()  # nothing here makes cycles, and the search for them would touch, so copy, all the parent has loaded
    encoder = Encoder(tokenizer_json)


def encode(batch: list[Document]) -> Encoded:
    return encoder.encode(batch)


class Encoder:
    """Turns documents into ids, on one thread; `tokenizer_json` is what `Tokenizer.to_str` gives."""

    def __init__(self, tokenizer_json: str) -> None:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        tokenizer = Tokenizer.from_str(tokenizer_json)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True  # an article that says "[MASK]" means the word, not the token
        self.words = Words(tokenizer)

    def encode(self, batch: list[Document]) -> Encoded:
        """Ids of the documents' sentences, without special tokens; a sentence without any token is dropped."""
        texts = [pieces(document) for document in batch]
        ids, lengths, letters = self.words.encode(list(chain.from_iterable(texts)))
        firsts = numpy.cumsum([0, *map(len, texts[:-1])])
        document_lengths = numpy.add.reduceat(lengths > 0, firsts, dtype=numpy.int64)
        return Encoded(
            ids,
            lengths[lengths > 0],
            document_lengths[document_lengths > 0],
            sum(len("\n".join(document.paragraphs).encode()) for document in batch),
            Tally({"sentences without tokens": int((lengths == 0).sum())}),
            tuple(letters.tolist()),
        )


def pieces(document: Document) -> list[str]:
    """The sentences of a document, or all of it as one piece if it is to stay whole; joined they are its text: a new
    paragraph begins with a newline."""
    first, *others = document.paragraphs
    if document.form != "sentences":
        return [first, *("\n" + paragraph for paragraph in others)]
    return sentences(first) + [piece for paragraph in others for piece in sentences("\n" + paragraph)]
