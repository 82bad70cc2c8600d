"""How fast does text become batches?  Preparing, pairing and masking, and how soon a large corpus gives its first one.

    python -m benchmarks.data [--megabytes 20] [--rounds 5]

preparation   `corpus.text.store.prepare` (reading, sentences, ids, writing) beside `tokenizers.encode_batch_fast`
alone,
              which is handed the same paragraphs from memory; both on all cores. `ratio`: ours over theirs.
examples      SegmentPairs and the BERT objective's split, from the store, the division of a whole chapter included,
              beside DataCollatorForLanguageModeling in a DataLoader over run_mlm's blocks in a `datasets.Dataset` on
              disk, and over lists of them in memory; 128 tokens, batches of 256, the paper's, one thread. `ratio` and
              `ratio_to_memory`: our samples a second of CPU time over theirs.
first_batch   the prepared corpus written 1, 10 and 100 times behind itself; each size opened by fresh processes.
              Seconds until the first batch, and memory after two hundred: `anonymous_mb` is the process's own,
              `file_mb` are pages of the corpus, and of programs, that the system may take back at any time.
"""

import json
import os
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import datasets
import numpy as np
import torch
from tokenizers import Tokenizer
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from benchmarks import plain, sample
from benchmarks.first_batch import LENGTH, batches_of
from benchmarks.measuring import cpu_seconds, finish, ratio, seconds, spent, turn_by_turn
from corpus.text.document import Tally
from corpus.text.encoding import Encoded
from corpus.text.readers import documents
from corpus.text.source import Source
from corpus.text.store import Store, Writer, prepare
from engine.run.options import read_options
from engine.run.runtime import program
from tokenizer.load import tokenizer_hash

BATCH = 256
TIMES = (1, 10, 100)


@dataclass(frozen=True)
class Options:
    """Measure how fast text becomes batches."""

    megabytes: float = 20.0  # of raw text
    rounds: int = 5  # in which both ways take turns


@program
def main(argv: list[str]) -> None:
    asked = read_options(Options, argv, "python -m benchmarks.data")
    datasets.disable_progress_bars()
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    folder, tokenizer = sample.vocabulary("bert")
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        source = sample.raw_text(asked.megabytes, home / "text.jsonl")
        preparation, store = preparing(source, tokenizer, home, asked.rounds)
        print(json.dumps({"preparation": preparation}), flush=True)
        sizes = {f"{times}x": replicated(store, times, home / f"{times}x") for times in TIMES}
        examples = making_examples(Store(sizes["10x"]), tokenizer, home, asked.rounds)
        print(json.dumps({"examples": examples}), flush=True)
        first_batch = growing(sizes, store.num_tokens, folder, home, asked.rounds)
    finish({
        "preparation": preparation, "examples": examples, "first_batch": first_batch, "text": sample.text()[1],
    })  # fmt: skip


def preparing(
    source: Source, tokenizer: PreTrainedTokenizerFast, home: Path, rounds: int
) -> tuple[dict[str, float], Store]:
    """Megabytes a second of both, and the training store of the last round."""
    stamp, number = tokenizer_hash(tokenizer), iter(range(10**6))
    paragraphs = [paragraph for document in documents(source, Tally()) for paragraph in document.paragraphs]
    size = sum(len(paragraph.encode()) for paragraph in paragraphs) / 1e6
    backend, stores = tokenizer.backend_tokenizer, []

    def ours() -> None:
        stores.append(prepare([source], tokenizer, stamp, home / f"stores-{next(number)}", 0.02)[0])

    taken = turn_by_turn(
        {"ours": lambda: size / seconds(ours), "theirs": lambda: size / seconds(lambda: encode(backend, paragraphs))},
        rounds,
    )
    found = {"mb_per_second": round(median(taken["ours"]), 2), "encode_batch_fast": round(median(taken["theirs"]), 2)}
    return {"ratio": ratio(taken["ours"], taken["theirs"]), **found}, stores[-1]


def encode(tokenizer: Tokenizer, paragraphs: list[str], at_a_time: int = 2048) -> None:
    for start in range(0, len(paragraphs), at_a_time):
        tokenizer.encode_batch_fast(paragraphs[start : start + at_a_time], add_special_tokens=False)


def making_examples(store: Store, tokenizer: PreTrainedTokenizerFast, home: Path, rounds: int) -> dict[str, float]:
    """Samples a second of CPU time, of both."""
    torch.set_num_threads(1)
    ids = store.tokens(np.arange(min(store.num_tokens // LENGTH, 32 * BATCH) * LENGTH)).reshape(-1, LENGTH)
    nothing = np.zeros_like(ids)  # nothing special: given, as run_mlm gives it, or the collator would look for it
    columns = {
        "input_ids": ids, "token_type_ids": nothing, "attention_mask": nothing + 1, "special_tokens_mask": nothing,
    }  # fmt: skip
    datasets.Dataset.from_dict({name: column.tolist() for name, column in columns.items()}).save_to_disk(
        home / "blocks"
    )
    on_disk: Any = datasets.load_from_disk(home / "blocks")
    in_memory: Any = [dict(row) for row in on_disk]
    collate = plain.collator(tokenizer, "bert")
    number = iter(range(10**6))

    def ours() -> float:
        made: list[int] = []

        def chapter() -> None:
            made.extend(len(batch.x["input_ids"]) for batch in batches_of(store, tokenizer, BATCH, epoch=next(number)))

        taken = cpu_seconds(chapter)
        return sum(made) / taken

    def theirs(rows: Any) -> float:
        loader = DataLoader(rows, BATCH, shuffle=True, collate_fn=collate, drop_last=True)
        return len(loader) * BATCH / cpu_seconds(lambda: list(loader))

    taken = turn_by_turn(
        {"ours": ours, "on_disk": lambda: theirs(on_disk), "in_memory": lambda: theirs(in_memory)}, rounds
    )
    return {
        "ratio": ratio(taken["ours"], taken["on_disk"]),
        "ratio_to_memory": ratio(taken["ours"], taken["in_memory"]),
        "samples_per_second": round(median(taken["ours"])),
        "collator": round(median(taken["on_disk"])),
        "collator_in_memory": round(median(taken["in_memory"])),
    }


def growing(
    sizes: dict[str, Path], chapter_tokens: int, tokenizer: Path, home: Path, rounds: int
) -> dict[str, dict[str, float]]:
    """By size: tokens, seconds until the first batch, memory after two hundred."""
    command = [sys.executable, "-m", "benchmarks.first_batch"]

    def fresh(path: Path) -> dict[str, float]:
        said = spent([*command, str(path), str(tokenizer), str(chapter_tokens)], home).output
        return json.loads(said.splitlines()[-1])

    runs = [{name: fresh(path) for name, path in sizes.items()} for _ in range(rounds)]
    return {name: {key: round(median(run[name][key] for run in runs), 3) for key in runs[0][name]} for name in sizes}


def replicated(store: Store, times: int, folder: Path) -> Path:
    """A store of the same documents `times` over."""
    offsets, first = store.offsets(np.arange(len(store)))
    lengths = np.concatenate([np.diff(offsets[a:b]) for a, b in pairwise(first)])
    once = Encoded(store.tokens(np.arange(store.num_tokens)), lengths, np.diff(first) - 1, 0, Counter())
    writer = Writer(folder, store.manifest["dtype"])
    for _ in range(times):
        writer.append(once)
    writer.close({**store.manifest, "counts": None})
    return folder


if __name__ == "__main__":
    main()
