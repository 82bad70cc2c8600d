"""Is a learned tokenizer the one asked for, the same each time, and left whole or not at all?"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from corpus.text import Source
from tokenizer.load import BERT_SPECIAL_TOKENS, load_tokenizer, tokenizer_hash
from tokenizer.sample import place, survey

# Of one sentence many pairs of letters are equally common, so the order of ties decides nearly everything.
TIES = "Wel come to the 🤗 Tok en izers libr ary, naïve Élan 東京 日本語 abcdefghij klmnopqrst uvwxyz.\n"
WORDPIECE = {"name": "wordpiece", "size": 200, "min_frequency": 1}
BYTE_BPE = {"name": "byte-bpe", "size": 320, "min_frequency": 1}


def write_corpus(folder: Path, num_documents: int = 40, text: str = TIES) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(num_documents):
        (folder / f"{number:03}.txt").write_text(f"document {number} is here\n\n{text}", encoding="utf-8")
    return folder


def write_recipe(folder: Path, corpus: Path, vocabulary: dict, **more) -> Path:
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


def run(recipe: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tokenizer.train", str(recipe), *options],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
    )


def learn(recipe: Path, *options: str, **environment: str) -> Path:
    done = run(recipe, *options, **environment)
    assert done.returncode == 0, done.stderr
    return recipe.parent / "runs" / "small"


@pytest.fixture(params=[WORDPIECE, BYTE_BPE], ids=["wordpiece", "byte-bpe"])
def vocabulary(request) -> dict:
    return request.param


def test_another_process_learns_the_same_files(tmp_path, vocabulary):
    recipe = write_recipe(tmp_path, write_corpus(tmp_path / "corpus"), vocabulary)
    found = []
    for number, threads in enumerate("121"):
        folder = learn(
            recipe,
            "--overwrite",
            "true",
            PYTHONHASHSEED=str(number),
            RAYON_NUM_THREADS=threads,
            TOKENIZERS_PARALLELISM="true",
        )
        found.append({path.name: path.read_bytes() for path in (folder / "tokenizer").iterdir()})
    assert found[0] == found[1] == found[2]


def test_autotokenizer_opens_what_was_learned(tmp_path, vocabulary):
    folder = learn(write_recipe(tmp_path, write_corpus(tmp_path / "corpus"), vocabulary, max_length=16))
    opened, ours = AutoTokenizer.from_pretrained(folder / "tokenizer"), load_tokenizer(folder / "tokenizer")
    assert opened.is_fast
    assert opened.model_max_length == 16
    assert opened(TIES)["input_ids"] == ours(TIES)["input_ids"]
    report = json.loads((folder / "report.json").read_text())
    assert report["tokenizer_hash"] == tokenizer_hash(opened)
    assert report["tokenizer_hash"] in (folder / "recipe.yaml").read_text()


def test_wordpiece_is_berts(tmp_path):
    folder = learn(write_recipe(tmp_path, write_corpus(tmp_path / "corpus"), WORDPIECE))
    tokenizer = load_tokenizer(folder / "tokenizer")
    assert tokenizer.convert_ids_to_tokens(range(5)) == list(BERT_SPECIAL_TOKENS)
    assert len(tokenizer) == len(set(tokenizer.get_vocab().values())) == 200
    both = tokenizer("Élan 東京", "naïve")
    tokens = tokenizer.convert_ids_to_tokens(both["input_ids"])
    assert tokens == ["[CLS]", "elan", "東", "京", "[SEP]", "naive", "[SEP]"]
    assert both["token_type_ids"] == [0, 0, 0, 0, 0, 1, 1]


def test_a_cased_vocabulary_keeps_capitals_and_accents(tmp_path):
    folder = learn(write_recipe(tmp_path, write_corpus(tmp_path / "corpus"), {**WORDPIECE, "lowercase": False}))
    assert load_tokenizer(folder / "tokenizer").tokenize("Élan naïve") == ["Élan", "naïve"]


def test_a_letter_that_was_seen_only_first_can_also_come_later(tmp_path):
    folder = learn(write_recipe(tmp_path, write_corpus(tmp_path / "corpus", text="kind word zest"), WORDPIECE))
    assert load_tokenizer(folder / "tokenizer").tokenize("dizk") == ["d", "##i", "##z", "##k"]


def test_letters_beyond_the_alphabet_are_unknown(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", text="aaaa aaab bbbb\n" * 9 + "ж")
    folder = learn(write_recipe(tmp_path, corpus, {**WORDPIECE, "alphabet": 20}))
    tokenizer = load_tokenizer(folder / "tokenizer")
    assert tokenizer.tokenize("aaaa ж") == ["aaaa", "[UNK]"]


def test_byte_bpe_is_gpt2s_and_writes_any_text(tmp_path):
    folder = learn(write_recipe(tmp_path, write_corpus(tmp_path / "corpus"), BYTE_BPE))
    tokenizer = load_tokenizer(folder / "tokenizer")
    assert tokenizer.convert_ids_to_tokens([0, 220, 319]) == ["!", "Ġ", "<|endoftext|>"]
    assert len(tokenizer) == 320
    unseen = "  שלום 🤖\n\n\tÿ\x00 "
    assert tokenizer.decode(tokenizer(unseen)["input_ids"], clean_up_tokenization_spaces=False) == unseen


def test_a_size_the_text_cannot_fill_is_said(tmp_path):
    recipe = write_recipe(tmp_path, write_corpus(tmp_path / "corpus"), {**WORDPIECE, "size": 5000})
    done = run(recipe)
    assert "The text fills only" in done.stdout
    assert "of the 5,000 tokens" in (tmp_path / "runs/small/report.md").read_text()


def test_a_size_too_small_for_the_letters_is_refused(tmp_path, vocabulary):
    done = run(write_recipe(tmp_path, write_corpus(tmp_path / "corpus"), {**vocabulary, "size": 50}))
    assert done.returncode == 2
    assert "vocabulary.size is 50" in done.stderr
    assert list((tmp_path / "runs").glob("*")) == []


def test_the_same_recipe_again_does_nothing(tmp_path):
    recipe = write_recipe(tmp_path, write_corpus(tmp_path / "corpus"), WORDPIECE)
    folder = learn(recipe)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = run(recipe)
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_finished_recipe_can_be_run_again_from_its_own_folder(tmp_path):
    folder = learn(write_recipe(tmp_path, write_corpus(tmp_path / "corpus"), WORDPIECE))
    again = run(folder / "recipe.yaml")
    assert "nothing to do" in again.stdout, again.stderr


def test_an_output_folder_in_use_is_refused_before_any_work(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    recipe = write_recipe(tmp_path, corpus, WORDPIECE)
    folder = learn(recipe)
    other = run(recipe, "--held-out", "0.2")
    assert other.returncode == 2
    assert "another held_out" in other.stderr
    (corpus / "000.txt").write_text("other text")
    changed = run(recipe)
    assert changed.returncode == 2
    assert "another fingerprints" in changed.stderr
    assert run(recipe, "--overwrite", "true").returncode == 0
    (folder / "report.json").unlink()
    stray = run(recipe)
    assert stray.returncode == 2
    assert "holds other files (recipe.yaml, report.md, tokenizer)" in stray.stderr


def test_a_tokenizer_changed_by_hand_is_not_taken_for_the_recipes(tmp_path):
    recipe = write_recipe(tmp_path, write_corpus(tmp_path / "corpus"), WORDPIECE)
    config = learn(recipe) / "tokenizer" / "tokenizer_config.json"
    config.write_text(config.read_text().replace('"do_lower_case": true', '"do_lower_case": false'))
    done = run(recipe)
    assert done.returncode == 2
    assert "was changed after it was written" in done.stderr


def test_the_report_judges_on_held_out_text_beside_another_vocabulary(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "vocab.txt").write_text("\n".join([*BERT_SPECIAL_TOKENS, "is", "here"]) + "\n")
    folder = learn(write_recipe(tmp_path, write_corpus(tmp_path / "corpus"), WORDPIECE, compare=str(other)))
    report = json.loads((folder / "report.json").read_text())
    ours, theirs = report["measures"]
    held_out = [name for name in sorted(os.listdir(tmp_path / "corpus")) if place(f"text:{name}") < 0.1]
    assert report["num_held_out"] == len(held_out) > 0
    assert ours["num_words"] == theirs["num_words"] == len(held_out) * len(f"document 1 is here {TIES}".split())
    assert theirs["size"] == 7
    assert theirs["unknown_rate"] > 0.5 > ours["unknown_rate"]
    assert str(other) in (folder / "report.md").read_text()


def test_a_comparison_that_is_not_at_hand_stops_nothing(tmp_path):
    recipe = write_recipe(tmp_path, write_corpus(tmp_path / "corpus"), WORDPIECE, compare="no/such/folder")
    done = run(recipe)
    assert done.returncode == 0
    assert "not compared: nothing at" in done.stdout


def test_bounded_text_is_spread_over_all_sources(tmp_path):
    folders = [write_corpus(tmp_path / name, 200) for name in ("first", "second")]
    sources = tuple(Source(kind="text", path=str(folder)) for folder in folders)
    size = len(f"document 100 is here{TIES.strip()}".encode())
    sample = survey(sources, held_out=0.05, max_bytes=100 * size)
    assert 99 * size < sample.num_bytes <= 100 * size
    read = [int(paragraphs[0].split()[1]) for paragraphs in sample.texts()]
    assert len(read) == sample.num_documents
    assert min(read) < 20
    assert max(read) > 180


def test_learning_never_reads_held_out_documents(tmp_path):
    source = Source(kind="text", path=str(write_corpus(tmp_path / "corpus", 200)))
    sample = survey((source,), held_out=0.2, max_bytes=None)
    learned_from = {paragraphs[0] for paragraphs in sample.texts()}
    judged = {document.paragraphs[0] for document in sample.held_out}
    assert len(learned_from) + len(judged) == 200
    assert 20 < len(judged) < 60
    assert not learned_from & judged


def test_nothing_left_to_learn_from_is_an_error(tmp_path):
    done = run(write_recipe(tmp_path, write_corpus(tmp_path / "corpus"), WORDPIECE, max_bytes=10))
    assert done.returncode == 2
    assert "no text to learn from" in done.stderr


def test_real_text_fills_a_vocabulary(data, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    source = {"kind": "wikipedia", "path": "wikipedia/wiki-00.jsonl.gz"}
    vocabulary = {"name": "wordpiece", "size": 8000}
    recipe.write_text(
        yaml.safe_dump(
            {
                "name": "small",
                "sources": [source],
                "vocabulary": vocabulary,
                "max_bytes": 4_000_000,
                "compare": "vocab/bert-base-uncased",
                "runs": str(tmp_path / "runs"),
            }
        )
    )
    report = json.loads((learn(recipe) / "report.json").read_text())
    ours, published = report["measures"]
    assert ours["size"] == 8000
    assert published["size"] == 30_522
    assert 1.2 < published["tokens_a_word"] < ours["tokens_a_word"] < 1.8
    assert ours["unknown_rate"] < 0.002
