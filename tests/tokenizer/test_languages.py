"""Does a tokenizer learn any language, and say what of a text it loses and which key mends it?"""

import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from corpus.text.vocabulary import num_ids
from tokenizer.load import BERT_SPECIAL_TOKENS, load_tokenizer
from tokenizer.train import main

HAN = [chr(code) for code in range(0x4E00, 0x4E00 + 400)]


def chinese() -> str:
    draw = random.Random(0)
    return "".join("".join(draw.choices(HAN, k=15)) + draw.choice("。！？") for _ in range(200))


TEXTS = {
    "chinese": chinese(),
    "german": "Wir drücken und drucken schön schon für fur. " * 20,
    "hindi": "यह एक वाक्य है। वह घर गया। क्या आप ठीक हैं? " * 20,
    "thai": "เขาไปบ้านแล้วก็กลับมา แม่ของเขาไม่อยู่ " * 20,
    "thai without blanks": "เขาไปบ้านแล้วก็กลับมาแม่ของเขาไม่อยู่" * 20,
    "english": "The old man sat by the sea. It's here, said Dr. Who. " * 20,
}


def learn(folder: Path, text: str, *options: str, **vocabulary: Any) -> Path:
    (folder / "texts").mkdir(exist_ok=True)
    for number in range(20):
        (folder / "texts" / f"{number}.txt").write_text(text, encoding="utf-8")
    recipe = {
        "name": "small",
        "sources": [{"kind": "text", "path": str(folder / "texts")}],
        "vocabulary": {"name": "wordpiece", "vocab_size": 1500, **vocabulary},
        "held_out": 0.3,
        "runs": str(folder / "runs"),
        "overwrite": True,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    main.__wrapped__([str(folder / "recipe.yaml"), *options])  # type: ignore[attr-defined]
    return folder / "runs" / "small"


def unknown_rate(run: Path) -> float:
    return json.loads((run / "report.json").read_text())["measures"][0]["unknown_letters_rate"]


def test_no_entry_of_a_chinese_vocabulary_is_dead(tmp_path):
    run = learn(tmp_path, TEXTS["chinese"], vocab_size=420, limit_alphabet=8000)  # no room for each letter twice
    tokenizer = load_tokenizer(run / "tokenizer")
    met = set(tokenizer(TEXTS["chinese"], add_special_tokens=False)["input_ids"])
    assert set(tokenizer.get_vocab().values()) - met == set(range(len(BERT_SPECIAL_TOKENS)))
    assert unknown_rate(run) == 0


def test_a_small_alphabet_is_told_and_what_is_told_mends_it(tmp_path):
    run = learn(tmp_path, TEXTS["chinese"], limit_alphabet=300)
    assert unknown_rate(run) > 0.1
    advice = re.search(
        r"vocabulary.limit_alphabet: (\d+) keeps .* vocabulary.vocab_size must then be (\d+)",
        (run / "report.md").read_text(),
    )
    assert advice
    mended = learn(tmp_path, TEXTS["chinese"], limit_alphabet=int(advice[1]), vocab_size=int(advice[2]))
    assert unknown_rate(mended) == 0
    assert "Warning" not in (mended / "report.md").read_text()


@pytest.mark.parametrize(("language", "lost"), [("german", "drücken"), ("hindi", "घर गया हैं"), ("thai", "แม่ของเขา")])
def test_lost_accents_are_told_and_can_be_kept(tmp_path, language, lost):
    run = learn(tmp_path, TEXTS[language])
    assert "vocabulary.strip_accents: false keeps them" in (run / "report.md").read_text()
    assert "".join(load_tokenizer(run / "tokenizer").tokenize(lost)).replace("##", "") != lost.replace(" ", "")
    kept = learn(tmp_path, TEXTS[language], "--vocabulary.strip_accents", "False")
    assert "".join(load_tokenizer(kept / "tokenizer").tokenize(lost)).replace("##", "") == lost.replace(" ", "")
    assert "Warning" not in (kept / "report.md").read_text()


def test_words_that_wordpiece_finds_too_long_are_told_and_bytes_know_them(tmp_path):
    run = learn(tmp_path, TEXTS["thai without blanks"], strip_accents=False)
    assert unknown_rate(run) == 1
    assert "vocabulary.name: byte-bpe knows any text" in (run / "report.md").read_text()
    assert unknown_rate(learn(tmp_path, TEXTS["thai without blanks"], name="byte-bpe")) == 0


def test_of_english_nothing_is_told(tmp_path):
    assert "Warning" not in (learn(tmp_path, TEXTS["english"] + "plain words " * 500) / "report.md").read_text()


def test_ids_with_a_gap_are_counted_up_to_the_largest(tmp_path):
    run = learn(tmp_path, TEXTS["english"])
    path = run / "tokenizer" / "tokenizer.json"
    made = json.loads(path.read_text())
    made["model"]["vocab"]["zebra"] = 5000
    path.write_text(json.dumps(made))
    tokenizer = load_tokenizer(run / "tokenizer")
    assert len(tokenizer) < 1000
    assert num_ids(tokenizer) == 5001


@pytest.mark.slow
def test_two_that_learn_one_name_do_not_meet(tmp_path):
    learn(tmp_path, TEXTS["english"])
    command = [sys.executable, "-m", "tokenizer.train", str(tmp_path / "recipe.yaml")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [(one.communicate()[1], one.returncode) for one in both]
    assert sorted(status for _, status in ended) in ([0, 0], [0, 2])  # one may be done before the other begins
    for said, status in ended:
        assert len(said.splitlines()) == (status != 0)
        assert status == 0 or "another process is learning" in said
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["small"]
    assert load_tokenizer(tmp_path / "runs/small/tokenizer").tokenize("sea") == ["sea"]


def test_the_second_is_told_in_one_line(tmp_path):
    from engine.run.disk import alone

    learn(tmp_path, TEXTS["english"])
    with alone(tmp_path / "runs" / "small", "learning"), pytest.raises(FileExistsError, match="wait for it"):
        learn(tmp_path, TEXTS["english"])
    learn(tmp_path, TEXTS["english"])


@pytest.mark.parametrize("kind", ["wordpiece", "byte-bpe"])
def test_a_word_of_a_hundred_thousand_letters_is_learnt_from_in_seconds(tmp_path, kind):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "Here it is: " + "x" * 100_000 + " " + "It was. " * 20}))
    recipe = {
        "name": "small",
        "sources": [{"kind": "jsonl", "path": str(tmp_path / "rows.jsonl")}],
        "vocabulary": {"name": kind, "vocab_size": 400},
        "runs": str(tmp_path / "runs"),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    start = time.process_time()
    main.__wrapped__([str(tmp_path / "recipe.yaml")])
    assert time.process_time() - start < 10  # with the word as it is half a minute
    assert "was" in load_tokenizer(tmp_path / "runs" / "small" / "tokenizer").decode(range(400))
