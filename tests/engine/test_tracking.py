"""Does a run tell how far it is, on a terminal and in a log file, once whatever the processes?  Are runs compared?"""

import fcntl
import importlib.util
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import traceback
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from engine.dashboard import main as show_dashboard
from engine.run.tracking import Tracker, beside_baseline, fitted, pace_in
from pretrain.run import main

ROOT = Path(__file__).parents[2]
WIDTH = 80
PACE = r"[\d,]+ tokens/s(?:  MFU \d+%)?  padding \d+%  data wait \d+%"


def on_terminal(folder: Path, *argv: str, ranks: int = 1) -> str:
    """Run pretrain.run in `ranks` forked processes on one pseudo-terminal and return all that was written there."""
    from accelerate.state import AcceleratorState

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    children = []
    for rank in range(ranks):
        children.append(os.fork())
        if children[-1] == 0:
            try:
                os.chdir(folder)
                for stream in (0, 1, 2):
                    os.dup2(slave, stream)
                sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
                os.environ |= {"TERM": "xterm"}
                if ranks > 1:
                    os.environ |= {
                        "RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank),
                        "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
                    }  # fmt: skip
                AcceleratorState._reset_state(reset_partial_state=True)
                sys.argv = ["pretrain.run", *argv]
                main()
                sys.stdout.flush()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
    os.close(slave)
    said = b""
    try:
        while part := os.read(master, 65536):
            said += part
    except OSError:  # so Linux says that no process has the terminal open any more
        pass
    os.close(master)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * ranks, said.decode()
    return said.decode()


def screen(said: str) -> list[str]:
    """The lines that stand on the terminal in the end: what was drawn over is gone."""
    lines, row, column = [""], 0, 0
    for sign in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", said):
        if sign == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif sign == "\r":
            column = 0
        elif sign == "\x1b[2K":
            lines[row] = ""
        elif up := re.fullmatch(r"\x1b\[(\d+)A", sign):
            row -= int(up[1])
        elif not sign.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + sign + lines[row][column + len(sign) :]
            column += len(sign)
    return lines


@pytest.mark.parametrize("ranks", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_on_a_terminal_one_bar_moves_in_one_line(tmp_path, write_recipe, ranks):
    recipe = write_recipe(tmp_path, corpus={"stores": str(tmp_path / "stores")}, plan={"eval_steps": 0})
    said = on_terminal(tmp_path, recipe.name, ranks=ranks)
    assert "\x1b[2K" in said  # it moves
    assert not re.search(r"\x1b\[[1-9]\d*A", said)  # and never needs a second line
    bars = [line for line in screen(said) if line.startswith("training ━")]
    assert len(bars) == 1, bars
    assert re.search(r"100% 0:00:\d\d 0:00:00 loss \d\.\d{3}  [\d,]+ tokens/s(  MFU \d+%)?", bars[0])
    assert len(bars[0].rstrip()) <= WIDTH
    assert not re.search(r"step \d+ \(", said)  # the lines of a log file are not said beside it
    assert screen(said)[-2] == "the model is runs/small/model"


@pytest.mark.slow
def test_in_a_log_file_lines_are_said_once_and_without_control_codes(
    tmp_path, write_recipe, launch_together, monkeypatch
):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as many build servers do
    recipe = write_recipe(tmp_path, corpus={"stores": str(tmp_path / "stores")}, plan={"eval_steps": 0})
    first, other = launch_together(main, tmp_path, recipe.name)
    assert first.status == 0, first.said
    assert "\x1b" not in first.said
    assert "\r" not in first.said
    lines = re.findall(rf"^step (\d+) \((\d+)%\)  loss [\d.]+  {PACE}  \d+:\d\d left$", first.said, re.M)
    assert lines[-1] == ("30", "100")
    assert 1 <= len(lines) <= 5  # not all fifteen reports, which come faster than anyone reads
    assert "step" not in other.said
    assert len((tmp_path / "runs/small/metrics.jsonl").read_text().splitlines()) == 16


def test_an_evaluation_says_its_headlines_beside_their_baselines_and_where_the_rest_is(tmp_path, capsys):
    from accelerate import Accelerator

    values = {"eval_dev_f1": 0.7123, "eval_dev_undefined": 1.0, "baseline_dev_f1": 0.5}
    tracker = Tracker(tmp_path, Accelerator(cpu=True))
    for step in (10, 20):
        tracker.log_evaluation(step, values, [beside_baseline("eval_dev_f1", values)])
    where = f"all values of the evaluations are in {tmp_path / 'metrics.jsonl'}"
    line = "evaluation: dev_f1 0.7123, baseline 0.5"
    assert capsys.readouterr().out.splitlines() == [f"step 10  {line}", where, f"step 20  {line}"]
    kept = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert kept == [{"step": step, **values} for step in (10, 20)]


def test_the_longest_line_of_the_log_fits_a_hundred_columns():
    values = {"tokens_per_second": 999_999.0, "data_wait": 0.0, "padding_rate": 0.12, "mfu": 0.41}
    line = "  ".join(["step 1000000 (99%)", "loss 10.812", *pace_in(values), "99:59:59 left"])
    assert line.endswith("999,999 tokens/s  MFU 41%  padding 12%  data wait 0%  99:59:59 left")
    assert len(line) <= 100
    assert all(len(row) <= 100 for row in fitted("word " * 100, rows=2).split("\n"))
    assert fitted("word " * 100, rows=2).endswith("…")


class TestNamed:
    def test_what_is_not_installed_is_refused_before_training(self, tmp_path, write_recipe, launch_program):
        write_recipe(tmp_path, report_to=["wandb"])
        if importlib.util.find_spec("wandb"):
            pytest.skip("wandb is installed")
        ended = launch_program(main, tmp_path, "recipe.yaml")
        assert ended.status == 2
        assert "error: report_to names wandb, which is not installed: say  pip install wandb," in ended.said
        assert not (tmp_path / "runs/small/metrics.jsonl").exists()

    def test_what_there_is_not_is_refused_with_its_line(self, tmp_path, write_recipe, launch_program):
        write_recipe(tmp_path, report_to=["trackoi"])
        ended = launch_program(main, tmp_path, "recipe.yaml")
        assert ended.status == 2
        assert re.search(r"recipe.yaml:\d+: report_to is 'trackoi'; allowed: trackio, tensorboard, wandb", ended.said)

    @pytest.mark.slow
    def test_trackio_is_told_each_value(self, tmp_path):
        store = {"TRACKIO_DIR": str(tmp_path / "trackio")}
        in_python(tmp_path, TELL.format(name="trackio"), **store)
        printed = in_python(
            tmp_path, "from trackio.sqlite_storage import SQLiteStorage\n"
            "print(json.dumps(SQLiteStorage.get_logs('cloze', 'small')))", **store,
        )  # fmt: skip
        assert [(line["step"], line["loss"]) for line in json.loads(printed)] == [(2, 3.5), (4, 3.25)]

    @pytest.mark.slow
    def test_tensorboard_is_told_each_value_and_forgets_what_is_taken_again(self, tmp_path):
        pytest.importorskip("tensorboard")
        in_python(tmp_path, TELL.format(name="tensorboard"))
        metrics = tmp_path / "runs/small/metrics.jsonl"
        metrics.write_text(metrics.read_text().splitlines(keepends=True)[0])  # the state that it resumes from
        in_python(tmp_path, TELL.format(name="tensorboard").replace("(2, loss=3.5)", "(3, loss=3.0)"))
        printed = in_python(
            tmp_path, "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n"
            "found = EventAccumulator('runs/small/tensorboard').Reload().Scalars('loss')\n"
            "print(json.dumps([(value.step, value.value) for value in found]))",
        )  # fmt: skip
        assert json.loads(printed) == [[2, 3.5], [3, 3.0], [4, 3.25]]


TELL = """
from pathlib import Path
from typing import Any
from accelerate import Accelerator
from engine.run.tracking import Tracker

folder = Path("runs/small")
folder.mkdir(parents=True, exist_ok=True)
tracker = Tracker(folder, Accelerator(cpu=True), ["{name}"])
tracker.log(2, loss=3.5)
tracker.log(4, loss=3.25)
tracker.close()
"""


def in_python(folder: Path, code: str, **environment: str) -> str:
    """The last line that `code` prints in a process of its own: a tracker keeps to where it was imported."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    } | environment
    ended = subprocess.run([sys.executable, "-c", f"import json\n{code}"], cwd=folder, env=environment,
                           capture_output=True, text=True)  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return (ended.stdout.splitlines() or [""])[-1]


@pytest.fixture
def runs(tmp_path) -> Path:
    """Two runs and a job, as if they had trained a little."""
    for name, loss in (("bert", 7.0), ("gpt", 6.0), ("glue/rte/seed-0", 0.7)):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "recipe.yaml").write_text(f"name: {name}\noptimizer: {{lr: 0.001}}\n")
        lines = [{"step": 10, "loss": loss}, {"step": 20, "loss": loss - 1}, {"step": 20, "eval_loss": loss}]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "runs"


def asked(address: str, what: str, **values: str) -> Any:
    question = urllib.request.Request(
        f"{address}api/{what}", json.dumps(values).encode(), {"content-type": "application/json"}
    )
    return json.load(urllib.request.urlopen(question))["data"]


def eventually(what, wanted) -> None:
    """Fail if `what()` is not `wanted` within ten seconds."""
    for _ in range(100):
        if (found := what()) == wanted:
            return
        time.sleep(0.1)
    assert found == wanted


@pytest.mark.slow
def test_the_dashboard_lays_all_runs_over_each_other_and_follows_them(runs, tmp_path):
    (tmp_path / "tmp").mkdir()
    dashboard = subprocess.Popen(
        [sys.executable, "-m", "engine.dashboard", str(runs)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
    )  # fmt: skip
    try:
        said = dashboard.stdout.readline()
        address = re.fullmatch(
            rf"3 runs of {runs} at (http://127\.0\.0\.1:\d+/)\?smoothing=0  \(Ctrl-C ends it\)\n", said
        )[1]

        def curve(name: str, metric: str) -> list[tuple[int, float]]:
            lines = asked(address, "get_logs", project="cloze", run=name)
            return [(line["step"], line[metric]) for line in lines if metric in line]

        names = [run["name"] for run in asked(address, "get_runs_for_project", project="cloze")]
        assert sorted(names) == ["bert", "glue/rte/seed-0", "gpt"]
        assert curve("bert", "loss/loss") == [(10, 7.0), (20, 6.0)]
        assert curve("glue/rte/seed-0", "eval/loss") == [(20, 0.7)]
        if chromium := shutil.which("chromium"):
            shown = subprocess.run(
                [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                 f"--user-data-dir={tmp_path / 'chromium'}", "--virtual-time-budget=9000", "--dump-dom",
                 f"{address}?smoothing=0"],
                capture_output=True, text=True,
            ).stdout  # fmt: skip
            assert all(name in shown for name in names)
            assert re.search(r"loss \(1\).*eval \(1\)", shown, re.DOTALL)  # sections, losses first

        with (runs / "bert/metrics.jsonl").open("a") as metrics:
            metrics.write('{"step": 30, "loss": 5.0}\n{"step": 4')
        eventually(lambda: curve("bert", "loss/loss"), [(10, 7.0), (20, 6.0), (30, 5.0)])
        # The run resumes from the state of step 10.
        (runs / "bert/metrics.jsonl").write_text('{"step": 10, "loss": 7.0}\n{"step": 20, "loss": 6.5}\n')
        eventually(lambda: curve("bert", "loss/loss"), [(10, 7.0), (20, 6.5)])
    finally:
        dashboard.send_signal(signal.SIGTERM)
        assert dashboard.wait(10) == 0
    assert not list((tmp_path / "tmp").iterdir())


def test_a_folder_without_runs_is_a_mistake(tmp_path, launch_program):
    ended = launch_program(show_dashboard, tmp_path, ".")
    assert ended.status == 2
    assert ended.said.startswith("error: no run in .: looked for metrics.jsonl")
