"""Are commands called at once, stopped together, and is the failure that ended all of them the one that is told?"""

import os
import signal
import sys
import time

import pytest

from compare.commands import Commands, do_each


def test_what_a_command_says_and_takes_is_kept(tmp_path):
    log = tmp_path / "log.txt"
    with Commands(threads=1) as commands:
        status, seconds = commands.call(("--version",), log)
    assert status == 0
    assert "torch" in log.read_text()
    assert 0.05 < seconds < 60


def test_the_mistake_of_one_ends_all_and_is_the_one_that_is_raised(tmp_path):
    begun = []

    def lane(number: int) -> None:
        for step in range(1000):
            begun.append((number, step))
            status, _ = commands.call(("--version",) if number else ("--vresion",), tmp_path / f"{number}.txt")
            if status:
                sys.exit(status)

    with Commands(threads=1) as commands, pytest.raises(SystemExit) as ended:
        do_each(lane, [1, 0], jobs=2)
    assert ended.value.code == 2
    assert "--vresion" in (tmp_path / "0.txt").read_text()
    assert len([step for number, step in begun if number == 0]) == 1
    assert len(begun) < 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_that_run_and_begins_no_other(tmp_path, number):
    """SIGINT is what a terminal sends to each process; here only this process gets it, so they come to their end."""
    before = signal.getsignal(number)
    begun = []

    def lane(name: str) -> None:
        for step in range(1000):
            begun.append(name)
            if (name, step) == ("first", 1):
                os.kill(os.getpid(), number)
            status, _ = commands.call(("--version",))
            if status:
                sys.exit(status)

    began = time.monotonic()
    with Commands(threads=1) as commands, pytest.raises(SystemExit) as ended:
        do_each(lane, ["first", "second"], jobs=2)
    assert ended.value.code == 3
    assert len(begun) < 8
    assert time.monotonic() - began < 60
    assert signal.getsignal(number) == before
