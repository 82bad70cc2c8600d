"""Is Ctrl-C in the middle of the work answered in one line, in the whole group of processes as a terminal sends it?"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import yaml

from tests.kills import processes_after

ROOT = Path(__file__).parents[1]


def interrupted(folder: Path, module: str, *argv: str, when: Callable[[], bool]) -> tuple[int, list[str]]:
    """The status and the lines on stderr of a program that gets Ctrl-C a second after `when`."""
    error = folder / "stderr.txt"
    with error.open("w") as said:
        program = subprocess.Popen(
            [sys.executable, "-m", module, *argv], cwd=folder, stdout=subprocess.DEVNULL, stderr=said,
            env={**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
    while not when():
        assert program.poll() is None, error.read_text()
        time.sleep(0.05)
    time.sleep(1)
    os.killpg(program.pid, signal.SIGINT)
    status = program.wait(timeout=30)
    assert not processes_after(folder, 10)
    return status, error.read_text().splitlines()


@pytest.fixture
def rows(tmp_path) -> Path:
    """20 MB of words that hardly come twice: there is much to learn, and to prepare."""
    chance, path = Random(0), tmp_path / "rows.txt"
    words = ["".join(chance.choices("abcdefghijklmnop", k=chance.randint(4, 12))) for _ in range(200_000)]
    path.write_text("".join(" ".join(chance.choices(words, k=100)) + ".\n" for _ in range(22_000)))
    return path


@pytest.mark.slow
def test_while_a_tokenizer_is_learnt(tmp_path, rows):
    """The library that learns it looks for no signal, and would go on for minutes."""
    source = {"kind": "text", "path": str(rows), "documents": "line"}
    recipe = {"name": "small", "sources": [source], "vocabulary": {"name": "byte-bpe", "vocab_size": 60_000}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    status, said = interrupted(
        tmp_path, "tokenizer.train", "recipe.yaml", when=lambda: (tmp_path / "runs/.small.lock").exists()
    )
    assert (status, len(said)) == (130, 1), said
    assert said[0].startswith("stopped; the same command ")


@pytest.mark.slow
def test_while_a_store_is_written(tmp_path, rows, write_recipe):
    source = {"kind": "text", "path": str(rows), "documents": "line"}
    write_recipe(tmp_path, corpus={"sources": [source]})
    stores = tmp_path / "runs/stores"
    status, said = interrupted(
        tmp_path, "pretrain.run", "recipe.yaml", when=lambda: bool([*stores.glob(".*.writing/train/*.bin")])
    )
    assert (status, said) == (130, ["stopped; the same command resumes from what is on disk"])
    assert not [*stores.glob(".*.writing")]
