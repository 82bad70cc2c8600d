"""Is any corpus with text trained on, or refused in one line whose advice works?  Does the report say what was read?"""

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from tokenizer.learn import BytePairs

CHANCE = random.Random(0)
WORDS = ["river", "house", "old", "green", "carries", "small", "stone", "bird", "near", "two"]
ONE_STEP = {
    "max_steps": 1,
    "global_batch_size": 4,
    "per_device_train_batch_size": 4,
    "eval_steps": 0,
    "logging_steps": 1,
}
GPT = {"name": "small", "objective": {"name": "causal_lm"}, "plan": ONE_STEP, "max_eval_samples": 4}
CODE = "def f(x):\n    if x:\n        return 'a  b'\n\n"


def sentence(words: int = 9) -> str:
    return " ".join(CHANCE.choices(WORDS, k=words)).capitalize() + "."


@pytest.fixture(scope="module")
def byte_pairs(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("byte-pairs")
    texts = [CODE * 3, *(sentence() for _ in range(50))]
    BytePairs(name="byte-bpe", vocab_size=300).learn(iter([texts]), Counter(), 512).save_pretrained(folder)
    return str(folder)


def gpt_recipe(write_recipe, folder: Path, tokenizer: str, source: dict, mode: str) -> None:
    path = write_recipe(folder, **GPT, tokenizer=tokenizer, corpus={"mode": mode, "sources": [source]})
    text = path.read_text().replace("  intermediate_size: 64\n", "")  # BERT's
    path.write_text(text)


@pytest.mark.parametrize("mode", ["store", "stream"])
def test_one_file_of_code_is_trained_on_as_it_is(tmp_path, launch, write_recipe, byte_pairs, mode):
    (tmp_path / "code.txt").write_text(CODE * 100)
    gpt_recipe(write_recipe, tmp_path, byte_pairs, {"kind": "text", "path": str(tmp_path / "code.txt")}, mode)
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    report = (tmp_path / "runs/small/data_report.md").read_text()
    assert "a file is a document, its text as it is, indentation, line breaks and blank lines included" in report
    assert "the end of each is held out instead" in report
    assert "|⏎|" in report.replace("⏎⏎", "⏎|")
    assert "whitespace: keep" in (tmp_path / "runs/small/recipe.yaml").read_text()


@pytest.mark.parametrize("mode", ["store", "stream"])
def test_a_few_rows_are_enough_for_sentence_pairs(tmp_path, launch, write_recipe, mode):
    rows = [{"text": " ".join(sentence() for _ in range(6))} for _ in range(8)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    corpus = {"mode": mode, "held_out": 0.01, "sources": [{"kind": "jsonl", "path": str(tmp_path / "rows.jsonl")}]}
    write_recipe(tmp_path, corpus=corpus, plan=ONE_STEP)
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    report = (tmp_path / "runs/small/data_report.md").read_text()
    assert "a row is a document, sentences are looked for; indentation and blank lines are left out" in report
    assert "| held out | 2 |" in report


@pytest.mark.slow
def test_documents_of_one_sentence_are_refused_with_remedies_that_work(tmp_path, launch, write_recipe):
    texts = tmp_path / "texts"
    texts.mkdir()
    groups = ["\n".join(sentence(4) for _ in range(4)) for _ in range(40)]  # a longer sentence is used in pieces
    (texts / "lines.txt").write_text("\n\n".join(groups))
    (texts / "._lines.txt").write_text("not text")
    source = {"kind": "text", "path": str(texts), "documents": "line"}
    write_recipe(tmp_path, corpus={"held_out": 0.1, "sources": [source]}, plan=ONE_STEP)
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 2
    last = ended.said.splitlines()[-1]
    assert last.startswith("error: sentence pairs need documents of two sentences or more, and each document of the")
    assert not list((tmp_path / "runs").rglob("ids-*"))  # it is said before anything is tokenized
    assert "objective.next_sentence: false" in last
    assert "`documents: blank_line`" in last
    again = launch(tmp_path, "recipe.yaml", "--name", "alone", "--objective.next_sentence", "False")
    assert again.status == 0, again.said
    assert "Left out: 1 hidden files." in (tmp_path / "runs/alone/data_report.md").read_text()
    source |= {"documents": "blank_line", "sentences": "line"}
    write_recipe(tmp_path, corpus={"held_out": 0.1, "sources": [source]}, plan=ONE_STEP)
    parted = launch(tmp_path, "recipe.yaml", "--name", "parted")
    assert parted.status == 0, parted.said
