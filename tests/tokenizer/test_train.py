"""Is a learned tokenizer the one asked for, the same each time, and left whole or not at all?"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoTokenizer

from corpus.text.document import draw
from corpus.text.source import Source
from tokenizer.learn import WholeWords
from tokenizer.load import BERT_SPECIAL_TOKENS, load_tokenizer, tokenizer_hash
from tokenizer.sample import survey
from tokenizer.train import main

# Of one sentence many pairs of letters are equally common, so the order of ties decides nearly everything.
TIES = "Wel come to the 🤗 Tok en izers libr ary, naïve Élan 東京 日本語 abcdefghij klmnopqrst uvwxyz.\n"
WORDPIECE = {"name": "wordpiece", "vocab_size": 150, "min_frequency": 1}
BYTE_BPE = {"name": "byte-bpe", "vocab_size": 320, "min_frequency": 1}


def write_corpus(folder: Path, num_documents: int = 40, text: str = TIES) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(num_documents):
        (folder / f"{number:03}.txt").write_text(f"document {number} is here\n\n{text}", encoding="utf-8")
    return folder


def write_recipe(folder: Path, corpus: Path, vocabulary: dict[str, Any], **more: Any) -> Path:
    recipe = {
        "name": "small",
        "sources": [{"kind": "text", "path": str(corpus)}],
        "vocabulary": vocabulary,
        "held_out": 0.1,
        "runs": str(folder / "runs"),
        **more,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


def learn(recipe: Path, *options: str) -> Path:
    main.__wrapped__([str(recipe), *options])  # type: ignore[attr-defined]
    return recipe.parent / "runs" / "small"


def learn_in_another_process(recipe: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tokenizer.train", str(recipe), *options],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture(params=[WORDPIECE, BYTE_BPE], ids=["wordpiece", "byte-bpe"])
def vocabulary(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus")


# What is learned


@pytest.mark.parametrize("size", [150, 160, 170])
def test_the_ties_of_wordpiece_are_decided_by_rule(tmp_path, corpus, size):
    # The library's own trainer fails here within a few repetitions of one process.
    recipe = write_recipe(tmp_path, corpus, {**WORDPIECE, "vocab_size": size})
    hashes = {tokenizer_hash(load_tokenizer(learn(recipe, "--overwrite", "True") / "tokenizer")) for _ in range(5)}
    assert len(hashes) == 1


@pytest.mark.slow
def test_another_process_learns_the_same_files(tmp_path, corpus, vocabulary):
    recipe, found = write_recipe(tmp_path, corpus, vocabulary), []
    for threads in ("1", "2"):
        settings = {"PYTHONHASHSEED": threads, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"}
        done = learn_in_another_process(recipe, "--overwrite", "True", **settings)
        assert done.returncode == 0, done.stderr
        folder = tmp_path / "runs" / "small" / "tokenizer"
        found.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert found[0] == found[1]


def test_autotokenizer_opens_what_was_learned(tmp_path, corpus, vocabulary):
    folder = learn(write_recipe(tmp_path, corpus, vocabulary, model_max_length=16))
    opened, ours = AutoTokenizer.from_pretrained(folder / "tokenizer"), load_tokenizer(folder / "tokenizer")
    assert opened.is_fast
    assert opened.model_max_length == 16
    assert opened(TIES)["input_ids"] == ours(TIES)["input_ids"]
    report = json.loads((folder / "report.json").read_text())
    assert report["tokenizer_hash"] == tokenizer_hash(opened)
    assert report["tokenizer_hash"] in (folder / "recipe.yaml").read_text()


def test_wordpiece_is_berts(tmp_path, corpus):
    tokenizer = load_tokenizer(learn(write_recipe(tmp_path, corpus, {**WORDPIECE, "vocab_size": 500})) / "tokenizer")
    assert tokenizer.convert_ids_to_tokens(range(5)) == list(BERT_SPECIAL_TOKENS)
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    both = tokenizer("Élan 東京", "naïve")
    tokens = tokenizer.convert_ids_to_tokens(both["input_ids"])
    assert tokens == ["[CLS]", "elan", "東", "京", "[SEP]", "naive", "[SEP]"]
    assert both["token_type_ids"] == [0, 0, 0, 0, 0, 1, 1]


def test_a_cased_vocabulary_keeps_capitals_and_accents(tmp_path, corpus):
    recipe = write_recipe(tmp_path, corpus, {**WORDPIECE, "vocab_size": 500, "lowercase": False})
    assert load_tokenizer(learn(recipe) / "tokenizer").tokenize("Élan naïve") == ["Élan", "naïve"]


def test_a_letter_that_was_seen_only_first_can_also_come_later(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", text="kind word zest")
    tokenizer = load_tokenizer(learn(write_recipe(tmp_path, corpus, WORDPIECE)) / "tokenizer")
    assert tokenizer.tokenize("dizk") == ["d", "##i", "##z", "##k"]


def test_letters_beyond_the_alphabet_are_unknown(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", text="aaaa aaab bbbb ж")
    letters_of_the_text = len(set("document is here aaaa aaab bbbb") - {" "})
    recipe = write_recipe(tmp_path, corpus, {**WORDPIECE, "limit_alphabet": letters_of_the_text})
    assert load_tokenizer(learn(recipe) / "tokenizer").tokenize("aaaa ж") == ["aaaa", "[UNK]"]


def test_byte_bpe_is_gpt2s_and_writes_any_text(tmp_path, corpus):
    tokenizer = load_tokenizer(learn(write_recipe(tmp_path, corpus, BYTE_BPE)) / "tokenizer")
    assert tokenizer.convert_ids_to_tokens([0, 220, 319]) == ["!", "Ġ", "<|endoftext|>"]
    assert len(tokenizer) == 320
    unseen = "  שלום 🤖\n\n\tÿ\x00 "
    assert tokenizer.decode(tokenizer(unseen)["input_ids"], clean_up_tokenization_spaces=False) == unseen


def test_a_size_the_text_cannot_fill_is_said(tmp_path, corpus, capsys):
    folder = learn(write_recipe(tmp_path, corpus, {**WORDPIECE, "vocab_size": 5000}))
    assert "The text fills only" in capsys.readouterr().out
    assert "of the 5,000 tokens" in (folder / "report.md").read_text()


def test_a_size_too_small_for_the_letters_is_refused(tmp_path, corpus, vocabulary):
    recipe = write_recipe(tmp_path, corpus, {**vocabulary, "vocab_size": 50})
    with pytest.raises(ValueError, match=r"vocabulary\.vocab_size is 50"):
        learn(recipe)
    assert list((tmp_path / "runs").glob("*")) == []


# Where it is left


def test_a_text_without_words_that_are_common_enough_is_refused():
    with pytest.raises(
        ValueError, match=r"0 words stand 1000000 times or more in the text.*: lower vocabulary.min_freq"
    ):
        WholeWords(name="words", min_frequency=1_000_000).learn(iter([["a text"]]), Counter(), 512)


def test_the_same_recipe_again_does_nothing(tmp_path, corpus, capsys):
    folder = learn(write_recipe(tmp_path, corpus, WORDPIECE))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    for recipe in (tmp_path / "recipe.yaml", folder / "recipe.yaml"):
        learn(recipe)
        assert "nothing to do" in capsys.readouterr().out.splitlines()[-1]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_an_overwritten_tokenizer_is_not_overwritten_by_its_own_recipe(tmp_path, corpus, capsys):
    folder = learn(write_recipe(tmp_path, corpus, WORDPIECE), "--overwrite", "True")
    learn(folder / "recipe.yaml")
    assert "nothing to do" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.slow
def test_another_recipe_in_the_same_folder_is_refused(tmp_path, corpus):
    recipe = write_recipe(tmp_path, corpus, WORDPIECE)
    report = learn(recipe) / "report.json"
    before = report.read_bytes()
    done = learn_in_another_process(recipe, "--held-out", "0.2")
    assert done.returncode == 2
    assert "a tokenizer of another held_out; give another name, or --overwrite True" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert report.read_bytes() == before
    learn(recipe, "--held-out", "0.2", "--overwrite", "True")
    assert report.read_bytes() != before


def test_changed_text_is_not_taken_for_the_same(tmp_path, corpus):
    recipe = write_recipe(tmp_path, corpus, WORDPIECE)
    learn(recipe)
    (corpus / "000.txt").write_text("other text")
    with pytest.raises(FileExistsError, match="another fingerprints"):
        learn(recipe)


def test_a_folder_of_other_files_is_refused(tmp_path, corpus):
    (tmp_path / "runs" / "small").mkdir(parents=True)
    (tmp_path / "runs" / "small" / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match=r"no tokenizer of ours \(thesis\.txt\)"):
        learn(write_recipe(tmp_path, corpus, WORDPIECE))
    with pytest.raises(FileExistsError, match=r"no tokenizer of ours \(thesis\.txt\)"):
        learn(write_recipe(tmp_path, corpus, WORDPIECE), "--overwrite", "True")
    assert (tmp_path / "runs/small/thesis.txt").read_text() == "precious"


def test_a_tokenizer_changed_by_hand_is_not_taken_for_the_recipes(tmp_path, corpus):
    recipe = write_recipe(tmp_path, corpus, WORDPIECE)
    config = learn(recipe) / "tokenizer" / "tokenizer_config.json"
    config.write_text(config.read_text().replace('"do_lower_case": true', '"do_lower_case": false'))
    with pytest.raises(FileExistsError, match="was changed after it was written"):
        learn(recipe)


def test_a_failure_leaves_the_old_tokenizer_and_no_rubbish(tmp_path, corpus, monkeypatch):
    recipe = write_recipe(tmp_path, corpus, WORDPIECE)
    folder = learn(recipe)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("tokenizer.report.Report.json", full)
    with pytest.raises(OSError, match="no space left"):
        learn(recipe, "--overwrite", "True")
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["small"]


@pytest.mark.parametrize("name", ["", "..", "a/../../b", "/tmp/elsewhere"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, corpus, name):
    with pytest.raises(ValueError, match="it names one folder"):
        learn(write_recipe(tmp_path, corpus, WORDPIECE, name=name))


# How it is measured, and from what it is learned


def test_the_report_judges_on_held_out_text_beside_another_vocabulary(tmp_path, corpus):
    other = tmp_path / "other"
    other.mkdir()
    (other / "vocab.txt").write_text("\n".join([*BERT_SPECIAL_TOKENS, "is", "here"]) + "\n")
    folder = learn(write_recipe(tmp_path, corpus, WORDPIECE, compare=str(other)))
    report = json.loads((folder / "report.json").read_text())
    ours, theirs = report["measures"]
    num_held_out = sum(draw(f"text:{path.name}") < 0.1 for path in corpus.iterdir())
    assert report["num_held_out"] == num_held_out > 0
    assert ours["num_words"] == theirs["num_words"] == num_held_out * len(f"document 1 is here {TIES}".split())
    assert theirs["size"] == 7
    assert theirs["unknown_rate"] > 0.5 > ours["unknown_rate"]
    assert str(other) in (folder / "report.md").read_text()


def test_a_comparison_that_is_not_at_hand_stops_nothing(tmp_path, corpus, capsys):
    folder = learn(write_recipe(tmp_path, corpus, WORDPIECE, compare="no/such/folder"))
    assert "not compared: no tokenizer no/such/folder: nothing at" in capsys.readouterr().out
    assert (folder / "tokenizer" / "tokenizer.json").exists()


def test_bounded_text_is_spread_over_all_sources(tmp_path):
    folders = [write_corpus(tmp_path / name, 200) for name in ("first", "second")]
    sources = tuple(Source(kind="text", path=str(folder / "*.txt")) for folder in folders)
    size = len(f"document 100 is here{TIES.strip()}".encode())
    sample = survey(sources, held_out=0.05, max_bytes=100 * size)
    assert 98 * size < sample.num_bytes <= 100 * size
    read = [int(paragraphs[0].split()[1]) for paragraphs in sample.texts()]
    assert len(read) == sample.num_documents
    assert min(read) < 20
    assert max(read) > 180


def test_learning_never_reads_held_out_documents(tmp_path):
    source = Source(kind="text", path=str(write_corpus(tmp_path / "corpus", 200)))
    sample = survey((source,), held_out=0.2, max_bytes=None)
    learned_from = {paragraphs[0] for paragraphs in sample.texts()}
    held_out = {document.paragraphs[0] for document in sample.held_out}
    assert len(learned_from) + len(held_out) == 200
    assert 20 < len(held_out) < 60
    assert not learned_from & held_out


def test_documents_of_one_name_and_size_can_be_held_out(tmp_path):
    name = next(f"{number}.txt" for number in range(1000) if draw(f"text:{number}.txt") < 0.05)
    for folder in ("first", "second", "third"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(f"The {folder:<6} text.")
        (tmp_path / folder / "a.txt").write_text("Other text.")
    sources = tuple(Source(kind="text", path=str(tmp_path / folder)) for folder in ("first", "second", "third"))
    sample = survey(sources, held_out=0.05, max_bytes=None)
    held_out = [document.paragraphs[0].split()[1] for document in sample.held_out]
    assert [place for place in held_out if place in ("first", "second", "third")] == ["first", "second", "third"]


def test_nothing_left_to_learn_from_is_an_error(tmp_path, corpus):
    with pytest.raises(ValueError, match="no text to learn from"):
        learn(write_recipe(tmp_path, corpus, WORDPIECE, max_bytes=10))


@pytest.mark.slow
def test_real_text_fills_a_vocabulary(data, tmp_path):
    sources = [{"kind": "wikipedia", "path": "wikipedia/wiki-00.jsonl.gz"}]
    vocabulary = {"name": "wordpiece", "vocab_size": 8000}
    compare = "vocab/bert-base-uncased"
    recipe = write_recipe(tmp_path, data, vocabulary, sources=sources, max_bytes=4_000_000, compare=compare)
    ours, published = json.loads((learn(recipe) / "report.json").read_text())["measures"]
    assert (ours["size"], published["size"]) == (8000, 30_522)
    assert 1.2 < published["tokens_a_word"] < ours["tokens_a_word"] < 1.8
    assert ours["unknown_rate"] < 0.002
