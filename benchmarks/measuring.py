"""How is a ratio taken?  Turn by turn in one run, so that whatever else the machine does meets both; then medians."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

from engine.run.precision import describe_processor, measured_rates, name_mixed_precision
from engine.run.runtime import commit, hardware
from engine.run.system import available_cores

LIBRARIES = ("torch", "transformers", "tokenizers", "datasets", "accelerate")


def turn_by_turn(ways: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call each way once a round, for `rounds` rounds; what each call returned."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    return found


def seconds(work: Callable[[], Any]) -> float:
    """How long `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def cpu_seconds(work: Callable[[], Any]) -> float:
    """How long this process's threads compute at `work`, together: what other programs do takes nothing from it."""
    began = time.process_time()
    work()
    return time.process_time() - began


def ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """The median of ours over the median of the others'."""
    return round(median(ours) / median(others), 3)


@dataclass(frozen=True)
class Spent:
    """What a command took: seconds, and the most memory in MB that it and its children held at a time."""

    seconds: float
    peak_mb: float
    output: str


def spent(command: Sequence[str], folder: Path, **environment: str) -> Spent:
    """Run `command` in `folder` as a fresh process. Memory is the sum of proportional set sizes, looked at four times a
    second. Errors: RuntimeError with the end of what the command said, if it fails."""
    log, peak = folder / "log.txt", 0.0
    here = str(Path(__file__).resolve().parents[1])
    began = time.perf_counter()
    with log.open("w") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": here, **environment},
        )
        while child.poll() is None:
            peak = max(peak, _held(child.pid))
            time.sleep(0.25)
    taken = time.perf_counter() - began
    said = log.read_text()
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {child.returncode}:\n{said[-2000:]}")
    return Spent(taken, peak, said)


def _held(pid: int) -> float:
    total = 0
    try:
        for process in (parent := psutil.Process(pid), *parent.children(recursive=True)):
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.rss)  # shared pages are counted once, where the system knows them
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        pass  # one of them has just ended
    return total / 1e6


def name_precision(mixed_precision: str, matmul: str) -> str:
    """What a way is called that computes so: bf16, fp32, or fp32_onednn where the kernels are not torch's default."""
    kernels = "_onednn" if matmul == "onednn" and mixed_precision == "no" else ""
    return name_mixed_precision(mixed_precision) + kernels


def machine() -> dict[str, Any]:
    """Where a result comes from: commit, hardware, GFLOP/s of a thread's matrix products, libraries."""
    return {
        "commit": commit(),
        "hardware": hardware(),
        "cpu": next((line.split(":")[1].strip() for line in describe_processor("model name")), platform.processor()),
        "cores": available_cores(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "gflops": measured_rates(),  # bf16 is among them if the processor has such instructions
        "load": round(os.getloadavg()[0], 1),  # at the end, this command's own included
        **{name: version(name) for name in LIBRARIES},
    }


def finish(result: dict[str, Any]) -> None:
    """Print the last line: one JSON object."""
    print(json.dumps({**result, "machine": machine()}), flush=True)
