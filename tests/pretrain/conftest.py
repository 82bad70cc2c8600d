"""What do the tests of pretraining share?  A small text with its tokenizer, and stores whose every token is unique."""

import os
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from corpus.encoding import Encoded
from corpus.store import Store, Writer
from pretrain.run import main
from pretrain.vocabulary import Vocabulary
from tokenizer.learn import WordPiece

NUM_SPECIAL = 4  # of the stores below: [PAD] [CLS] [SEP] [MASK] are 0 to 3, and token n of the text is 4 + n


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """A folder of 40 documents of 4 to 30 sentences, of made-up words as unequally common as real ones."""
    folder, chance = tmp_path_factory.mktemp("corpus"), random.Random(0)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    words = ["".join(chance.choices(syllables, k=chance.randint(1, 3))) for _ in range(300)]
    weights = [1 / rank for rank in range(1, 301)]
    for number in range(40):
        sentences = [
            " ".join(chance.choices(words, weights, k=chance.randint(3, 15))).capitalize() + "."
            for _ in range(chance.randint(4, 30))
        ]
        (folder / f"{number:02}.txt").write_text(" ".join(sentences), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tokenizer_folder(corpus, tmp_path_factory) -> Path:
    texts = [path.read_text(encoding="utf-8") for path in sorted(corpus.iterdir())]
    tokenizer = WordPiece(name="wordpiece", size=500).learn(iter([texts]), Counter("".join(texts)), 512)
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def store_of(tmp_path) -> Callable[[list[list[int]]], Store]:
    """Make a store of documents given as their sentences' lengths; token n of all has the id NUM_SPECIAL + n."""

    def make(documents: list[list[int]]) -> Store:
        lengths = np.array([length for document in documents for length in document], np.int64)
        ids = NUM_SPECIAL + np.arange(lengths.sum())
        encoded = Encoded(ids, lengths, np.array([len(document) for document in documents], np.int64), 0, Counter())
        writer = Writer(tmp_path / "store", "uint32")
        writer.append(encoded)
        writer.close({"dtype": "uint32"})
        return Store(tmp_path / "store")

    return make


@pytest.fixture
def vocabulary_of() -> Callable[[Store], Vocabulary]:
    def make(store: Store) -> Vocabulary:
        size = NUM_SPECIAL + len(store.ids)
        return Vocabulary(size=size, pad=0, cls=1, sep=2, mask=3, ordinary=np.arange(NUM_SPECIAL, size))

    return make


@dataclass(frozen=True)
class Ended:
    """How a launch ended: its status, negative for the signal that killed it, and all that it said."""

    status: int
    said: str


@pytest.fixture(scope="session")
def launch() -> Callable[..., Ended]:
    """Run the program in a forked child, which spares the imports; `watch(pid)` is called until the child ends."""

    def start(folder: Path, *argv: str, watch: Callable[[int], None] = lambda pid: None) -> Ended:
        log = folder / "log.txt"
        child = os.fork()
        if child == 0:
            become_program(folder, log, argv)
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return Ended(os.waitstatus_to_exitcode(status), log.read_text())
            watch(child)
            time.sleep(0.002)

    return start


def become_program(folder: Path, log: Path, argv: tuple[str, ...]) -> None:
    """Never returns: what pytest holds open is not the child's to close."""
    status = 1
    try:
        os.chdir(folder)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115, PTH123
        sys.argv = ["pretrain.run", *argv]
        main()
        status = 0
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@pytest.fixture(scope="session")
def write_recipe(corpus, tokenizer_folder) -> Callable[..., Path]:
    """Write `recipe.yaml` for the small text: two layers of 32, 30 steps over two epochs and a bit."""

    def write(folder: Path, **changes: Any) -> Path:
        folder.mkdir(exist_ok=True)
        recipe = {
            "name": "small",
            "corpus": {"sources": [{"kind": "text", "path": str(corpus)}], "held_out": 0.15},
            "tokenizer": str(tokenizer_folder),
            "model": {
                "num_hidden_layers": 2,
                "hidden_size": 32,
                "num_attention_heads": 2,
                "intermediate_size": 64,
                "max_position_embeddings": 32,
            },
            "objective": {"name": "bert"},
            "length": 32,
            "optimizer": {"lr": 1e-3},
            "schedule": {"warmup_rate": 0.1},
            "plan": {"steps": 30, "global_batch": 32, "device_batch": 16, "log_every": 2, "evaluate_every": 10},
            "evaluation_examples": 24,
        }
        for section, values in changes.items():
            recipe[section] = {**recipe.get(section, {}), **values} if isinstance(values, dict) else values
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        return path

    return write
