"""How do several processes wait for one another, stop together, and end together?

No wait is endless: starting has five minutes, training what `Waiting` says. A process that fails ends at once, so that
its launcher ends the others; one whose launcher is gone is asked to stop.

Exit statuses of every program, see `engine.run.runtime.program`: 0 done; 1 our mistake, with its traceback; 2 the
user's, said in one line; 3 stopped by a signal with the state saved; 4 another process died or hangs; 130 ended by
Ctrl-C where there is no state to save. After 3, 4 and 130 the same command resumes. A launcher of several processes
shows the first status that is not 0 and ends with 1 itself.
"""

import atexit
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType

import torch.distributed as dist
from torch.distributed.distributed_c10d import _set_pg_timeout

from engine.run.starting import INTERRUPTED, LOST, end

USER_MISTAKE, STOPPED = 2, 3
STARTING = timedelta(minutes=5)
STOPPING = timedelta(seconds=25)  # torch's launcher kills 30 seconds after it has passed on a signal
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """A signal asked the run to stop, and its state is on disk."""


class Lost(Exception):
    """Another process died or hangs."""


def is_distributed() -> bool:
    """Whether other processes wait for this one."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def leave(status: int) -> None:
    """End this process with `status`; with others waiting, at once and without a word to them.

    An orderly end would wait for them, and they may be waiting for us. Only who lost another one lets that one go
    first, so that the launcher reports the cause and not its effect.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if is_distributed():
        time.sleep(2 if status == LOST else 0)
        os._exit(status)
    sys.exit(status)


def part() -> None:
    """End this process if it did its work together with others; return if it was alone.

    torch's threads may outlive the group, and then the interpreter's own end aborts: what it would do is done here.
    """
    if dist.is_initialized():
        dist.destroy_process_group()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def as_lost(error: BaseException, where: str = "") -> Lost | None:
    """Put what torch says when the others do not answer in words that help; None for any other error."""
    said = str(error).partition(". ")[0]
    if not isinstance(error, dist.DistError) and not (isinstance(error, RuntimeError) and "gloo" in said):
        return None
    resumes = "The state saved last is whole: once no process of this run is left, the same command resumes from it"
    who = f"process {dist.get_rank()}" if dist.is_initialized() else "a process"
    if "timed out" in said.lower() or "timeout" in said.lower():
        return Lost(
            f"{who} waited too long for another one{where}: that one hangs, or is as slow as that. {resumes}. If a "
            f"step, an evaluation or a saving may take that long, raise plan.timeout. torch says: {said}"
        )
    return Lost(f"{who} lost another one{where}, whose own last words say why. {resumes}. torch says: {said}")


class Waiting:
    """Within this block a process waits at most `seconds` for another. Raise Lost with `step`, which the loop sets.

    gloo raises in the process that waits; NCCL's watchdog thread ends it, in its own words.
    """

    def __init__(self, seconds: float):
        self.seconds, self.step = seconds, 0

    def __enter__(self) -> "Waiting":
        _limit(timedelta(seconds=self.seconds))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None and (lost := as_lost(error, f" in step {self.step}, {self.seconds:g} s at most")):
            raise lost from error
        _limit(STARTING)


def _limit(longest: timedelta) -> None:
    if is_distributed():
        for group in {None, between_hosts()}:
            _set_pg_timeout(longest, group)  # torch has no public way to change it


@functools.cache
def between_hosts() -> dist.ProcessGroup | None:
    """The group (gloo) for numbers that a CPU knows: they do not queue behind the work of a GPU, as NCCL's do.

    None is the group of all processes, which is gloo's where there is no GPU. Called first by all of them at once.
    """
    return None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo", timeout=STARTING)


@contextmanager
def ends_at_once() -> Iterator[None]:
    """Within this block Ctrl-C ends the process in two seconds, even if a library is at work that never looks for it.

    A handler in Python waits for the main thread to return from C or Rust, which may take minutes; on Windows it
    does.
    """
    if sys.platform == "win32":  # which wakes up sockets alone
        yield
        return
    left = threading.Event()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def watch() -> None:
        with os.fdopen(reading, "rb", buffering=0) as signals:
            while heard := signals.read(1):  # nothing once the block is left
                if heard[0] == signal.SIGINT and not left.wait(2):
                    end(INTERRUPTED, "stopped; the same command begins anew")

    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        os.close(writing)


class StopSignal:
    """Within this block Ctrl-C and SIGTERM only leave word; the loop reads `came` between steps.

    `agreed` is set by the loop once all processes know. If that takes 25 s, one of them no longer answers, and this
    process ends with status 4: it would be killed a few seconds later.
    """

    def __enter__(self) -> "StopSignal":
        self.came, self.agreed = False, False
        self._left = threading.Event()
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        if is_distributed():
            reading, self._writing = os.pipe()
            os.set_blocking(self._writing, False)
            # A handler in Python waits for the main thread to return from C, which waits for the others.
            self._wakeup_before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=(reading,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        if hasattr(self, "_writing"):
            signal.set_wakeup_fd(self._wakeup_before)
            os.close(self._writing)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.came = True

    def _watch(self, reading: int) -> None:
        with open(reading, "rb", buffering=0) as signals:
            while heard := signals.read(1):  # nothing once the block is left
                if heard[0] in _SIGNALS and not self._left.wait(STOPPING.total_seconds()) and not self.agreed:
                    print(
                        f"error: process {dist.get_rank()} was asked to stop, but not all processes agreed within "
                        f"{STOPPING.seconds} s; the state saved last is whole, and the same command resumes from it",
                        file=sys.stderr, flush=True,
                    )  # fmt: skip
                    os._exit(LOST)
