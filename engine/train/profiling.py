"""What is a step's time spent on?  A trace of a few steps, for people to open, and a table of what took longest.

    runs/NAME/profile/trace.json.gz    opens in Perfetto (ui.perfetto.dev) or chrome://tracing
    runs/NAME/profile/operators.txt    milliseconds of each phase of the loop, and of the slowest operators

The main process alone is traced.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from accelerate import Accelerator
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from engine.run.disk import whole_folder

# The names that the loop gives to what it does. `wait` is for the device, once a step.
PHASES = ("data", "forward", "backward", "wait", "optimizer")
SKIPPED, WARM_UP = 5, 2  # steps before the trace: caches, compilation; then the profiler's own first steps


class Profile(Protocol):
    """What the loop tells at the end of each step."""

    def step(self) -> None: ...


class _Off:
    def step(self) -> None:
        pass


def phase(name: str) -> record_function:
    """Within this block the trace says that the loop is at `name`, one of PHASES. It costs a few microseconds."""
    assert name in PHASES
    return record_function(name)


@contextmanager
def profiled(
    folder: Path | None, accelerator: Accelerator, note: Callable[[str], None], steps: int = 3
) -> Iterator[Profile]:
    """Trace `steps` steps of this launch, from the eighth on, and write them to `folder`; None: trace nothing.

    Only the main process is traced. A run that ends before the eighth step leaves no trace, and `note` says so.
    """
    if folder is None or not accelerator.is_main_process:
        yield _Off()
        return
    written: list[int] = []

    def write(recorded: profile) -> None:
        traced = recorded.step_num - SKIPPED - WARM_UP
        with whole_folder(folder) as aside:
            recorded.export_chrome_trace(str(aside / "trace.json.gz"))
            (aside / "operators.txt").write_text(_table(recorded, traced), encoding="utf-8")
        written.append(traced)
        note(f"{folder / 'trace.json.gz'} holds a trace of {traced} steps: open it in ui.perfetto.dev")

    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (accelerator.device.type == "cuda")
    plan = schedule(wait=SKIPPED, warmup=WARM_UP, active=steps, repeat=1)
    with profile(
        activities=activities, schedule=plan, on_trace_ready=write, record_shapes=True, acc_events=True
    ) as run:
        yield run
    if not written:
        note(f"nothing was traced: the run ended before step {SKIPPED + WARM_UP + 1} of this launch")


def _table(recorded: profile, steps: int) -> str:
    """The phases of a step, in order, then the operators that took longest, on the GPU where there is one."""
    found = recorded.key_averages()
    on_gpu = any(event.self_device_time_total for event in found)
    clock = "device" if on_gpu else "cpu"
    time = {event.key: (event.cpu_time_total, event.device_time_total) for event in found}
    lines = [f"{steps} steps; milliseconds a step", f"{'phase':<12}{'cpu':>10}{'gpu':>10}"]
    for name in PHASES:
        if name in time:
            cpu, gpu = (microseconds / 1e3 / steps for microseconds in time[name])
            lines.append(f"{name:<12}{cpu:>10.2f}{gpu:>10.2f}")
    operators = found.table(sort_by=f"self_{clock}_time_total", row_limit=25, max_name_column_width=60)
    return "\n".join(lines) + "\n\n" + operators
