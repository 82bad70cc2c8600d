"""How do documents become ids?  Sentence by sentence, on every core, in bounded memory."""

import gc
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy
from numpy.typing import NDArray
from tokenizers import Tokenizer

from corpus.document import Document, Tally
from corpus.sentences import sentences

BATCH_SENTENCES = 4096  # that the Rust tokenizer encodes at a time: its answers take about 1 KB a sentence


@dataclass(frozen=True)
class Encoded:
    """A batch of documents as ids."""

    ids: NDArray[Any]  # (n,) uint16 or uint32
    sentences: NDArray[numpy.int64]  # (s,) tokens of each sentence, at least 1
    documents: NDArray[numpy.int64]  # (d,) sentences of each document, at least 1
    num_bytes: int  # of UTF-8 text
    skipped: Tally


def encode_all(
    work: Iterator[tuple[str, list[Document]]], tokenizer: Tokenizer, processes: int
) -> Iterator[tuple[str, Encoded]]:
    """Every batch encoded, in the order given; a few batches a process are under way, so memory stays bounded.

    Processes rather than the tokenizer's threads, because splitting sentences is Python, and takes a fifth of the time.
    """
    context = multiprocessing.get_context("fork")  # a spawned process would import the caller's torch again
    under_way: deque[tuple[str, Future[Encoded]]] = deque()
    with ProcessPoolExecutor(processes, context, become_worker, (tokenizer.to_str(),)) as pool:
        for split, batch in work:
            under_way.append((split, pool.submit(encode, batch)))
            if len(under_way) > 2 * processes:
                split, first = under_way.popleft()
                yield split, first.result()
        for split, rest in under_way:
            yield split, rest.result()


worker_tokenizer: Tokenizer  # a process's own, set once when it starts


def become_worker(tokenizer_json: str) -> None:
    global worker_tokenizer
    gc.disable()  # nothing here makes cycles, and the search for them would touch, so copy, all the parent has loaded
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    worker_tokenizer = Tokenizer.from_str(tokenizer_json)
    worker_tokenizer.no_truncation()
    worker_tokenizer.no_padding()
    worker_tokenizer.encode_special_tokens = True  # an article that says "[MASK]" means the word, not the token


def encode(batch: list[Document]) -> Encoded:
    """Ids of the documents' sentences, without special tokens; a sentence that has no token at all is dropped."""
    texts = [pieces(document) for document in batch]
    arrays: list[NDArray[Any]] = []
    lengths: list[int] = []
    flat = chain.from_iterable(texts)
    while chunk := list(islice(flat, BATCH_SENTENCES)):
        ids = [encoding.ids for encoding in worker_tokenizer.encode_batch_fast(chunk, add_special_tokens=False)]
        lengths.extend(map(len, ids))
        arrays.append(numpy.fromiter(chain.from_iterable(ids), numpy.uint32))
    sentence_lengths = numpy.array(lengths, numpy.int64)
    firsts = numpy.cumsum([0, *map(len, texts[:-1])])
    document_lengths = numpy.add.reduceat(sentence_lengths > 0, firsts, dtype=numpy.int64)
    return Encoded(
        numpy.concatenate(arrays),
        sentence_lengths[sentence_lengths > 0],
        document_lengths[document_lengths > 0],
        sum(len("\n".join(document.paragraphs).encode()) for document in batch),
        Tally({"sentences without tokens": lengths.count(0)}),
    )


def pieces(document: Document) -> list[str]:
    """The sentences of a document; joined they are its text: a new paragraph begins with a newline."""
    first, *others = document.paragraphs
    return sentences(first) + [piece for paragraph in others for piece in sentences("\n" + paragraph)]
