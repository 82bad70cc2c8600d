"""What do the benchmarks' tests share?  A folder with small real parts: vocabularies, an encyclopedia, a few books."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def workplace(corpus, tokenizer_folder, tmp_path, monkeypatch) -> Path:
    """A working folder in which the commands find trained tokenizers, and CLOZE_DATA with Wikipedia and books."""
    from tokenizer.learn import BytePairs  # not before the environment is set

    pages = [path.read_text(encoding="utf-8") for path in sorted(corpus.iterdir())]
    runs, data = tmp_path / "runs", tmp_path / "data"
    (runs / "bert-wordpiece").mkdir(parents=True)
    (runs / "bert-wordpiece" / "tokenizer").symlink_to(tokenizer_folder)
    BytePairs(name="byte-bpe", vocab_size=500).learn(iter([pages]), Counter("".join(pages)), 1024).save_pretrained(
        runs / "gpt2-bpe" / "tokenizer"
    )
    for name in ("wikipedia", "books"):
        (data / name).mkdir(parents=True)
    rows = [{"id": str(number), "title": "", "text": pages[number % len(pages)]} for number in range(300)]
    (data / "wikipedia" / "wiki.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for number in range(20):
        (data / "books" / f"{number:02}.txt").write_text("\n\n".join(pages[number::20]), encoding="utf-8")
    monkeypatch.setenv("CLOZE_DATA", str(data))
    return tmp_path


@pytest.fixture
def last_line(launch_program, workplace) -> Callable[..., dict[str, Any]]:
    """Run a benchmark's `main` with options; the JSON object on its last line."""

    def run(main: Callable[[], None], *argv: str) -> dict[str, Any]:
        ended = launch_program(main, workplace, *argv)
        assert ended.status == 0, ended.said
        return json.loads(ended.said.splitlines()[-1])

    return run
