"""What does a new user have?  A checkout that was cloned and set up, texts and rows of their own, and an account."""

import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics  # Python's manual: English that every machine has

import pytest

from tests.hub_server import HubServer

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class User:
    """Somebody in a folder of their own, with the programs of a checkout on their path."""

    folder: Path
    environment: dict[str, str]

    def types(self, *command: str, status: int = 0) -> str:
        """Run a command to its end; what it printed on both streams."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=600,
        )  # fmt: skip
        assert done.returncode == status, f"{' '.join(command)}\n{done.stdout}"
        return done.stdout

    def starts(self, *command: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


@pytest.fixture(scope="session")
def checkout(tmp_path_factory) -> Path:
    """A clone with what has changed in the working tree since, set up as the Makefile does it.

    Its environment finds the libraries that the tests use, so nothing is downloaded.
    """
    if not (ROOT / ".git").exists():
        pytest.skip("this copy has no git repository to clone")
    clone = tmp_path_factory.mktemp("clone") / "cloze"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    changed = ["git", "ls-files", "--modified", "--others", "--exclude-standard"]
    for name in subprocess.run(changed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        (clone / name).unlink(missing_ok=True)
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    subprocess.run([sys.executable, "-m", "venv", str(clone / ".venv")], check=True)
    (libraries,) = clone.glob(".venv/lib/python3*/site-packages")
    borrowed = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (libraries / "borrowed.pth").write_text("".join(f"{path}\n" for path in borrowed))
    made = subprocess.run(["make", ".venv/.ready"], cwd=clone, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return clone


@pytest.fixture(scope="session")
def hub():
    with HubServer() as server:
        yield server


@pytest.fixture
def user(checkout, hub, tmp_path) -> User:
    """With `texts/`, small files of GLUE, and the name `alice` on the Hub."""
    write_texts(tmp_path / "texts")
    write_glue(tmp_path / "glue")
    (tmp_path / "recipes").mkdir()
    environment = {
        **os.environ, "PATH": f"{checkout / '.venv/bin'}{os.pathsep}{os.environ['PATH']}", "HF_ENDPOINT": hub.url,
        "HF_TOKEN": "hf_alice", "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home"),
        "CLOZE_DATA": str(tmp_path),
    }  # fmt: skip
    environment.pop("PYTHONPATH", None)
    return User(tmp_path, environment)


@pytest.fixture
def follow(user) -> Callable[[str], list[list[str]]]:
    """Write the recipes that a page shows; return its `cloze` commands, in words."""

    def read(page: str) -> list[list[str]]:
        commands = []
        for language, title, block in FENCE.findall((ROOT / "docs" / page).read_text(encoding="utf-8")):
            if title:
                (user.folder / title).write_text(block, encoding="utf-8")
            elif not language:
                lines = [line.partition("  #")[0].strip() for line in block.splitlines()]
                commands += [shlex.split(line) for line in lines if line.startswith("cloze ")]
        return commands

    return read


def write_texts(folder: Path) -> None:
    folder.mkdir()
    for name, text in topics.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")


def write_glue(folder: Path) -> None:
    """CoLA and STS-B as the official files are laid out; a word of each sentence decides."""
    for split, rows in {"train": 96, "dev": 24, "test": 12}.items():
        chance = random.Random(split)
        labels = [chance.randint(0, 1) for _ in range(rows)]
        said = [f"{chance.choice(list(topics))} {'is' if label else 'never'} the name of a value." for label in labels]
        cola = [["x", str(label), "", text] for label, text in zip(labels, said, strict=True)]
        stsb = [[str(row), text, said[0], f"{5 * labels[row]:.3f}"] for row, text in enumerate(said)]
        stsb.insert(0, ["index", "sentence1", "sentence2", "score"])
        if split == "test":  # without the answers
            cola = [["index", "sentence"], *([str(row), text] for row, text in enumerate(said))]
            stsb = [fields[:-1] for fields in stsb]
        for task, table in {"CoLA": cola, "STS-B": stsb}.items():
            (folder / task).mkdir(parents=True, exist_ok=True)
            lines = ("\t".join(fields) + "\n" for fields in table)
            (folder / task / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
