"""What is being reached?  The one place that reports: console and metrics.jsonl. Only the main process speaks."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Tracker:
    """Report values by name. On a terminal a progress bar moves; in a log file each report is one line."""

    def __init__(self, folder: Path, accelerator: Accelerator):
        self._speaks = accelerator.is_main_process
        self._path = folder / "metrics.jsonl"
        self._console = Console()
        self._bar: Progress | None = None
        self._steps, self._last_line = 0, 0.0

    @contextmanager
    def progress(self, steps: int, done: int) -> Iterator[None]:
        """Show how far the run is, its speed, its remaining time and its loss."""
        self._steps = steps
        columns = (
            TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
        )  # fmt: skip
        visible = self._speaks and self._console.is_terminal
        with Progress(*columns, console=self._console, disable=not visible) as bar:
            self._bar, self._task = bar, bar.add_task("training", total=steps, completed=done, state="")
            self._began, self._done_before = time.perf_counter(), done
            yield
        self._bar = None

    def log(self, step: int, **values: float) -> None:
        """Report `values` at `step`."""
        if not self._speaks:
            return
        line = {"step": step, **{name: _short(value) for name, value in values.items()}}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._bar is not None and "loss" in values:
            state = f"loss {values['loss']:.3f}  {values.get('tokens_per_second', 0):,.0f} tokens/s"
            self._bar.update(self._task, completed=step, state=state)
            if self._console.is_terminal or self._said_just_now(step):
                return  # the bar shows it, or a line was written a moment ago
            self._last_line = time.perf_counter()
            self.note(f"step {step}/{self._steps}  {state}  {self._remaining(step)} to go")
        else:
            self.note(f"step {step}  " + "  ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def note(self, text: str) -> None:
        """Say one line."""
        if self._speaks:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _said_just_now(self, step: int) -> bool:
        return time.perf_counter() - self._last_line < 5 and step < self._steps

    def _remaining(self, step: int) -> str:
        a_step = (time.perf_counter() - self._began) / max(1, step - self._done_before)
        minutes, seconds = divmod(round(a_step * (self._steps - step)), 60)
        return f"{minutes}:{seconds:02d}"


def _short(value: float) -> float:
    """Seven figures: what fp32 carries."""
    return float(f"{value:.7g}") if isinstance(value, float) else value
