"""Does a program end with the status, and the one line, that its user and their scheduler go by?"""

import re
import sys

import pytest

from engine.processes import Lost, Stopped
from engine.runtime import commit, program


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("lr is 0"), 2, "error: lr is 0\n"),
        (FileNotFoundError("nothing at x"), 2, "error: nothing at x\n"),
        (FileExistsError("runs/x is taken"), 2, "error: runs/x is taken\n"),
        (FloatingPointError("not finite"), 2, "error: not finite\n"),
        (Stopped("stopped at step 3"), 3, "stopped at step 3\n"),
        (Lost("process 0 waited in vain"), 4, "error: process 0 waited in vain\n"),
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


def test_our_own_mistake_keeps_its_traceback(monkeypatch):
    def main(argv):
        assert not argv, "a bug"

    monkeypatch.setattr(sys, "argv", ["program", "recipe.yaml"])
    with pytest.raises(AssertionError, match="a bug"):
        program(main)()


def test_the_commit_is_a_hash():
    assert commit() is None or re.fullmatch(r"[0-9a-f]{40}(\+changes)?", commit())
