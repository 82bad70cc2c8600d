"""How soon is the first batch of a prepared corpus there, and how much memory does it take?  One size, one process.

python -m benchmarks.first_batch STORE TOKENIZER CHAPTER_TOKENS
"""

import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from corpus.text.chapters import StoredText
from corpus.text.medium import Text
from corpus.text.opening import Corpus
from corpus.text.store import Store
from corpus.text.vocabulary import Vocabulary
from engine.train.batch import Batch
from engine.train.batches import Position
from pretrain.examples import open_chapters
from pretrain.objectives.bert import Bert
from tokenizer.load import load_tokenizer

LENGTH, BATCH = 128, 32
BATCHES = 200


def main(store: str, tokenizer: str, chapter_tokens: str) -> None:
    vocabulary = load_tokenizer(tokenizer)
    began = time.perf_counter()
    batches = batches_of(Store(Path(store)), vocabulary, BATCH, int(chapter_tokens))
    next(batches)
    taken = time.perf_counter() - began
    for _ in itertools.islice(batches, BATCHES - 1):
        pass
    print(json.dumps({"seconds": taken, **memory()}))


def batches_of(
    store: Store,
    tokenizer: PreTrainedTokenizerFast,
    batch: int,
    chapter_tokens: int = Corpus.chapter_tokens,
    epoch: int = 0,
) -> Iterator[Batch]:
    """The batches of an epoch's first chapter, made as training makes them."""
    text = StoredText(store, seed=0, chapter_tokens=chapter_tokens)
    open_chapter = open_chapters(text, Bert(name="bert"), Text(Vocabulary.of(tokenizer), tokenizer), 0)
    examples = open_chapter(Position(epoch=epoch), LENGTH)
    for start in range(0, len(examples.order), batch):
        yield examples.batch(examples.order[start : start + batch])


def memory() -> dict[str, float]:
    """This process's resident memory in MB: its own, and mapped from files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    held = {line.split(":")[0]: int(line.split()[1]) / 1e3 for line in lines if line.startswith("Rss")}
    return {"anonymous_mb": held["RssAnon"], "file_mb": held["RssFile"]}


if __name__ == "__main__":
    main(*sys.argv[1:])
