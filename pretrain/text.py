"""From where does the text of a recipe come?  From a prepared store, or from a stream that is never stored."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus.text.chapters import StoredText, Text
from corpus.text.source import Source
from corpus.text.store import Store, is_prepared, origin_of, prepare
from corpus.text.stream import HELD_OUT_TOKENS, StreamedText
from engine.run.agreement import agree
from engine.run.folders import STORE, refuse_inside
from pretrain.recipe import Corpus
from tokenizer.load import tokenizer_hash

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Opened:
    """A corpus in use."""

    text: Text
    held_out: Text
    sources: tuple[Source, ...]  # those of the Hub at the commit that is read
    stores: dict[str, Store]  # by what the data report calls them
    fingerprint: str
    reached: Callable[[int, int], None]  # hears which epoch and chapter training is in


@contextmanager
def opened(
    corpus: Corpus,
    tokenizer: "PreTrainedTokenizerFast",
    seed: int,
    run: Path,
    accelerator: "Accelerator",
    held_out_tokens: int = HELD_OUT_TOKENS,
) -> Iterator[Opened]:
    """Open a corpus on every process. A stream has no end in sight, and holds out `held_out_tokens` of its beginning.

    Errors: what `corpus.text.store.prepare` and `corpus.text.stream` raise.
    """
    if corpus.mode == "store":
        yield _stored(corpus, tokenizer, seed, accelerator)
        return
    # A machine's processes meet in one folder; it is this run's alone, for the run is locked.
    name = hashlib.sha256(str(run.absolute()).encode()).hexdigest()[:16]
    text = StreamedText(
        corpus.sources,
        tokenizer,
        corpus.held_out,
        corpus.chapter_tokens,
        Path(tempfile.gettempdir()) / f"cloze-{name}",
        seed,
        processes=max(1, len(os.sched_getaffinity(0)) // 4),  # the others train and prepare batches
        builds=accelerator.is_local_main_process,
        held_out_tokens=held_out_tokens,
    )
    try:
        agree(accelerator, corpus=text.fingerprint)
        held_out = text.held_out()
        yield Opened(
            text, _whole(held_out, seed), text.sources, {"held out": held_out}, text.fingerprint, text.consumed
        )
    finally:
        text.close()


def _stored(corpus: Corpus, tokenizer: "PreTrainedTokenizerFast", seed: int, accelerator: "Accelerator") -> Opened:
    asked: dict[str, Any] = {
        "sources": corpus.sources,
        "tokenizer": tokenizer,
        "tokenizer_hash": tokenizer_hash(tokenizer),
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
            "for a large one say first  python -m pretrain.prepare RECIPE.yaml"
        )
    refuse_inside(Path(corpus.stores), STORE)
    with accelerator.main_process_first():
        train, held_out = prepare(**asked)
    return Opened(
        StoredText(train, seed, corpus.chapter_tokens),
        _whole(held_out, seed),
        tuple(Source(**source) for source in train.manifest["sources"]),
        {"training": train, "held out": held_out},
        train.manifest["fingerprint"],
        lambda epoch, chapter: None,
    )


def _whole(store: Store, seed: int) -> Text:
    return StoredText(store, seed, chapter_tokens=max(1, store.num_tokens))
