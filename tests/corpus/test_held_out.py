"""Can any corpus be held out from, and does what GPT is given decode to the very text?"""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from corpus.text import words
from corpus.text.document import Document, Tally, draw
from corpus.text.held_out import Division, division
from corpus.text.readers import documents
from corpus.text.source import Source
from corpus.text.store import Store, prepare
from corpus.text.stream import StreamedText
from tokenizer.learn import BytePairs, WordPiece
from tokenizer.load import load_tokenizer


def named(count: int, text: str = "One. Two. Three. Four.") -> list[Document]:
    return [Document(f"text:{number}", (text,)) for number in range(count)]


def sides(read: list[Document], share: float) -> tuple[list[Document], list[Document]]:
    divided = division(read, share)
    found = [part for document in read for part in divided.parts(document)]
    train = [document for split, document in found if split == "train"]
    return train, [document for split, document in found if split == "held_out"]


def test_an_ordinary_corpus_is_divided_by_the_draws_alone_and_not_read_whole():
    read = named(3000)
    assert division(read, 0.01) == Division(0.01)
    train, held_out = sides(read, 0.01)
    assert held_out == [document for document in read if draw(document.id) < 0.01]
    assert len(train) + len(held_out) == 3000
    asked = iter(read)
    division(asked, 0.1)
    assert len(list(asked)) > 2500


@pytest.mark.parametrize("count", [4, 5, 80])
@pytest.mark.parametrize("share", [1e-6, 0.01, 0.5, 0.99, 1 - 1e-6])
def test_both_sides_have_two_documents_where_there_are_four(count, share):
    train, held_out = sides(named(count), share)
    assert min(len(train), len(held_out)) >= 2
    assert len(train) + len(held_out) == count


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_of_fewer_the_end_of_each_is_held_out(count, share):
    train, held_out = sides(named(count), share)
    assert len(train) == len(held_out) == count
    for beginning, end, document in zip(train, held_out, named(count), strict=True):
        assert " ".join(beginning.paragraphs + end.paragraphs) == document.paragraphs[0]
        assert end.paragraphs[0].count(".") >= 2  # two sentences, so that there can be pairs
        assert beginning.id != end.id


@pytest.mark.parametrize("form", ["sentences", "lines", "whole"])
@pytest.mark.parametrize("text", ["One. Two.\nThree. Four.\n\nFive.", "one", "two words", "中文没有空格", "x\n\ty\n"])
def test_the_two_parts_are_the_text(form, text):
    paragraphs = (text,) if form == "whole" else tuple(line for line in text.split("\n") if line)
    (_, beginning), (_, end) = Division(0.1, ends=True).parts(Document("a", paragraphs, form))
    both = ("".join if form == "whole" else "\n".join)([*beginning.paragraphs, *end.paragraphs])
    if form == "whole":
        assert both == text
    assert "".join(both.split()) == "".join(text.split())
    assert beginning.paragraphs
    assert end.paragraphs


@pytest.mark.parametrize(
    "text", ["x", "\n\nx", "\tx  \n", " \n\nOne line\n", "\n\n\n\n" + "word " * 99 + "\nend\n\n", "x y"]
)
def test_no_part_is_without_text_and_a_single_letter_is_trained_on(text):
    parts = list(Division(0.01, ends=True).parts(Document("a", (text,), "whole")))
    assert "".join(part.paragraphs[0] for _, part in parts) == text
    assert all(part.paragraphs[0].strip() for _, part in parts)
    assert [split for split, _ in parts] == ["train", "held_out"][: len(text.replace(" ", "").strip())]


def test_three_rows_of_which_one_is_a_letter_are_a_corpus(tmp_path, byte_pairs):
    source = written(tmp_path, ["x", "\n y", "Some words of text.\nAnd more of it.\n"])
    train, held_out = prepare([source], byte_pairs, "hash", tmp_path / "stores", processes=1)
    assert decoded(train, byte_pairs) == ["x", "\n y", "Some words of text.\n"]
    assert decoded(held_out, byte_pairs) == ["And more of it.\n"]


def test_documents_of_one_name_are_still_divided():
    train, held_out = sides([Document("same", ("One. Two.",))] * 6, 0.01)
    assert len(train) == len(held_out) == 6


# In a store and in a stream

CODE = "def f(x):\r\n\tif x:\n\n\n        return 'a  b'   \n# Größe, 中文, 😀\u00a0\u3000 \x1c.\n  \n"


@pytest.fixture(scope="module")
def byte_pairs():
    return BytePairs(name="byte-bpe", vocab_size=400).learn(
        iter([[CODE * 3, "Some words of text. "] * 4]), Counter(), 512
    )


def decoded(store: Store, tokenizer) -> list[str]:
    offsets, first = store.offsets(np.arange(len(store)))
    ids = [store.tokens(np.arange(offsets[a], offsets[b - 1])) for a, b in pairwise(first)]
    return [tokenizer.decode(document, clean_up_tokenization_spaces=False) for document in ids]


def written(folder: Path, texts: list[str]) -> Source:
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return Source("jsonl", str(folder / "a.jsonl"), whitespace="keep")


def streamed(source: Source, tokenizer, folder: Path, held_out: float) -> tuple[Store, Store]:
    text = StreamedText([source], tokenizer, held_out, 1 << 20, folder, 0, processes=1, builds=True)
    try:
        return text.chapter(0, 0, {}).store, text.held_out()
    finally:
        text.close()


TEXTS = [CODE, *(f"{number}:\n{CODE}" for number in range(5)), "<|endoftext|> is said.  \n", "\n\n  a", "no end"]


@pytest.mark.parametrize("mode", ["store", "stream"])
def test_kept_text_decodes_to_the_very_text(tmp_path, byte_pairs, mode):
    source = written(tmp_path, TEXTS)
    if mode == "store":
        stores = prepare([source], byte_pairs, "hash", tmp_path, held_out=0.2, processes=1)
    else:
        stores = streamed(source, byte_pairs, tmp_path / "stream", 0.2)
    train, held_out = (decoded(store, byte_pairs) for store in stores)
    assert sorted(train + held_out) == sorted(TEXTS)
    assert min(len(train), len(held_out)) >= 2


@pytest.mark.parametrize("mode", ["store", "stream"])
def test_one_document_gives_both_sides(tmp_path, byte_pairs, mode):
    source = written(tmp_path, [CODE * 20])
    if mode == "store":
        stores = prepare([source], byte_pairs, "hash", tmp_path, held_out=0.01, processes=1)
    else:
        stores = streamed(source, byte_pairs, tmp_path / "stream", 0.01)
    (beginning,), (end,) = (decoded(store, byte_pairs) for store in stores)
    assert beginning + end == CODE * 20
    assert 0 < len(end) < 0.05 * len(beginning)
    assert stores[1].manifest["division"]["ends"]


def test_a_text_larger_than_is_encoded_at_a_time_decodes_to_the_very_text(tmp_path, byte_pairs, monkeypatch):
    monkeypatch.setattr(words, "PORTION", 1000)  # of the worker processes, too, which are forked
    text = CODE * 200 + "x" * 5000 + CODE
    (tmp_path / "a.txt").write_bytes(text.encode())
    source = Source("text", str(tmp_path / "a.txt"), whitespace="keep")
    train, held_out = prepare([source], byte_pairs, "hash", tmp_path, held_out=0.5, processes=1)
    assert decoded(train, byte_pairs)[0] + decoded(held_out, byte_pairs)[0] == text


def test_a_prepared_corpus_counts_hidden_files(tmp_path, byte_pairs):
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("a.txt", "b.txt", "._a.txt"):
        (folder / name).write_text("A text of words. And more.")
    train, _ = prepare([Source("text", str(folder))], byte_pairs, "hash", tmp_path, held_out=0.1, processes=1)
    assert train.manifest["skipped"] == {"hidden files": 1}
    _, held_out = streamed(Source("text", str(folder)), byte_pairs, tmp_path / "stream", 0.1)
    assert held_out.manifest["skipped"] == {"hidden files": 1}


def test_a_sentence_a_line_stays_one(tmp_path, tokenizer_folder):
    (tmp_path / "a.txt").write_text("\n\n".join(["One. Two. Three!\nand a line without an end"] * 10))
    source = Source("text", str(tmp_path), documents="blank_line", sentences="line")
    tokenizer = load_tokenizer(tokenizer_folder)
    train, held_out = prepare([source], tokenizer, "hash", tmp_path / "stores", held_out=0.2, processes=1)
    assert len(train) + len(held_out) == 10
    assert train.num_sentences == 2 * len(train)


def test_a_vocabulary_of_bytes_is_learnt_from_text_as_it_is(tmp_path):
    from tokenizer.recipe import TokenizerRecipe

    source = written(tmp_path, [CODE] * 8)
    asked = Source("jsonl", source.path)
    of_bytes = TokenizerRecipe("a", (asked,), BytePairs(name="byte-bpe", vocab_size=400))
    of_words = TokenizerRecipe("b", (asked,), WordPiece(name="wordpiece", vocab_size=400))
    assert next(documents(of_bytes.sources[0], Tally())).paragraphs == (CODE,)
    assert "\n" not in "".join(next(documents(of_words.sources[0], Tally())).paragraphs)
