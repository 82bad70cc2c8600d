"""Do the stored ids say what the documents say, and is a store there whole or not at all?"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from corpus import manifest
from corpus.manifest import write_manifest
from corpus.text import store as store_module
from corpus.text.document import Tally
from corpus.text.encoding import encode_all
from corpus.text.readers import documents
from corpus.text.sentences import sentences
from corpus.text.source import Source
from corpus.text.store import Store, is_prepared, prepare


@pytest.fixture(scope="session")
def characters() -> PreTrainedTokenizerFast:
    """A WordPiece of letters: lower case, blanks invisible, as in BERT."""
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789.,!?[]"]
    words = ["[UNK]", "[MASK]", *letters, *("##" + letter for letter in letters)]
    backend = Tokenizer(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", mask_token="[MASK]")


@pytest.fixture(scope="session")
def bytewise() -> PreTrainedTokenizerFast:
    """A byte-level BPE without merges, as in GPT-2: every byte is a token, blanks included."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate([*alphabet, "<|endoftext|>"])}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")


@pytest.fixture
def source(tmp_path) -> Source:
    rows = [f"Number {index} is here. It is {'very ' * (index % 5)}odd!\nHeading.\nThe end?" for index in range(400)]
    return rows_source(tmp_path, rows)


def rows_source(folder: Path, texts: list[str], **options) -> Source:
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return Source("jsonl", str(folder / "rows.jsonl"), **options)


def sentence_ids(store: Store, document: int) -> list[list[int]]:
    bounds, _ = store.offsets(np.array([document]))
    return [store.tokens(np.arange(start, end)).tolist() for start, end in pairwise(bounds)]


def all_ids(store: Store) -> list[int]:
    return store.tokens(np.arange(store.num_tokens)).tolist()


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.suffix in (".bin", ".json"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# What is inside?


def test_every_sentence_of_every_document_is_stored_in_order(tmp_path, source, characters):
    train, held_out = prepare([source], characters, "hash", tmp_path, held_out=0)
    assert len(held_out) == 0
    assert len(train) == 400
    for number, document in enumerate(documents(source, Tally())):
        expected = [sentence for paragraph in document.paragraphs for sentence in sentences(paragraph)]
        assert sentence_ids(train, number) == characters(expected, add_special_tokens=False)["input_ids"]


def test_bytes_decode_to_the_very_text(tmp_path, bytewise):
    texts = ["One. Two? \u05e9\u05dc\u05d5\u05dd!\nA new paragraph, \U0001f600 too.", "<|endoftext|> is said here."]
    train, _ = prepare([rows_source(tmp_path, texts)], bytewise, "hash", tmp_path, held_out=0)
    found = [bytewise.decode([i for ids in sentence_ids(train, number) for i in ids]) for number in range(2)]
    assert found == texts
    assert bytewise.eos_token_id not in all_ids(train)


def test_text_that_looks_like_a_special_token_is_text(tmp_path, characters):
    train, _ = prepare([rows_source(tmp_path, ["the [MASK] token"])], characters, "hash", tmp_path, held_out=0)
    assert characters.mask_token_id not in all_ids(train)
    assert "".join(characters.convert_ids_to_tokens(all_ids(train))).replace("##", "") == "the[mask]token"


def test_the_tokenizers_truncation_does_not_cut_the_corpus(tmp_path, characters):
    characters.backend_tokenizer.enable_truncation(3)
    try:
        train, _ = prepare([rows_source(tmp_path, ["a rather long sentence"])], characters, "x", tmp_path, held_out=0)
        assert train.num_tokens == len("aratherlongsentence")
    finally:
        characters.backend_tokenizer.no_truncation()


def test_the_manifest_counts_what_is_in_and_what_was_left_out(tmp_path, characters):
    texts = ["One. Two.", "", "\u200b\nThree\0."]
    train, held_out = prepare([rows_source(tmp_path, texts)], characters, "hash of it", tmp_path, held_out=0)
    counts = {"documents": 2, "sentences": 3, "tokens": 14, "bytes": 19}
    letters = {"unknown tokens": 0, "characters": 15, "unknown characters": 0}
    assert train.manifest["counts"] == {**counts, **letters}
    assert train.manifest["skipped"] == {"empty documents": 1, "NUL characters": 1, "sentences without tokens": 1}
    assert train.manifest["tokenizer"] == "hash of it"
    assert train.manifest["sources"][0]["path"] == str(tmp_path / "rows.jsonl")
    assert held_out.manifest["counts"]["documents"] == 0
    assert sentence_ids(train, 1) == characters(["three."])["input_ids"]


def test_a_large_vocabulary_gets_wider_ids(tmp_path, characters):
    wide = Tokenizer(models.WordLevel({"one": 70_000, "two": 1, "[UNK]": 0}, unk_token="[UNK]"))
    wide.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=wide, unk_token="[UNK]")
    source = rows_source(tmp_path, ["one two"])
    assert all_ids(prepare([source], tokenizer, "wide", tmp_path, held_out=0)[0]) == [70_000, 1]
    narrow, _ = prepare([source], characters, "narrow", tmp_path, held_out=0)
    assert (narrow.folder / "ids-00000.bin").stat().st_size == 2 * len("onetwo")


# Which documents are held out?


def test_the_split_is_by_document_and_stable_as_the_corpus_grows(tmp_path, source, characters):
    train, held_out = prepare([source], characters, "hash", tmp_path, held_out=0.2)
    assert len(train) + len(held_out) == 400
    assert 50 < len(held_out) < 110
    grown_by = [f"New {index}." for index in range(100)]
    old = [json.loads(line)["text"] for line in Path(source.path).read_text().splitlines()]
    grown = rows_source(tmp_path, old + grown_by)
    _, held_out_then = prepare([grown], characters, "hash", tmp_path, held_out=0.2)
    assert all_ids(held_out_then)[: held_out.num_tokens] == all_ids(held_out)
    assert len(held_out_then) > len(held_out)


def test_no_document_left_to_train_on_is_an_error(tmp_path, source, characters):
    with pytest.raises(ValueError, match=r"no document left to train on: corpus\.held_out is 1"):
        prepare([source], characters, "hash", tmp_path, held_out=1)


# Is it built once, whole, and the same?


def test_the_number_of_processes_changes_nothing(tmp_path, source, characters, monkeypatch):
    monkeypatch.setattr(store_module, "BATCH_CHARACTERS", 1000)  # so that there is work for three
    for processes in (1, 3):
        prepare([source], characters, "hash", tmp_path / str(processes), held_out=0.1, processes=processes)
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


def test_a_store_is_built_once_and_anew_when_corpus_or_tokenizer_change(tmp_path, source, characters, monkeypatch):
    built = []
    monkeypatch.setattr(store_module, "encode_all", lambda *args: built.append(1) or encode_all(*args))
    home = tmp_path / "stores"
    first, _ = prepare([source], characters, "hash", home)
    again, _ = prepare([source], characters, "hash", home)
    assert (len(built), again.folder) == (1, first.folder)
    assert prepare([source], characters, "another hash", home)[0].folder != first.folder
    rows_source(tmp_path, ["Changed. Text.", "And more."])
    assert prepare([source], characters, "hash", home)[0].folder != first.folder
    assert len(built) == 3


def test_a_failed_build_leaves_nothing_and_the_next_succeeds(tmp_path, source, characters):
    good = Path(source.path).read_text()
    Path(source.path).write_text(good + "not JSON\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl:401: not JSON"):
        prepare([source], characters, "hash", tmp_path / "stores")
    assert not [path for path in (tmp_path / "stores").iterdir() if path.is_dir()]
    Path(source.path).write_text(good)
    assert sum(map(len, prepare([source], characters, "hash", tmp_path / "stores"))) == 400


def test_a_killed_build_leaves_no_store_and_the_next_succeeds(tmp_path, source, characters, monkeypatch):
    def never_ending(work, tokenizer, processes):
        yield from encode_all(work, tokenizer, processes)
        (tmp_path / "reached").touch()
        time.sleep(60)

    home = tmp_path / "stores"
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "encode_all", never_ending)
        context = multiprocessing.get_context("fork")
        builder = context.Process(target=prepare, args=([source], characters, "hash", home))
        builder.start()
        while not (tmp_path / "reached").exists():
            time.sleep(0.02)
        os.kill(builder.pid, signal.SIGKILL)
        builder.join()
    assert [path.suffix for path in home.iterdir() if path.is_dir()] == [".writing"]
    assert sum(map(len, prepare([source], characters, "hash", home))) == 400
    assert [path.suffix for path in home.iterdir() if path.is_dir()] == [""]


def test_two_builders_at_once_build_one_store(tmp_path, source, characters):
    context = multiprocessing.get_context("fork")
    home = tmp_path / "stores"
    builders = [context.Process(target=prepare, args=([source], characters, "hash", home)) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert [builder.exitcode for builder in builders] == [0, 0, 0]
    assert len([path for path in home.iterdir() if path.is_dir()]) == 1


def test_a_corpus_to_be_cleaned_is_another_one_and_not_prepared_in_passing(tmp_path, source, characters):
    asked = ([source], characters, "hash", tmp_path)
    assert not is_prepared(*asked)
    prepare(*asked)
    assert is_prepared(*asked)
    assert not is_prepared(*asked, filters=["c4_quality"])
    with pytest.raises(ValueError, match=r"cleaned \(c4_quality, minhash\), and is not prepared: say .*prepare"):
        prepare(*asked, filters=["c4_quality"], deduplicate="minhash")


# Can everything be reached, and does memory stay as it is?


@pytest.mark.parametrize("num_files", [1, 7])
def test_tokens_and_offsets_are_those_of_the_arrays(tmp_path, num_files):
    ids, sentence_ends, document_ends = write_store(tmp_path / "store", num_files, num_documents=5000)
    store = Store(tmp_path / "store")
    assert (store.num_tokens, store.num_sentences, len(store)) == (len(ids), len(sentence_ends) - 1, 5000)
    chance = np.random.default_rng(1)
    for shape in [(0,), (1,), (6, 5), (2, 3, 4), (3, 0)]:
        index = chance.integers(0, len(ids), shape)
        assert np.array_equal(store.tokens(index), ids[index])
    assert np.array_equal(store.tokens(np.arange(len(ids))), ids)
    documents = chance.permutation(5000)
    flat, first = store.offsets(documents)
    for place, document in enumerate(documents):
        expected = sentence_ends[document_ends[document] : document_ends[document + 1] + 1]
        assert np.array_equal(flat[first[place] : first[place + 1]], expected)
    flat, first = store.offsets(documents[:0])
    assert (flat.tolist(), first.tolist()) == ([], [0])


def write_store(folder: Path, num_files: int, num_documents: int, repeated: int = 1):
    """A store of random lengths and ids, cut into files anywhere; returns its three arrays."""
    chance = np.random.default_rng(0)
    sentences = chance.integers(1, 6, num_documents)
    lengths = chance.integers(1, 40, sentences.sum() * repeated)
    documents = np.cumsum([0, *np.tile(sentences, repeated)])
    bounds = np.cumsum([0, *lengths])
    ids = np.resize(chance.integers(0, 30_000, 1 << 20, np.uint16), bounds[-1])
    folder.mkdir(parents=True)
    for number, part in enumerate(np.split(ids, np.sort(chance.integers(0, len(ids), num_files - 1)))):
        part.tofile(folder / f"ids-{number:05}.bin")
    bounds.tofile(folder / "sentences.bin")
    documents.tofile(folder / "documents.bin")
    write_manifest(folder, {"dtype": "uint16"})
    return ids, bounds, documents


READ_ALL_OVER = """
import sys, numpy as np
from pathlib import Path
from corpus.text.store import Store
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
before = resident()
store, chance, most = Store(Path(sys.argv[1])), np.random.default_rng(0), 0
for _ in range(400):
    store.tokens(chance.integers(0, store.num_tokens - 128, 64)[:, None] + np.arange(128))
    most = max(most, resident())
for _ in range(10):
    store.offsets(chance.integers(0, len(store), 3000))
    most = max(most, resident())
print(most - before)
"""


@pytest.mark.slow
def test_resident_memory_does_not_grow_with_the_corpus(tmp_path):
    grown = {}
    for repeated in (1, 30):
        write_store(tmp_path / f"{repeated}", num_files=repeated, num_documents=500_000, repeated=repeated)
        said = subprocess.run(
            [sys.executable, "-c", READ_ALL_OVER, str(tmp_path / f"{repeated}")],
            capture_output=True,
            text=True,
            check=True,
        )
        grown[repeated] = int(said.stdout)
        shutil.rmtree(tmp_path / f"{repeated}")
    assert max(grown.values()) < 1.5 * store_module.RESIDENT, grown  # the largest is 2.4 GB on disk


# Is damage seen when a store is opened?


@pytest.mark.parametrize("name", ["ids-00000.bin", "sentences.bin", "documents.bin"])
def test_a_damaged_file_is_named(tmp_path, source, characters, name):
    train, _ = prepare([source], characters, "hash", tmp_path)
    file = train.folder / name
    os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(ValueError, match=rf"train/{name}: damaged: \d+ bytes .* says \d+; delete .* made anew"):
        prepare([source], characters, "hash", tmp_path)
    file.unlink()
    with pytest.raises(ValueError, match=rf"train/{name}: damaged: 0 bytes"):
        Store(train.folder)


def write_large(folder: Path, monkeypatch, num_files: int = 2) -> Store:
    """A store of many blocks that is read as one too large for memory: not checked when it is opened."""
    write_store(folder / "home/train", num_files, num_documents=9000)
    monkeypatch.setattr("corpus.manifest.BLOCK", 1 << 14)
    write_manifest(folder / "home/train", {"dtype": "uint16"})
    for module in (store_module, manifest):
        monkeypatch.setattr(module, "RESIDENT", 1 << 14)
        monkeypatch.setattr(module, "AROUND", 1 << 12)
    return Store(folder / "home/train")


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def read_all(store: Store) -> None:
    store.tokens(np.arange(store.num_tokens))
    store.offsets(np.arange(len(store)))


@pytest.mark.parametrize("name", ["ids-00000.bin", "ids-00001.bin", "sentences.bin", "documents.bin"])
@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_a_flipped_bit_is_found_when_its_block_is_read(tmp_path, monkeypatch, name, share):
    train = write_large(tmp_path, monkeypatch)
    read_all(train)
    file = train.folder / name
    flip(file, int(share * (file.stat().st_size - 1)))
    damaged = Store(train.folder)
    with pytest.raises(ValueError, match=rf"train/{name}: damaged: its bytes .* have changed .*; delete .*/home and"):
        read_all(damaged)
    with pytest.raises(ValueError, match=rf"train/{name}: damaged"):  # once more: it is not taken for checked
        read_all(damaged)


def test_what_is_read_beside_the_damage_is_whole(tmp_path, monkeypatch):
    train = write_large(tmp_path, monkeypatch, num_files=1)
    flip(train.folder / "ids-00000.bin", 0)
    damaged = Store(train.folder)
    damaged.tokens(np.arange(1 << 13, train.num_tokens))
    with pytest.raises(ValueError, match="its bytes 0 to 16,384 have changed"):
        damaged.tokens(np.array([[1]]))


@pytest.mark.parametrize("name", ["ids-00000.bin", "sentences.bin", "documents.bin", "manifest.json"])
def test_a_flipped_bit_in_a_store_that_fits_in_memory_is_found_at_once(tmp_path, source, characters, name):
    train, held_out = prepare([source], characters, "hash", tmp_path / "stores")
    for store in (train, held_out):
        file = store.folder / name
        for place in (0, file.stat().st_size // 2, file.stat().st_size - 1):
            flip(file, place)
            with pytest.raises(ValueError, match=rf"{name}: damaged: .*; delete {train.folder.parent} and"):
                prepare([source], characters, "hash", tmp_path / "stores")
            flip(file, place)
    file.unlink()
    shutil.rmtree(train.folder.parent)  # the advice
    assert all_ids(prepare([source], characters, "hash", tmp_path / "stores")[0]) == all_ids(train)


def test_a_whole_split_in_the_place_of_another_is_refused(tmp_path, source, characters):
    train, held_out = prepare([source], characters, "hash", tmp_path / "stores")
    shutil.rmtree(train.folder)
    shutil.copytree(held_out.folder, train.folder)
    with pytest.raises(ValueError, match=r"train/manifest.json: damaged: it belongs to a folder held_out; delete"):
        prepare([source], characters, "hash", tmp_path / "stores")


def test_a_whole_store_in_the_place_of_another_is_refused(tmp_path, source, characters):
    train, _ = prepare([source], characters, "hash", tmp_path / "stores")
    other, _ = prepare([source], characters, "another hash", tmp_path / "stores")
    shutil.rmtree(other.folder.parent)
    train.folder.parent.rename(other.folder.parent)
    with pytest.raises(ValueError, match=r"train/manifest.json: damaged: it was made of other text, or by another"):
        prepare([source], characters, "another hash", tmp_path / "stores")


def test_ids_beyond_the_vocabulary_are_named_by_file(tmp_path):
    write_store(tmp_path / "store", num_files=3, num_documents=9000)
    assert Store(tmp_path / "store", vocabulary=30_000)
    with pytest.raises(ValueError, match=r"ids-00000\.bin: damaged: it holds the id 29999, .* ends with 29998"):
        Store(tmp_path / "store", vocabulary=29_999)


@pytest.mark.parametrize("content", ["{", "[]", "null", "{}", '{"files": {}}', "\xff", "[" * 9999, ""])
def test_a_damaged_manifest_is_named(tmp_path, source, characters, content):
    train, _ = prepare([source], characters, "hash", tmp_path)
    (train.folder / "manifest.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=rf"manifest\.json: damaged: .*; delete {train.folder.parent} and"):
        Store(train.folder)


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no store here: manifest\.json is missing"):
        Store(tmp_path / "nowhere")


def test_a_store_without_checksums_is_not_read_and_made_anew_with_a_word(
    tmp_path, source, characters, monkeypatch, capsys
):
    with monkeypatch.context() as earlier:
        earlier.setattr(store_module, "LAYOUT", store_module.LAYOUT - 1)
        old, _ = prepare([source], characters, "hash", tmp_path)
    manifest = json.loads((old.folder / "manifest.json").read_text())
    manifest["files"] = {name: about["bytes"] for name, about in manifest["files"].items()}
    del manifest["checksum"]
    (old.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="an earlier version wrote it, without checksums; delete"):
        Store(old.folder)
    train, _ = prepare([source], characters, "hash", tmp_path)
    assert f"{old.folder.parent} is an earlier version's, without checksums" in capsys.readouterr().out
    assert train.folder != old.folder


def test_a_worker_is_sent_the_place_and_not_the_ids(tmp_path, source, characters):
    train, _ = prepare([source], characters, "hash", tmp_path)
    rebuilt, sent = train.__reduce__()  # what multiprocessing sends
    assert sent == (train.folder, len(characters))
    assert all_ids(rebuilt(*sent)) == all_ids(train)


# The real ones


@pytest.mark.slow
def test_a_real_corpus_round_trips_under_bert_and_gpt2_vocabularies(data, tmp_path):
    wiki = Source("wikipedia", str(data / "wikipedia" / "wiki-05.jsonl.gz"))
    bert = PreTrainedTokenizerFast(tokenizer_object=bert_uncased(data), unk_token="[UNK]")
    train, held_out = prepare([wiki], bert, "bert", tmp_path)
    assert len(train) + len(held_out) == sum(1 for _ in documents(wiki, Tally()))
    ids = train.tokens(np.arange(train.num_tokens))
    assert ids.max() < len(bert)
    assert np.mean(ids == bert.unk_token_id) < 0.002
    gpt2 = Tokenizer(models.BPE.from_file(*(str(data / "vocab/gpt2" / name) for name in ("vocab.json", "merges.txt"))))
    gpt2.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    gpt2.decoder = decoders.ByteLevel()
    train, _ = prepare([wiki], PreTrainedTokenizerFast(tokenizer_object=gpt2), "gpt2", tmp_path, held_out=0)
    for number, document in enumerate(documents(wiki, Tally())):
        ids = [token for sentence in sentence_ids(train, number) for token in sentence]
        assert gpt2.decode(ids) == "\n".join(document.paragraphs)


def bert_uncased(data: Path) -> Tokenizer:
    backend = Tokenizer(models.WordPiece.from_file(str(data / "vocab/bert-base-uncased/vocab.txt"), unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return backend


def test_a_store_of_which_a_split_is_gone_is_made_anew_when_the_advice_is_followed(tmp_path, source, characters):
    train, _ = prepare([source], characters, "c", tmp_path / "stores")
    shutil.rmtree(train.folder)
    with pytest.raises(FileNotFoundError, match=r"delete .* and give the same command again") as raised:
        prepare([source], characters, "c", tmp_path / "stores")
    shutil.rmtree(str(raised.value).split("delete ")[1].split(" and ")[0])
    assert len(prepare([source], characters, "c", tmp_path / "stores")[0]) == len(train)
