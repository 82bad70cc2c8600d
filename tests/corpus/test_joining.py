"""Is a store of shards the store that is made in one go, wherever the shards are cut?"""

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from corpus.text import joining
from corpus.text.document import Document, Tally
from corpus.text.encoding import Encoder
from corpus.text.held_out import Division
from corpus.text.joining import join
from corpus.text.readers import documents
from corpus.text.source import Source
from corpus.text.store import SPLITS, Store, Writer, batches, home_of, origin_of, prepare
from tokenizer.load import load_tokenizer


@pytest.fixture
def tokenizer(tokenizer_folder) -> PreTrainedTokenizerFast:
    return load_tokenizer(tokenizer_folder)


@pytest.fixture
def source(corpus) -> Source:
    return Source("text", str(corpus))


def write_shard(folder: Path, part: list[Document], tokenizer: PreTrainedTokenizerFast, held_out: float) -> Path:
    encoder = Encoder(tokenizer.backend_tokenizer.to_str())
    writers = {split: Writer(folder / split, "uint16") for split in SPLITS}
    for split, batch in batches(part, Division(held_out)):
        writers[split].append(encoder.encode(batch))
    for writer in writers.values():
        writer.close({"division": {}, "skipped": Tally({"empty documents": 1}), "read": {"0": len(part)}})
    return folder


def contents(home: Path) -> dict[str, str]:
    return {
        path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.rglob("*")
        if path.suffix == ".bin"
    }


@pytest.mark.parametrize("cuts", [[], [20], [0, 3, 3, 17, 40]])
def test_joined_shards_are_the_store_made_in_one_go(tmp_path, source, tokenizer, cuts):
    whole, _ = prepare([source], tokenizer, "hash", tmp_path / "whole", held_out=0.2)
    origin = origin_of([source], tokenizer, "hash", 0.2, [], None)
    read = list(documents(source, Tally()))
    bounds = [0, *cuts, len(read)]
    shards = [
        write_shard(tmp_path / f"shard-{number}", read[start:end], tokenizer, 0.2)
        for number, (start, end) in enumerate(pairwise(bounds))
    ]
    home = join(shards, origin, tmp_path / "joined")
    assert home == home_of(origin, tmp_path / "joined")
    assert contents(home) == contents(whole.folder.parent)
    again, held_out = prepare([source], tokenizer, "hash", tmp_path / "joined", held_out=0.2)
    assert again.folder == home / "train"
    assert again.manifest["counts"] == whole.manifest["counts"]
    assert again.manifest["skipped"] == {"empty documents": len(shards)}
    assert len(again) + len(held_out) == len(read)


def test_large_shards_stay_files_of_their_own_and_read_the_same(tmp_path, source, tokenizer, monkeypatch):
    monkeypatch.setattr(joining, "SMALL", 1)
    monkeypatch.setattr(joining, "MOST_FILES", 3)
    whole, _ = prepare([source], tokenizer, "hash", tmp_path / "whole", held_out=0.2)
    origin = origin_of([source], tokenizer, "hash", 0.2, [], None)
    read = list(documents(source, Tally()))
    bounds = [0, 2, 4, 6, 20, 20, 33, 40]
    shards = [
        write_shard(tmp_path / f"shard-{number}", read[start:end], tokenizer, 0.2)
        for number, (start, end) in enumerate(pairwise(bounds))
    ]
    store = Store(join(shards, origin, tmp_path / "joined") / "train")
    files = sorted(store.folder.glob("ids-*.bin"))
    assert 3 <= len(files) < 6
    assert all(file.stat().st_size for file in files)
    assert any(file.stat().st_nlink == 2 for file in files)  # linked, not copied
    everything = np.arange(whole.num_tokens)
    assert np.array_equal(store.tokens(everything), whole.tokens(everything))
    for found, expected in zip(store.offsets(np.arange(len(store))), whole.offsets(np.arange(len(whole))), strict=True):
        assert np.array_equal(found, expected)


def test_a_source_without_documents_is_named(tmp_path, source, tokenizer):
    empty = Source("text", str(tmp_path))
    (tmp_path / "blank.txt").write_text(" ")
    shard = write_shard(tmp_path / "shard", list(documents(source, Tally())), tokenizer, 0.2)
    origin = origin_of([source, empty], tokenizer, "hash", 0.2, [], None)
    with pytest.raises(ValueError, match=rf"{tmp_path}: no document with text in this text source .*1 empty documents"):
        join([shard], origin, tmp_path / "joined")
    assert not home_of(origin, tmp_path / "joined").exists()
