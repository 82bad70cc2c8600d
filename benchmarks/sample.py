"""Which text is measured on?  Real text and a trained vocabulary where they are there; else what every clone has.

With CLOZE_DATA: Wikipedia and books. Without: the docstrings of the installed packages. The vocabularies are those of
recipes/tokenizer/, or, if those have not been trained, the same sizes learnt from the docstrings, which takes some
seconds. Speeds hardly depend on it; losses do, and are only compared within a run.
"""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from benchmarks.plain import Family
from corpus.text.document import Tally
from corpus.text.readers import documents
from corpus.text.source import Source
from engine.run.recipe import data_path
from tokenizer.learn import BytePairs, Learner, WordPiece
from tokenizer.load import load_tokenizer

REAL = (Source("wikipedia", "wikipedia"), Source("books", "books"))
TRAINED = {"bert": Path("runs/bert-wordpiece/tokenizer"), "gpt2": Path("runs/gpt2-bpe/tokenizer")}
LEARNT = {"bert": Path("runs/benchmarks/wordpiece"), "gpt2": Path("runs/benchmarks/byte-bpe")}
LONGEST = 300_000  # bytes; a row of JSON may be 1 MB
LEARNERS: dict[str, Learner] = {"bert": WordPiece(name="wordpiece"), "gpt2": BytePairs(name="byte-bpe")}


def text() -> tuple[tuple[Source, ...], str]:
    """The sources, and what they are in words."""
    try:
        for source in REAL:
            data_path(source.path)
        return REAL, "Wikipedia and books"
    except FileNotFoundError:
        return (
            Source("docstrings"),
        ), "docstrings of the installed packages, since CLOZE_DATA has no Wikipedia and books"


def vocabulary(family: Family) -> tuple[Path, PreTrainedTokenizerFast]:
    """The folder of the full-size tokenizer (30,522 or 50,257), and the tokenizer."""
    folder = TRAINED[family] if TRAINED[family].is_dir() else LEARNT[family]
    if not folder.is_dir():
        pages = [document.paragraphs for document in documents(Source("docstrings"), Tally())]
        characters = Counter("".join(chain.from_iterable(pages)))
        LEARNERS[family].learn((list(page) for page in pages), characters, 1024).save_pretrained(folder)
    return folder.resolve(), load_tokenizer(str(folder))


def raw_text(megabytes: float, path: Path) -> Source:
    """Write the first `megabytes` of the text as JSON Lines {"text": ...}, every source's share equal; see `text`."""
    sources, _ = text()
    with path.open("w", encoding="utf-8") as file:
        for source in sources:
            for document in first(source, megabytes * 1e6 / len(sources)):
                file.write(json.dumps({"text": document}) + "\n")
    return Source("jsonl", str(path))


def first(source: Source, most: float) -> Iterator[str]:
    """Documents of the source until `most` bytes; one that is longer than LONGEST is cut between paragraphs."""
    total = 0
    for document in documents(source, Tally()):
        kept, size = [], 0
        for paragraph in document.paragraphs:
            kept.append(paragraph)
            size += len(paragraph.encode()) + 1
            if size > LONGEST or total + size > most:
                yield "\n".join(kept)
                kept, total, size = [], total + size, 0
                if total > most:
                    return
        if kept:
            yield "\n".join(kept)
        total += size
