"""What is being reached?  The one place that reports: console and metrics.jsonl. Only the main process speaks."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Tracker:
    """Report values by name. On a terminal a progress bar moves; in a log file each report is one line."""

    def __init__(self, folder: Path, accelerator: Accelerator):
        self._speaks = accelerator.is_main_process
        self._path = folder / "metrics.jsonl"
        self._console = Console()
        self._bar: Progress | None = None
        self._whole, self._done, self._last_line = 1.0, 0.0, 0.0

    @contextmanager
    def progress(self, whole: float, done: float) -> Iterator[None]:
        """Show how far the run is, its speed, its remaining time and its loss; `done` of `whole` is behind it."""
        self._whole = whole
        columns = (
            TextColumn("training"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
        )  # fmt: skip
        visible = self._speaks and self._console.is_terminal
        with Progress(*columns, console=self._console, disable=not visible) as bar:
            self._bar, self._task = bar, bar.add_task("training", total=whole, completed=0, state="")
            bar.update(self._task, completed=done)
            self._began, self._done_before = time.perf_counter(), done
            yield
        self._bar = None

    def reached(self, done: float) -> None:
        """Note that `done` of the whole is behind the run."""
        self._done = done

    def log(self, step: int, **values: float) -> None:
        """Report `values` at `step`."""
        if not self._speaks:
            return
        line = {"step": step, **{name: _short(value) for name, value in values.items()}}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._bar is not None and "loss" in values:
            state = f"loss {values['loss']:.3f}  {values.get('tokens_per_second', 0):,.0f} tokens/s"
            self._bar.update(self._task, completed=self._done, state=state)
            if self._console.is_terminal or self._said_just_now():
                return  # the bar shows it, or a line was written a moment ago
            self._last_line = time.perf_counter()
            self.note(f"step {step} ({self._done / self._whole:.0%})  {state}  {self._remaining()} to go")
        else:
            self.note(f"step {step}  " + "  ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def show(self, what: str, step: int, lines: list[str]) -> None:
        """Keep Markdown `lines`, such as text that a model made up, as WHAT/step-N.md, and say them."""
        if self._speaks and lines:
            path = self._path.parent / what / f"step-{step}.md"
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            self.note("\n".join(lines))

    def note(self, text: str) -> None:
        """Say one line."""
        if self._speaks:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _said_just_now(self) -> bool:
        return time.perf_counter() - self._last_line < 5 and self._done < self._whole

    def _remaining(self) -> str:
        pace = (time.perf_counter() - self._began) / max(self._done - self._done_before, 1e-9)
        minutes, seconds = divmod(round(pace * (self._whole - self._done)), 60)
        return f"{minutes}:{seconds:02d}"


def _short(value: float) -> float:
    """Seven figures: what fp32 carries."""
    return float(f"{value:.7g}") if isinstance(value, float) else value
