"""What is settled before torch is imported, which takes seconds?  Who may end this process, and with which words.

Every package with programs imports this first of all. It imports nothing but the standard library.
"""

import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

LOST, INTERRUPTED = 4, 130  # exit statuses, see engine.run.processes
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_INITS = ("systemd", "init", "tini", "dumb-init", "docker-init", "catatonit", "s6-svscan", "supervisord")
_MAY_START = ("python", "accelerate", "torchrun", "bash", "sh", "dash", "zsh")  # processes, as the first of a container


def stop_with_launcher() -> None:
    """Ask the system to send SIGTERM when the launcher that started this process dies (Linux only); end the process
    with status LOST if it is dead already.

    `accelerate launch` of one process passes no signal on: killed, it would leave its training behind, unseen. A
    process that nobody launched belongs to its shell, which may well be closed.
    """
    is_launched = "LOCAL_RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ
    if is_launched and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if _launcher_is_gone():
            end(LOST, "error: the launcher of this process died before training began; the same command begins anew")


def end(status: int, words: str) -> None:
    """End this process at once."""
    print(words, file=sys.stderr, flush=True)
    os._exit(status)


def interrupted(number: int, frame: object) -> None:
    """Ctrl-C before the program has begun."""
    end(INTERRUPTED, "stopped before it began")


def _launcher_is_gone() -> bool:
    """Whether nobody answers where torch's launcher waits for its processes, or the first process of all took this one
    over: it does so with orphans, and starts no training itself unless it is a shell."""
    port = int(os.environ.get("MASTER_PORT", "0"))  # 0: jobs apart, which meet nowhere
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and port:
        try:
            socket.create_connection((os.environ["MASTER_ADDR"], port), timeout=5).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            pass  # torch itself tries for longer, and says why it cannot
    if not {"TORCHELASTIC_RUN_ID", "ACCELERATE_DYNAMO_BACKEND"} & os.environ.keys():
        return False
    parent = Path(f"/proc/{os.getppid()}/comm")
    name = parent.read_text().strip() if parent.exists() else ""
    return name in _INITS or (os.getppid() == 1 and not name.startswith(_MAY_START))


_program = ""


def note_program(module: str) -> None:
    """Remember which program this process carries out: the module of its `main`."""
    global _program
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    _program = spec.name if module == "__main__" and spec else module


def program_name() -> str:
    """The module of the program at work, such as pretrain.run; empty in a process that only calls our functions."""
    return _program


def begin() -> None:
    """What a program does first of all."""
    stop_with_launcher()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupted)


if sys.argv[:1] == ["-m"]:  # as long as `python -m` looks for the program: nobody imports us as a library then
    begin()
