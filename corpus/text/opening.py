"""From where does the text of a recipe come?  From a prepared store, or from a stream that is never stored.

The recipe's `corpus:` section, and how it is opened.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from corpus.medium import Chapters, OpenCorpus
from corpus.text.chapters import StoredText
from corpus.text.medium import Text
from corpus.text.report import hub_ids, remarks, report
from corpus.text.source import Source
from corpus.text.store import Deduplicate, Filter, Store, is_prepared, origin_of, prepare
from corpus.text.stream import HELD_OUT_TOKENS, StreamedText
from engine.run.agreement import agree, name_launch
from engine.run.folders import STORE, refuse_inside
from engine.run.recipe import check_one_line, operational
from engine.run.system import available_cores

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Corpus:
    """Where the text is, and which share of its documents is held out for evaluation."""

    sources: tuple[Source, ...]
    mode: Literal["store", "stream"] = "store"  # store: prepared once, then read at random; stream: never stored
    held_out: float = 0.01  # share of the documents that are not trained on, but evaluated
    chapter_tokens: int = 16_000_000  # tokens that are shuffled together, about
    stores: str = "runs/stores"  # where prepared ids are kept
    filters: tuple[Filter, ...] = ()  # datatrove's, applied in this order by `cloze prepare`
    deduplicate: Deduplicate | None = None  # near duplicates go, by the same command
    license: str = operational("")  # of your own text, for the model card: SPDX, such as CC-BY-4.0, or words

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources is empty; name one source or more")
        check_one_line("license", self.license)
        if not 0 < self.held_out < 1:
            raise ValueError(
                f"held_out is {self.held_out}; it is a share of the documents between 0 and 1, such as 0.01"
            )
        if self.chapter_tokens < 1:
            raise ValueError(f"chapter_tokens is {self.chapter_tokens}; it must be 1 or more, such as 16000000")
        if self.mode == "stream" and (self.filters or self.deduplicate):
            raise ValueError("filters and deduplicate need all of the corpus at once: drop them, or say mode: store")
        if self.mode == "store" and any(source.weight is not None for source in self.sources):
            raise ValueError("a source's weight says how a stream is mixed; a store is read whole: drop it, or say "
                             "mode: stream")  # fmt: skip


@contextmanager
def open_corpus(
    corpus: Corpus, text: Text, seed: int, run: Path, accelerator: "Accelerator", held_out_tokens: int = HELD_OUT_TOKENS
) -> Iterator[OpenCorpus]:
    """Open a corpus on every process. A stream has no end in sight, and holds out `held_out_tokens` of its beginning.

    Errors: what `corpus.text.store.prepare` and `corpus.text.stream` raise.
    """
    if corpus.mode == "store":
        yield _open_stored(corpus, text, seed, accelerator)
        return
    # A machine's processes meet in one folder; it is this run's alone, for the run is locked.
    name = hashlib.sha256(str(run.absolute()).encode()).hexdigest()[:16]
    stream = StreamedText(
        corpus.sources,
        text.words,
        corpus.held_out,
        corpus.chapter_tokens,
        Path(tempfile.gettempdir()) / f"cloze-{name}",
        seed,
        processes=max(1, available_cores() // 4),  # the others train and prepare batches
        builds=accelerator.is_local_main_process,
        held_out_tokens=held_out_tokens,
        launch=f"-{name_launch()}",
    )
    try:
        agree(accelerator, corpus=stream.fingerprint)
        held_out = stream.held_out()
        stores = {"held out": held_out}
        yield OpenCorpus(
            stream, _whole(held_out, seed), stream.fingerprint, report(stream.sources, stores, corpus.license),
            partial(remarks, stores), hub_ids(stream.sources), stream.consumed,
        )  # fmt: skip
    finally:
        stream.close()


def _open_stored(corpus: Corpus, text: Text, seed: int, accelerator: "Accelerator") -> OpenCorpus:
    asked: dict[str, Any] = {
        "sources": corpus.sources,
        "tokenizer": text.words,
        "tokenizer_hash": text.stamp,
        "folder": Path(corpus.stores),
        "held_out": corpus.held_out,
        "filters": corpus.filters,
        "deduplicate": corpus.deduplicate,
    }
    if accelerator.num_processes > 1:
        with accelerator.main_process_first():  # which reads the files; the others of its machine find what it noted
            origin = origin_of(**{name: value for name, value in asked.items() if name != "folder"})
        agree(accelerator, corpus=origin)  # before anybody builds a store of what only he has
    if accelerator.is_main_process and accelerator.num_processes > 1 and not is_prepared(**asked):
        print(
            "the corpus is not prepared yet: the main process does it now while the others wait, five minutes at most; "
            "for a large one say first  cloze prepare RECIPE.yaml"
        )
    refuse_inside(Path(corpus.stores), STORE)
    with accelerator.main_process_first():
        train, held_out = prepare(**asked)
    sources = tuple(Source(**source) for source in train.manifest["sources"])
    stores = {"training": train, "held out": held_out}
    return OpenCorpus(
        StoredText(train, seed, corpus.chapter_tokens), _whole(held_out, seed), train.manifest["fingerprint"],
        report(sources, stores, corpus.license), partial(remarks, stores), hub_ids(sources),
    )  # fmt: skip


def _whole(store: Store, seed: int) -> Chapters:
    return StoredText(store, seed, chapter_tokens=max(1, store.num_tokens))
