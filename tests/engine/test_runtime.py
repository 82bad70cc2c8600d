"""Does a program end with the status, and the one line, that its user and their scheduler go by?"""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from engine.run.processes import Lost, Stopped
from engine.run.runtime import commit, commit_of, forget_peak, peak_rss_mb, program


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("lr is 0"), 2, "error: lr is 0\n"),
        (FileNotFoundError("nothing at x"), 2, "error: nothing at x\n"),
        (FileExistsError("runs/x is taken"), 2, "error: runs/x is taken\n"),
        (FloatingPointError("not finite"), 2, "error: not finite\n"),
        (Stopped("stopped at step 3"), 3, "stopped at step 3\n"),
        (Lost("process 0 waited too long"), 4, "error: process 0 waited too long\n"),
    ],
)
def test_a_mistake_is_one_line_and_a_status(error, status, line, capsys, monkeypatch):
    def main(argv):
        assert argv == ["recipe.yaml"]
        raise error

    monkeypatch.setattr(sys, "argv", ["program", "recipe.yaml"])
    with pytest.raises(SystemExit) as ended:
        program(main)()
    assert ended.value.code == status
    assert capsys.readouterr().err == line


def test_our_own_mistake_keeps_its_traceback(monkeypatch, capsys):
    def main(argv):
        assert not argv, "a bug"

    monkeypatch.setattr(sys, "argv", ["program", "recipe.yaml"])
    with pytest.raises(SystemExit) as ended:
        program(main)()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert "AssertionError: a bug" in said


def test_the_commit_is_a_hash():
    assert commit() is None or re.fullmatch(r"[0-9a-f]{40}(\+changes)?", commit())


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git repository with one commit, of code.py; return (its folder, its commit)."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "code.py").write_text("")
    (tmp_path / ".gitignore").write_text("runs/\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return tmp_path, head.stdout.strip()


@pytest.mark.parametrize(
    ("file", "changes"),
    [("", ""), ("code.py", "+changes"), ("tasks/mine.py", "+changes"), ("my recipe.yaml", ""), ("runs/a.py", "")],
)
def test_what_may_run_otherwise_than_its_commit_is_said(checkout, file, changes):
    folder, head = checkout
    if file:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text("changed = True")
    assert commit_of(folder / "code.py") == head + changes


def test_what_is_deleted_or_staged_is_a_change_too(checkout):
    folder, head = checkout
    (folder / "code.py").write_text("changed = True")
    subprocess.run(["git", "-C", str(folder), "add", "."], check=True)
    assert commit_of(folder / "code.py") == f"{head}+changes"
    (folder / ".gitignore").unlink()
    assert commit_of(folder / "code.py") == f"{head}+changes"


def test_code_that_lies_in_the_checkout_of_something_else_has_no_commit(checkout):
    folder, _ = checkout
    installed = folder / "runs" / "site-packages" / "code.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("")
    assert commit_of(installed) is None


def test_without_git_or_a_checkout_there_is_no_commit(checkout, monkeypatch, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "code.py"
    elsewhere.write_text("")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(elsewhere.parent.parent))
    assert commit_of(elsewhere) is None
    monkeypatch.setenv("PATH", "")
    assert commit_of(checkout[0] / "code.py") is None


def test_the_peak_of_memory_falls_when_it_is_forgotten():
    if not forget_peak():
        pytest.skip("this system does not let a process forget its peak of memory")
    before = peak_rss_mb()
    held = bytearray(b"x" * 300_000_000)
    assert peak_rss_mb() > before + 200
    del held
    assert forget_peak()
    assert peak_rss_mb() < before + 100


def test_a_megabyte_is_a_million_bytes():
    statm = Path("/proc/self/statm")
    if not forget_peak() or not statm.exists():
        pytest.skip("this system does not let a process forget its peak of memory")
    pages = int(statm.read_text().split()[1])
    assert peak_rss_mb() == pytest.approx(pages * resource.getpagesize() / 1e6, rel=0.02)


def test_processes_that_stand_alone_are_refused(launch_together, tmp_path):
    def begin():
        from engine.run.runtime import make_accelerator, program

        program(lambda argv: print(make_accelerator(seed=0).num_processes))()

    found = launch_together(begin, tmp_path, ACCELERATE_USE_CPU="false", CUDA_VISIBLE_DEVICES="")
    assert [end.status for end in found] == [2, 2]
    assert all(end.said.count("error: 2 processes were started, but each of them stands alone") == 1 for end in found)
