"""How do all runs compare, while they train?  Every run's curves over each other, in trackio, on this machine alone.

    cloze dashboard [RUNS] [--port N]

What is shown is read from each run's metrics.jsonl, which stays the only record: so runs of another machine are here
once their folder is, a run that resumes from a state is shown as it is now, and no run starts slower or fails because
of a tracker. trackio's store is made anew by each start and removed at the end.
"""

import contextlib
import io
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from engine.run.options import read_options
from engine.run.runtime import program
from engine.run.tracking import PER_SECOND, PROJECT, group_of, read_lines, recipe_of

PAUSE = 2  # seconds between two looks at the runs
SECTIONS = ("loss", "eval", "baseline", "speed", "training")  # trackio lays plots out by what stands before a `/`
NOT_SHOWN = ("step", "loss_loss")  # of a single term, the loss again
SPEED = (PER_SECOND, "mfu", "padding_rate", "data_wait")


@dataclass(frozen=True)
class Options:
    """Show the curves of all runs in a browser, also while they train.

    Example: cloze dashboard runs --port 7861
    """

    runs: Annotated[Path, Positional, arg(metavar="FOLDER")] = Path("runs")  # the folder that holds the runs
    port: int = 0  # where the page is, on this machine alone; 0: the first free one from 7860 on


@program
def main(argv: list[str]) -> None:
    options = read_options(Options, argv, "python -m engine.dashboard")
    if not found(options.runs):
        raise ValueError(
            f"no run in {options.runs}: looked for metrics.jsonl in its folders. Train one, say `make demo`"
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it ends as by Ctrl-C
    with tempfile.TemporaryDirectory(prefix="trackio-") as store, contextlib.suppress(KeyboardInterrupt):
        shown = Shown(options.runs, Path(store))
        number = shown.update()
        print(f"{number} runs of {options.runs} at {shown.open(options.port)}  (Ctrl-C ends it)", flush=True)
        while True:
            time.sleep(PAUSE)
            shown.update()


def found(runs: Path) -> list[Path]:
    """The folders of all runs and jobs."""
    return sorted(path.parent for path in runs.rglob("metrics.jsonl"))


class Shown:
    """The lines of each run that trackio has."""

    def __init__(self, runs: Path, store: Path):
        os.environ["TRACKIO_DIR"] = str(store)  # trackio reads it when it is imported
        # The order of the sections; in each, loss comes first.
        os.environ["TRACKIO_PLOT_ORDER"] = ",".join(f"{section}/loss" for section in SECTIONS)
        import trackio

        self._trackio, self._runs = trackio, runs
        self._sent: dict[Path, list[dict[str, float]]] = {}
        self._looked: dict[Path, tuple[int, int]] = {}  # time and size of each file then

    def update(self) -> int:
        """Send what is new; a run whose lines are others than before is sent anew. Return the number of runs."""
        folders = found(self._runs)
        for folder in folders:
            status = (folder / "metrics.jsonl").stat()
            if self._looked.get(folder) == (status.st_mtime_ns, status.st_size):
                continue
            self._looked[folder] = status.st_mtime_ns, status.st_size
            lines, sent = read_lines(folder / "metrics.jsonl"), self._sent.get(folder, [])
            if lines[: len(sent)] != sent:
                self._forget(folder)
                sent = []
            if len(lines) > len(sent):
                self._send(folder, lines[len(sent) :])
            self._sent[folder] = lines
        return len(folders)

    def open(self, port: int) -> str:
        """Serve the page and return its address, with which it smooths nothing."""
        try:
            with quiet():
                _, address, *_ = self._trackio.show(
                    PROJECT, host="127.0.0.1", server_port=port or None, share=False, mcp_server=False,
                    open_browser=False, block_thread=False,
                )  # fmt: skip
        except OSError:
            raise ValueError(f"port {port or 7860} of this machine is taken; say another one with --port") from None
        return f"{address.rstrip('/')}/?smoothing=0"

    def _send(self, folder: Path, lines: list[dict[str, float]]) -> None:
        name = self._name(folder)
        with quiet():
            run = self._trackio.init(
                PROJECT, name=name, group=group_of(name), config=recipe_of(folder), resume="allow", embed=False,
                auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip
            for line in lines:
                if values := {as_shown(name): value for name, value in line.items() if name not in NOT_SHOWN}:
                    run.log(values, step=int(line["step"]))
            self._trackio.finish()

    def _name(self, folder: Path) -> str:
        return folder.relative_to(self._runs).as_posix() if folder != self._runs else folder.name

    def _forget(self, folder: Path) -> None:
        for run in self._trackio.Api().runs(PROJECT):
            if run.name == self._name(folder):
                run.delete()


def as_shown(name: str) -> str:
    """A value's name behind that of its section, such as eval/masked_lm_loss."""
    for section in ("eval", "baseline"):
        if name.startswith(f"{section}_"):
            return f"{section}/{name.removeprefix(f'{section}_')}"
    section = "loss" if name.endswith("loss") else "speed" if name.endswith(SPEED) else "training"
    return f"{section}/{name}"


@contextlib.contextmanager
def quiet() -> Iterator[Any]:
    """Keep to ourselves what trackio says of every run that it gets."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        yield said


if __name__ == "__main__":
    main()
