"""How are Cloze's commands called, one after another or several at a time, and how are all of them stopped?"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext, suppress
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TypeVar

from engine.run.processes import STOPPED

T = TypeVar("T")
HANDED_ON = (signal.SIGINT, signal.SIGTERM)


class Commands:
    """Calls commands, and hands signals on to those that run. Once one was stopped, or has failed, none is begun.

    To be entered in the main thread. A terminal's Ctrl-C reaches the commands by itself, and is answered by them.
    """

    def __init__(self, threads: int):
        self.environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self.running: list[subprocess.Popen[bytes]] = []
        self.stopped = Event()

    def __enter__(self) -> "Commands":
        self.handlers = {number: signal.signal(number, self._hand_on) for number in HANDED_ON}
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def call(self, command: tuple[str, ...], log: Path | None = None) -> tuple[int, float]:
        """Run a command to its end; its output is added to `log`, if one is given. Return its status and its seconds of
        processor time. The status is STOPPED where all were stopped, also if this one came to its end.
        """
        if self.stopped.is_set():
            return STOPPED, 0.0
        with log.open("ab") if log else nullcontext() as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "cloze", *command], env=self.environment, stdout=output, stderr=output
            )
        self.running.append(child)
        if self.stopped.is_set():  # stopped while this one was being started
            os.kill(child.pid, signal.SIGTERM)  # Popen.terminate may reap it, and wait4 would fail
        _, ended, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(ended)
        self.running.remove(child)
        status = child.returncode or (STOPPED if self.stopped.is_set() else 0)
        if status:
            self.stopped.set()
        return (status if status >= 0 else STOPPED), used.ru_utime + used.ru_stime  # below 0: ended by a signal

    def _hand_on(self, number: int, _: FrameType | None) -> None:
        self.stopped.set()
        if number == signal.SIGTERM:
            for child in list(self.running):
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(child.pid, number)


def do_each(what: Callable[[T], None], items: Iterable[T], jobs: int) -> None:
    """Do something with each item, `jobs` at a time. Errors: that of an item; of several, one that is no mere stop."""
    with ThreadPoolExecutor(jobs) as pool:
        begun = [pool.submit(what, item) for item in items]
        while wait(begun, timeout=0.1).not_done:  # Python handles signals in this thread, and only while it is awake
            pass
    raised = [error for one in begun if (error := one.exception()) is not None]
    for error in sorted(raised, key=lambda error: isinstance(error, SystemExit) and error.code == STOPPED):
        raise error
