"""Where does this run, and what becomes of its mistakes?  The processes, the hardware, the commit."""

import ctypes
import functools
import gc
import os
import platform
import signal
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from accelerate import Accelerator, InitProcessGroupKwargs, PartialState
from accelerate.utils import broadcast_object_list, parse_flag_from_env, set_seed
from transformers.utils import logging as transformers_logging

from engine.publish.redact import redacted
from engine.run.precision import MEASURED, Precision, choose_precision, use_matmul
from engine.run.processes import (
    STARTING,
    STOPPED,
    USER_MISTAKE,
    Lost,
    Stopped,
    as_lost,
    leave,
    part,
)
from engine.run.starting import INTERRUPTED, LOST, interrupted, note_program, stop_with_launcher
from engine.train.sharding import shards_asked_for


def program(main: Callable[[list[str]], None]) -> Callable[[], None]:
    """Turn `main(argv)` into a command: its mistakes become one line on stderr and an exit status.

    The statuses are those of `engine.run.processes`.
    """

    @functools.wraps(main)
    def command() -> None:
        note_program(main.__module__)
        if signal.getsignal(signal.SIGINT) is interrupted:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        gc.freeze()  # libraries stay: no collection needs to visit them, and no forked worker copies their pages
        try:
            main(sys.argv[1:])
        except KeyboardInterrupt:
            print("stopped; the same command resumes from what is on disk", file=sys.stderr)
            leave(INTERRUPTED)
        except Exception as error:
            status, line = _status_of(error)
            asked = os.environ.get("CLOZE_TRACEBACK")
            print(redacted(line if line and not asked else traceback.format_exc()), file=sys.stderr)
            leave(status)
        else:
            part()

    return command


def _status_of(error: Exception) -> tuple[int, str]:
    """The exit status and the line for an error; no line for a mistake of ours."""
    if lost := error if isinstance(error, Lost) else as_lost(error):
        return LOST, f"error: {lost}"
    if isinstance(error, Stopped):
        return STOPPED, str(error)
    if isinstance(error, ValueError | FloatingPointError | OSError):
        return USER_MISTAKE, f"error: {error}"
    return 1, ""


def make_accelerator(seed: int, asked: Precision = MEASURED, announce: bool = True) -> Accelerator:
    """Join the processes that `accelerate launch` started; choose precision and kernels, and say so; seed the initial
    weights.

    The main process chooses for all: machines may differ. Errors: ValueError for fp16 and for ways of sharding that are
    not done here; what `engine.run.processes.as_lost` puts into words if a process does not join within five minutes.
    """
    stop_with_launcher()  # a program that was not started by `python -m`, too
    sharded = shards_asked_for()
    joining = InitProcessGroupKwargs(timeout=STARTING)
    state = PartialState(parse_flag_from_env("ACCELERATE_USE_CPU"), **joining.to_kwargs())
    refuse_ranks_apart(state.num_processes)
    choice = [choose_precision(asked, state.device)] if state.is_main_process else [None]
    precision, words = broadcast_object_list(choice)[0]
    accelerator = Accelerator(mixed_precision=precision.mixed_precision, kwargs_handlers=[joining])
    if accelerator.device.type == "cpu":
        use_matmul(precision.matmul)
        keep_memory()
    if accelerator.is_main_process and announce:
        print(f"{accelerator.num_processes} process(es) on {hardware()}{', the model in shards' if sharded else ''}")
        print(textwrap.fill(words, 100))
    speak_plainly()
    set_seed(seed)
    return accelerator


def refuse_ranks_apart(num_processes: int) -> None:
    """Refuse processes of one launch that do not know of each other: each would do the whole work. Errors: ValueError.

    torchrun's are such on a machine without a GPU, where Accelerate has to know that the CPU is meant.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != num_processes:
        raise ValueError(
            f"{started} processes were started, but each of them stands alone: on CPUs set ACCELERATE_USE_CPU=true, or "
            "start them by accelerate launch --config_file accelerate_configs/cpu_2.yaml"
        )


def alone() -> None:
    """Leave the company that a launcher put this process in: it works by itself, on the device that is its own.

    To be called before `make_accelerator`.
    """
    rank = os.environ.pop("LOCAL_RANK", None)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "ROLE_WORLD_SIZE", "MASTER_ADDR",
                 "MASTER_PORT"):  # fmt: skip
        os.environ.pop(name, None)
    if rank is not None and not os.environ.get("ACCELERATE_USE_CPU"):
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = given[int(rank)] if len(given) > int(rank) and given[0] else rank


def speak_plainly() -> None:
    """Silence what transformers says while it loads (bars, unused heads): it hides what matters, which we report."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def seed_weights(seed: int) -> None:
    """Make the fresh weights of the next model a function of `seed`."""
    set_seed(seed)


@functools.cache  # what is committed or edited while this process runs is not what it runs
def commit() -> str | None:
    """Return the commit of this code, as `commit_of` has it."""
    return commit_of(Path(__file__))


def commit_of(file: Path) -> str | None:
    """Return the commit (40 hex) of the git checkout that `file` belongs to, or None outside of one or without git.

    `+changes` follows it where a tracked file is edited, or where there is Python that git does not know, such as a new
    task: that may be what runs. Other new files, such as a recipe or notes, change nothing.
    """

    def git(*arguments: str) -> str:
        asked = ["git", "--no-optional-locks", *arguments]
        return subprocess.run(asked, cwd=file.parent, capture_output=True, text=True, check=True).stdout

    try:
        git("ls-files", "--error-unmatch", file.name)  # an installed copy may lie in the checkout of something else
        head = git("rev-parse", "HEAD").strip()
        entries = git("status", "--porcelain", "--untracked-files=all", ":/").splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None
    changes = [entry for entry in entries if not entry.startswith("??") or entry.rstrip('"').endswith(".py")]
    return head + ("+changes" if changes else "")


def hardware() -> str:
    """Describe the machine in words, such as `1 x NVIDIA H100` or `2 threads of x86_64 CPU`."""
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    threads = torch.get_num_threads()
    return f"{threads} {'thread' if threads == 1 else 'threads'} of {platform.machine()} CPU"


def peak_rss_mb() -> float:
    """Return the most memory this process has held since its start, or since `forget_peak`, in MB of 10^6 bytes."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        held = psutil.Process().memory_info()
        return getattr(held, "peak_wset", held.rss) / 1e6
    return maxrss_mb(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def maxrss_mb(maxrss: float) -> float:
    """What getrusage calls ru_maxrss, in MB: it is bytes on a Mac, and 1,024 bytes on Linux."""
    return maxrss / 1e6 if sys.platform == "darwin" else maxrss * 1024 / 1e6


def forget_peak() -> bool:
    """Give back what is held and not used, and count the peaks of memory anew. Return whether the system lets us.

    Of several jobs in one process each is to tell what it took, and the system's peak never falls by itself.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim:
        trim(0)
    try:
        CLEAR.write_text("5")  # proc(5): resets the peak of the resident set
    except OSError:
        return False
    return True


STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_gpu_mb() -> dict[str, int]:
    """The most that tensors have held on this process's GPU, in MB, as a fact of a run; no fact where there is none."""
    return {"peak_gpu_mb": round(torch.cuda.max_memory_allocated() / 1e6)} if torch.cuda.is_available() else {}


def keep_memory() -> None:
    """Have glibc keep the large blocks that each step takes and gives back, where this process runs on glibc.

    It returns them to the system otherwise, which clears them anew: a tenth of a step and more. What is kept is what a
    step needs at most.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h>
