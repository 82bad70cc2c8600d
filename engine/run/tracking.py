"""What is being reached?  The one place that reports: console and metrics.jsonl. Only the main process speaks.

`python -m engine.dashboard` reads every run's metrics.jsonl into trackio, so a run itself needs no tracker. Those that
its recipe names (`report_to`) get each value as well, through Accelerate's classes.
"""

import importlib.util
import json
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, TensorBoardTracker, TrackioTracker, WandBTracker
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from engine.publish.exhibits import Exhibit, write_exhibits
from engine.run.finite import strict_json

TrackerName = Literal["trackio", "tensorboard", "wandb"]
WIDTH = 100  # characters of a line on the console
BAR = 42  # of which the progress bar takes so many
SHOWN = 3  # of what a model made up or guessed, on the console
PER_SECOND = "_per_second"  # after a unit: its speed
SHARES = {"mfu": "MFU", "padding_rate": "padding", "data_wait": "data wait"}  # of a line of the log, in words
PROJECT = "cloze"  # what trackio and wandb call all of these runs together


class Tracker:
    """Report values by name. On a terminal a progress bar moves; in a log file each report is one line."""

    def __init__(self, folder: Path, accelerator: Accelerator, others: Sequence[TrackerName] = ()):
        """Errors: ValueError if one of the `others` that get the values too is not installed."""
        refuse_missing(others)
        self._speaks = accelerator.is_main_process
        self._path = folder / "metrics.jsonl"
        self._named, self._others = others, list[GeneralTracker]()
        self._console = Console()
        # A log file is no terminal, whatever FORCE_COLOR makes rich believe; a dumb terminal cannot move a bar.
        self._moves = self._speaks and self._console.file.isatty() and not self._console.is_dumb_terminal
        self._bar: Progress | None = None
        self._whole, self._done, self._last_line = 1.0, 0.0, 0.0
        self._said_where = False

    @contextmanager
    def progress(self, whole: float, done: float) -> Iterator[None]:
        """Show how far the run is, its speed, its remaining time and its loss; `done` of `whole` is behind it."""
        self._open_others()  # what a tracker refuses, it refuses before the first step
        self._whole = whole
        columns = (
            TextColumn("training"), BarColumn(bar_width=8), TaskProgressColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), TextColumn("{task.fields[state]}", table_column=Column(no_wrap=True)),
        )  # fmt: skip
        with Progress(*columns, console=self._console, disable=not self._moves) as bar:
            self._bar, self._task = bar, bar.add_task("training", total=whole, completed=0, state="")
            bar.update(self._task, completed=done)
            self._began, self._done_before = time.perf_counter(), done
            yield
        self._bar = None

    def reached(self, done: float) -> None:
        """Note that `done` of the whole is behind the run."""
        self._done = done

    def log(self, step: int, **values: float) -> None:
        """Report `values` at `step`. In metrics.jsonl, one that is not finite is null."""
        if not self._speaks:
            return
        self._keep(step, values)
        if self._bar is not None and "loss" in values:
            state = [f"loss {values['loss']:.3f}", *pace_in(values)]
            self._bar.update(self._task, completed=self._done, state=self._that_fits(state))
            if self._moves or self._said_just_now():
                return  # the bar shows it, or a line was written a moment ago
            self._last_line = time.perf_counter()
            place = f"step {step} ({self._done / self._whole:.0%})"
            self.note("  ".join([place, *state, f"{self._remaining()} left"]))
        else:
            self.note(f"step {step}  " + "  ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def log_evaluation(self, step: int, values: Mapping[str, float], words: Sequence[str]) -> None:
        """Report an evaluation: all its `values`, as `log` does, and on the console a line for each of `words`."""
        if not self._speaks:
            return
        self._keep(step, values)
        for said in words:
            self.note(f"step {step}  evaluation: {said}")
        if not self._said_where:
            self.note(f"all values of the evaluations are in {self._path}")
            self._said_where = True

    def show(self, what: str, step: int, exhibits: Sequence[Exhibit]) -> None:
        """Keep what a model made up or guessed as WHAT/step-N.md, with its pictures beside it, and say the first."""
        if self._speaks and exhibits:
            path = self._path.parent / what / f"step-{step}.md"
            path.parent.mkdir(exist_ok=True)
            lines = write_exhibits(exhibits, path.parent, path.stem)
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            self.note(fitted("\n".join(lines[:SHOWN]), rows=2))
            if len(lines) > SHOWN:
                self.note(f"all {len(lines)} are in {path}")

    def note(self, text: str) -> None:
        """Say one line."""
        if self._speaks:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Tell the other trackers that the run has ended."""
        for other in self._others:
            other.finish()
        self._others.clear()

    def _keep(self, step: int, values: Mapping[str, float]) -> None:
        """Write `values` to metrics.jsonl and to the named trackers."""
        self._open_others()
        line = {"step": step, **{name: _short(value) for name, value in values.items()}}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(strict_json(line) + "\n")
        for other in self._others:
            other.log(values, step=step)

    def _open_others(self) -> None:
        """Open the named trackers, once what metrics.jsonl holds is what the run resumes from."""
        if self._speaks and self._named and not self._others:
            self._others = [OPENED[name](self._path.parent) for name in self._named]
            for other in self._others:
                other.start()

    def _that_fits(self, state: Sequence[str]) -> str:
        """As much of `state` as has room behind the bar."""
        room = self._console.width - BAR
        return next((text for size in range(len(state), 0, -1) if len(text := "  ".join(state[:size])) <= room), "")

    def _said_just_now(self) -> bool:
        return time.perf_counter() - self._last_line < 5 and self._done < self._whole

    def _remaining(self) -> str:
        pace = (time.perf_counter() - self._began) / max(self._done - self._done_before, 1e-9)
        minutes, seconds = divmod(round(pace * (self._whole - self._done)), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def refuse_missing(names: Sequence[TrackerName]) -> None:
    """Refuse trackers that are not installed. Errors: ValueError."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ValueError(
                f"report_to names {name}, which is not installed: say  pip install {name},  or leave it out "
                f"(there are: {', '.join(get_args(TrackerName))}). metrics.jsonl is written in any case, and "
                "`make dashboard` reads it"
            )


def read_lines(metrics: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl, but for one that is still being written; without values that were not finite.

    Errors: ValueError with file and line.
    """
    lines = metrics.read_bytes().splitlines(keepends=True) if metrics.exists() else []
    return [_read(line, f"{metrics}:{number}") for number, line in enumerate(lines, start=1) if line.endswith(b"\n")]


def _read(line: bytes, where: str) -> dict[str, float]:
    try:
        found = json.loads(line)
        if not isinstance(found, dict) or type(found.get("step")) not in (int, float):
            raise ValueError("it has no step")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is no line of a run ({error}); delete the line") from None
    return {name: value for name, value in found.items() if value is not None}


def name_of(folder: Path) -> str:
    """A run's name: the folder's inside runs/, wherever that is."""
    return f"/{folder.as_posix()}".rpartition("/runs/")[2].strip("/")


def group_of(name: str) -> str:
    """The run that a job belongs to; a run alone is a group alone."""
    return name.partition("/")[0]


def recipe_of(folder: Path) -> dict[str, Any]:
    """The resolved recipe in a run's folder; nothing where there is none that can be read."""
    path = folder / "recipe.yaml"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (ValueError, yaml.YAMLError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _trackio(folder: Path) -> GeneralTracker:
    """In trackio's own store, or on the server or Space that its environment names."""
    return TrackioTracker(
        PROJECT, name=name_of(folder), group=group_of(name_of(folder)), config=recipe_of(folder), resume="allow",
        auto_log_cpu=False,
    )  # fmt: skip


def _tensorboard(folder: Path) -> GeneralTracker:
    """In RUN/tensorboard: `tensorboard --logdir runs` lays all runs over each other."""
    reached = [line["step"] for line in read_lines(folder / "metrics.jsonl")]
    return TensorBoardTracker("tensorboard", folder, purge_step=int(max(reached, default=-1)) + 1)


def _wandb(folder: Path) -> GeneralTracker:
    """Where WANDB_MODE and the user's login say; a stopped run resumes as the same one."""
    return WandBTracker(
        PROJECT,
        name=name_of(folder),
        group=group_of(name_of(folder)),
        config=recipe_of(folder),
        resume="auto",
        dir=folder,
    )


OPENED: dict[TrackerName, Callable[[Path], GeneralTracker]] = {
    "trackio": _trackio,
    "tensorboard": _tensorboard,
    "wandb": _wandb,
}


def pace_in(values: Mapping[str, float]) -> list[str]:
    """How fast it goes, such as `5,210 tokens/s`, `MFU 41%`, `padding 3%`, `data wait 0%`."""
    found = [(name.removesuffix(PER_SECOND), value) for name, value in values.items() if name.endswith(PER_SECOND)]
    shares = [f"{words} {values[name]:.0%}" for name, words in SHARES.items() if name in values]
    return [*(f"{value:,.0f} {unit}/s" for unit, value in found), *shares]


def fitted(text: str, rows: int) -> str:
    """The text with its lines wrapped to fit the console; of each, so many rows at most."""
    wrapped = (textwrap.wrap(line, WIDTH, max_lines=rows, placeholder=" …") or [""] for line in text.split("\n"))
    return "\n".join(row for found in wrapped for row in found)


def beside_baseline(name: str, values: Mapping[str, float]) -> str:
    """A value of an evaluation beside its baseline, such as `dev_accuracy 0.7121, baseline 0.5271`."""
    short = name.removeprefix("eval_")
    baseline = values.get(f"baseline_{short}")
    return f"{short} {values[name]:.4g}" + ("" if baseline is None else f", baseline {baseline:.4g}")


def _short(value: float) -> float:
    """Seven figures: what fp32 carries."""
    return float(f"{value:.7g}") if isinstance(value, float) else value
