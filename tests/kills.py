"""What is left when a program is killed at any moment?  Helpers of the tests that kill and count."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import psutil


def left_in(folder: Path, contents: tuple[str, ...]) -> dict[str, bytes]:
    """The names of all files below `folder`, and the bytes of those that match one of the patterns `contents`.

    What is remembered of the sources' files, in .cache, may come with the first launch or with a later one.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name != ".cache")
    return {
        str(path.relative_to(folder)): path.read_bytes() if any(map(path.match, contents)) else b"" for path in files
    }


def killed(launch: Callable[..., Any], folder: Path, seconds: float, chance: Random) -> bool:
    """Launch `recipe.yaml` and kill it within `seconds`. Return whether it was killed; it may have ended before."""
    moment = time.monotonic() + chance.uniform(0, seconds)

    def watch(pid: int) -> None:
        if time.monotonic() > moment:
            os.kill(pid, signal.SIGKILL)

    ended = launch(folder, "recipe.yaml", watch=watch)
    assert ended.status in (0, -signal.SIGKILL), ended.said
    return ended.status != 0


def survive(
    launch: Callable[..., Any], new: Callable[[str], Path], kills: int, look: Callable[[Path], dict[str, bytes]]
) -> None:
    """Kill a program `kills` times at random moments, two times in each folder, and say its command again to the end.

    `new(name)` makes a folder with a recipe, `look(folder)` tells what is in it. Each end must be the end of a run that
    nobody killed, and no process may stay. The counts are printed.
    """
    chance, whole = Random(0), new("whole")
    began = time.monotonic()
    ended = launch(whole, "recipe.yaml")
    seconds, expected = time.monotonic() - began, look(whole)
    assert ended.status == 0, ended.said
    tried = folders = 0
    while tried < kills:
        folder = new(str(folders))
        tried += sum(killed(launch, folder, seconds, chance) for _ in range(2))
        ended = launch(folder, "recipe.yaml")
        assert ended.status == 0, ended.said
        found = look(folder)
        assert not sorted(found.keys() ^ expected.keys())
        assert not [name for name in found if found[name] != expected[name]]
        assert not processes_after(folder, 30)
        folders += 1
    print(f"killed {tried} times within {seconds:.1f} s, {folders} of {folders} ends are the same")


def processes_after(folder: Path, seconds: float) -> list[psutil.Process]:
    """The processes that still work in `folder` after so many seconds; sooner if there is none."""
    until = time.monotonic() + seconds
    while (found := [one for one in psutil.process_iter() if works_in(one, folder)]) and time.monotonic() < until:
        time.sleep(0.1)
    return found


def works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(folder)
    except psutil.Error:
        return False
