"""What does every test find in place?  One thread, no network, the real corpora if there are any, and a small text."""

import os
import random
import shutil
import signal
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

# Before torch is imported: small tensors are faster on one thread, and two-process tests do not fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# A shell that starts the tests in the background makes them deaf to Ctrl-C, and all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# A test that would reach for the Hub fails at once instead of waiting for a network that may not be there.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Also on a machine with a GPU: the launchers that tests start would otherwise take it.
os.environ.setdefault("ACCELERATE_USE_CPU", "true")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real corpora that CLOZE_DATA names; the test is skipped where there is none."""
    named = os.environ.get("CLOZE_DATA")
    if not named:
        pytest.skip("CLOZE_DATA is not set: this test reads real corpora")
    folder = Path(named)
    if not folder.is_dir():
        pytest.skip(f"CLOZE_DATA names {folder}, which is not a folder: this test reads real corpora")
    return folder


@dataclass(frozen=True)
class Ended:
    """How a launch ended: its status, negative for the signal that killed it, and all that it said."""

    status: int
    said: str


@pytest.fixture(scope="module", autouse=True)
def own_precision() -> Iterator[None]:
    """Forget the precision, fp32 or bf16, that a module's tests chose: the next module's tests choose their own."""
    yield
    if state := sys.modules.get("accelerate.state"):
        state.AcceleratorState._reset_state()


@pytest.fixture(scope="session")
def launch_program() -> Callable[..., Ended]:
    """Run a program's `main` in a forked child, to spare the imports; `watch(pid)` is called until the child ends."""

    def start(
        main: Callable[[], None], folder: Path, *argv: str, watch: Callable[[int], None] = lambda pid: None
    ) -> Ended:
        log = folder / "log.txt"
        child = os.fork()
        if child == 0:
            become_program(main, folder, log, argv)
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return Ended(os.waitstatus_to_exitcode(status), log.read_text())
            watch(child)
            time.sleep(0.002)

    return start


@pytest.fixture(scope="session")
def launch_together() -> Callable[..., list[Ended]]:
    """Run a program's `main` in forked children that speak gloo, each one rank; how they ended, by rank.

    `watch(pids)` is called until all have ended, which takes two minutes at most.
    """

    def start(
        main: Callable[[], None],
        folder: Path,
        *argv: str,
        ranks: int = 2,
        watch: Callable[[list[int]], None] = lambda pids: None,
        **environment: str,
    ) -> list[Ended]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        logs = [folder / f"log-{rank}.txt" for rank in range(ranks)]
        children: list[int] = []
        for rank, log in enumerate(logs):
            children.append(os.fork())
            if children[-1] == 0:
                os.environ.update({
                    "RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank),
                    "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                    "ACCELERATE_USE_CPU": "true", **environment,
                })  # fmt: skip
                become_program(main, folder, log, argv)
        ended: dict[int, int] = {}
        began = time.monotonic()
        while len(ended) < ranks:
            for child in set(children) - ended.keys():
                if time.monotonic() - began > 120:
                    os.kill(child, signal.SIGKILL)
                found, status = os.waitpid(child, os.WNOHANG)
                if found:
                    ended[child] = os.waitstatus_to_exitcode(status)
            watch(children)
            time.sleep(0.002)
        return [Ended(ended[child], log.read_text()) for child, log in zip(children, logs, strict=True)]

    return start


def become_program(main: Callable[[], None], folder: Path, log: Path, argv: tuple[str, ...]) -> None:
    """Never returns: what pytest holds open is not the child's to close."""
    from accelerate.state import AcceleratorState  # not before the environment is set

    AcceleratorState._reset_state(reset_partial_state=True)  # what other tests left in this process
    status = 1
    try:
        os.chdir(folder)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        sys.argv = [main.__module__, *argv]
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
    from tokenizer.learn import WordPiece  # not before the environment is set

    texts = [path.read_text(encoding="utf-8") for path in sorted(corpus.iterdir())]
    tokenizer = WordPiece(name="wordpiece", vocab_size=500).learn(iter([texts]), Counter("".join(texts)), 512)
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def write_recipe(corpus, tokenizer_folder) -> Callable[..., Path]:
    """Write `recipe.yaml` for the small text: two layers of 32, examples of 32 tokens, 30 steps over two epochs and a
    bit."""

    def write(folder: Path, **changes: Any) -> Path:
        folder.mkdir(exist_ok=True)
        recipe: dict[str, Any] = {
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
            "optimizer": {"learning_rate": 1e-3},
            "schedule": {"warmup_ratio": 0.1},
            "plan": {
                "max_steps": 30,
                "global_batch_size": 32,
                "per_device_train_batch_size": 16,
                "logging_steps": 2,
                "eval_steps": 10,
            },
            "max_eval_samples": 24,
        }
        for section, values in changes.items():
            recipe[section] = {**recipe.get(section, {}), **values} if isinstance(values, dict) else values
        size = "max_seq_length" if recipe["objective"]["name"] == "bert" else "block_size"
        recipe["objective"] = {size: 32, **recipe["objective"]}
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        return path

    return write


@pytest.fixture
def browser() -> Iterator[Any]:
    """A headless Chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="this test drives a browser by Playwright")
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("chromium is not installed: this test looks at the page in it")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield opened
        opened.close()
