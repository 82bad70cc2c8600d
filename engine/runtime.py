"""Where does this run, and how does it end?  Exit statuses, the commit, the hardware, the matmul kernels.

Exit statuses of every program: 0 done; 2 the user's mistake, told in one line; 3 stopped by a signal with the state
saved, so that the same command goes on.
"""

import functools
import os
import platform
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import set_seed
from transformers.utils import logging as transformers_logging

USER_MISTAKE, STOPPED = 2, 3


class Stopped(Exception):
    """A signal asked the run to stop, and its state is on disk."""


def program(main: Callable[[list[str]], None]) -> Callable[[], None]:
    """Turn `main(argv)` into a command: its mistakes become one line on stderr and an exit status."""

    @functools.wraps(main)
    def command() -> None:
        try:
            main(sys.argv[1:])
        except Stopped as stopped:
            print(stopped, file=sys.stderr)
            sys.exit(STOPPED)
        except (ValueError, FloatingPointError, OSError) as error:
            if os.environ.get("CLOZE_TRACEBACK"):
                raise
            print(f"error: {error}", file=sys.stderr)
            sys.exit(USER_MISTAKE)
        finally:
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()  # gloo aborts at exit otherwise

    return command


class StopSignal:
    """Within this block Ctrl-C and SIGTERM only leave word; the loop reads `came` between steps."""

    def __enter__(self) -> "StopSignal":
        self.came = False
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.came = True


def make_accelerator(seed: int) -> Accelerator:
    """Join the processes that `accelerate launch` started; choose kernels; seed the initial weights.

    Errors: ValueError for fp16; RuntimeError if a process does not join within five minutes.
    """
    accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(seconds=300))])
    if accelerator.mixed_precision == "fp16":
        raise ValueError(
            "mixed precision fp16 needs a loss scale, which is not kept here; say bf16, or no on an older card"
        )
    kernel = choose_cpu_matmul() if accelerator.device.type == "cpu" else "torch's default"
    if accelerator.is_main_process:
        print(
            f"{accelerator.num_processes} process(es) on {hardware()}, precision {accelerator.mixed_precision}, "
            f"matrix products by {kernel}"
        )
    speak_plainly()
    set_seed(seed)
    return accelerator


def speak_plainly() -> None:
    """Silence what transformers says while it loads (bars, unused heads): it hides what matters, which we report."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def seed_weights(seed: int) -> None:
    """Make the fresh weights of the next model a function of `seed`."""
    set_seed(seed)


def commit() -> str | None:
    """Return this checkout's git commit (40 hex, `+changes` when edited), or None outside a checkout."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")


def hardware() -> str:
    """Describe the machine in words, such as `1 x NVIDIA H100` or `2 threads of x86_64 CPU`."""
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    return f"{torch.get_num_threads()} threads of {platform.machine()} CPU"


def peak_rss_mb() -> float:
    """Return the most memory this process has held, in MB."""
    scale = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, kilobytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def choose_cpu_matmul() -> str:
    """Choose the fp32 matmul of a CPU and return its name for the log.

    oneDNN's fp32 kernels are about twice as fast as MKL's on AVX-512 machines, but torch reaches them for linear layers
    only through a switch that also *permits* bf16 arithmetic where the CPU has it. So oneDNN is kept only where its
    error is that of fp32 (bf16's would be about 1e4 times larger). Speed is not measured: a stopwatch may choose
    differently on each launch and process, and then a resumed run would not repeat the uninterrupted one.
    """
    if not torch.backends.mkldnn.is_available() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return "torch's default"
    switch: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    left, right = torch.randn(256, 512), torch.randn(512, 256)
    before, switch.fp32_precision = switch.fp32_precision, "bf16"
    error = (left @ right - left.double() @ right.double()).abs().max().item()
    if error < 1e-3:
        return f"oneDNN fp32 (largest error {error:.0e})"
    switch.fp32_precision = before
    return "torch's default"
