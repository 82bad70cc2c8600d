"""What does pretraining survive on two processes?  Signals, crashes, hangs, losses that are no numbers."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from engine.train.batch import Batch
from pretrain.objectives.bert import Bert
from pretrain.run import main
from tests.shards import SHARDS

ROOT = Path(__file__).parents[2]
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # each process draws its own
PLAN = {
    "max_steps": 30,
    "global_batch_size": 32,
    "per_device_train_batch_size": 8,
    "logging_steps": 1,
    "eval_steps": 10,
}


def metrics(folder: Path) -> list[dict[str, float]]:
    """All reports, but for what is measured by the clock."""
    path = folder / "runs/small/metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []
    clocked = ("tokens_per_second", "data_wait", "mfu")
    return [{name: value for name, value in line.items() if name not in clocked} for line in lines]


def weights(folder: Path) -> bytes:
    return (folder / "runs/small/model/model.safetensors").read_bytes()


def states(folder: Path) -> list[Path]:
    return sorted((folder / "runs/small/state").glob("step-*"), key=lambda state: int(state.name[5:]))


def assert_bit_equal(folder: Path, expected: Path) -> None:
    def as_hex(lines):
        return [{name: float(value).hex() for name, value in line.items()} for line in lines]

    assert as_hex(metrics(folder)) == as_hex(metrics(expected))
    assert weights(folder) == weights(expected)


def assert_equal_up_to_rounding(folder: Path, expected: Path) -> None:
    """The same global batches: another batch would show in the first figures of a loss."""
    for line, wanted in zip(metrics(folder), metrics(expected), strict=True):
        assert line == pytest.approx(wanted, rel=5e-4), line["step"]
    found, tensors = (load_file(path / "runs/small/model/model.safetensors") for path in (folder, expected))
    for name, tensor in tensors.items():
        assert (found[name] - tensor).abs().mean() < 1e-5, name


def once_at(folder: Path, step: int, act: Callable[[Any], None]) -> Callable[[Any], None]:
    """Do something to the processes as soon as `step` is reported."""
    done: list[int] = []

    def watch(processes: Any) -> None:
        if not done and any(line["step"] >= step for line in metrics(folder)):
            act(processes)
            done.append(step)

    return watch


def send(number: int, rank: int) -> Callable[[list[int]], None]:
    return lambda pids: os.kill(pids[rank], number)


# Two ranks without a launcher: fast


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, write_recipe) -> Callable[..., Path]:
    """Make a folder with a recipe in it."""

    def make(name: str, **changes: Any) -> Path:
        folder = tmp_path_factory.mktemp(name)
        write_recipe(folder, **{"model": NO_DROPOUT, "plan": PLAN, **changes})
        return folder

    return make


@pytest.fixture(scope="module")
def on_two(prepared, launch_together) -> Path:
    """An uninterrupted run on two processes."""
    folder = prepared("two")
    assert_both(launch_together(main, folder, "recipe.yaml"), 0)
    return folder


def assert_both(ended: list[Any], status: int) -> None:
    assert [one.status for one in ended] == [status] * 2, "\n".join(one.said for one in ended)
    assert ended[0].said.startswith("2 process(es)")


@pytest.mark.slow
def test_stopped_on_two_processes_it_resumes_bit_by_bit(on_two, prepared, launch_together):
    """Only one of them gets the signal; both stop at one step."""
    folder = prepared("stopped")
    for step, rank, number in ((4, 0, signal.SIGTERM), (17, 1, signal.SIGINT)):
        ended = launch_together(main, folder, "recipe.yaml", watch=once_at(folder, step, send(number, rank)))
        assert_both(ended, 3)
        stopped = [re.search(r"^stopped at step (\d+), state saved", one.said, re.M) for one in ended]
        assert stopped[0][1] == stopped[1][1] == states(folder)[-1].name[5:]
    assert_both(launch_together(main, folder, "recipe.yaml"), 0)
    assert_bit_equal(folder, on_two)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [pytest.param(2, 1, marks=pytest.mark.slow), (1, 2)])
def test_a_state_resumes_on_another_number_of_processes(on_two, prepared, launch_together, first, then):
    folder = prepared("moved")
    stop = once_at(folder, 7, send(signal.SIGTERM, 0))
    ended = launch_together(main, folder, "recipe.yaml", ranks=first, watch=stop)
    assert [one.status for one in ended] == [3] * first
    ended = launch_together(main, folder, "recipe.yaml", ranks=then)
    assert [one.status for one in ended] == [0] * then
    assert ended[0].said.startswith(f"{then} process(es)")
    assert "resuming from step" in ended[0].said
    assert_equal_up_to_rounding(folder, on_two)


@pytest.mark.slow
def test_in_shards_the_run_is_the_same_and_its_state_resumes_without_them(on_two, prepared, launch_together):
    folder = prepared("shards")
    assert_both(launch_together(main, folder, "recipe.yaml", **SHARDS), 0)
    assert "the model in shards" in (folder / "log-0.txt").read_text()
    assert_equal_up_to_rounding(folder, on_two)

    folder = prepared("resharded")
    stop = once_at(folder, 7, send(signal.SIGTERM, 1))
    assert_both(launch_together(main, folder, "recipe.yaml", watch=stop, **SHARDS), 3)
    (ended,) = launch_together(main, folder, "recipe.yaml", ranks=1)
    assert ended.status == 0, ended.said
    assert "the model in shards" not in ended.said
    assert_equal_up_to_rounding(folder, on_two)


def spoiling(rank: int, factors: dict[int, float]) -> Callable[[], None]:
    """`pretrain.run`, but the loss of some micro-batches of a rank, the first of which is 1, is multiplied."""

    def spoiled() -> None:
        judge, count = Bert.loss, 0

        def loss(self: Bert, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
            nonlocal count
            sums = judge(self, model, batch)
            if model.training and not any(isinstance(value, FakeTensor) for value in sums.values()):  # to count FLOPs
                count += 1
                if os.environ["RANK"] == str(rank):
                    return {term: value * factors.get(count, 1.0) for term, value in sums.items()}
            return sums

        Bert.loss = loss  # type: ignore[method-assign]
        main()

    spoiled.__module__ = main.__module__
    return spoiled


def failing() -> None:
    """`pretrain.run`, but the second process meets a mistake of ours in its first pass."""
    judge = Bert.loss

    def loss(self: Bert, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        if os.environ["RANK"] == "1":
            raise KeyError("the first cause")
        return judge(self, model, batch)

    Bert.loss = loss  # type: ignore[method-assign]
    main()


def test_a_rank_that_fails_does_not_keep_the_other_waiting(prepared, launch_together):
    began = time.monotonic()
    first, second = launch_together(failing, prepared("failing"), "recipe.yaml")
    assert (first.status, second.status) == (4, 1)
    assert "KeyError: 'the first cause'" in second.said
    assert first.said.splitlines()[-1].startswith("error: process 0 lost another one")
    assert time.monotonic() - began < 30


@pytest.mark.slow
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_poisoned_rank_changes_no_parameter_and_after_three_steps_the_run_ends(prepared, launch_together, value):
    """Two micro-batches a step: from the first of step 5 on, all of rank 1's are poisoned."""
    folder = prepared("poisoned", plan={**PLAN, "save_steps": 1, "save_total_limit": 20})
    ended = launch_together(spoiling(1, dict.fromkeys(range(9, 100), value)), folder, "recipe.yaml")
    assert_both(ended, 2)
    kept = {state.name: (state / "weights.safetensors").read_bytes() for state in states(folder)}
    assert kept["step-3"] != kept["step-4"]
    assert kept["step-4"] == kept["step-5"] == kept["step-6"]
    for one in ended:
        last = one.said.splitlines()[-1]
        assert last.startswith("error: ")
        assert "3 steps in a row" in last
        assert "step 7" in last
        assert len(re.findall(r"\d+", last.split("examples")[-1])) == 32  # of step 7, each named


@pytest.mark.slow
def test_a_spike_is_skipped_if_the_recipe_says_so(prepared, launch_together):
    plan = {
        **PLAN,
        "max_steps": 150,
        "per_device_train_batch_size": 16,
        "save_steps": 1,
        "save_total_limit": 200,
        "eval_steps": 0,
    }
    folder = prepared("spike", plan={**plan, "skip_spikes": True})
    factors = {135: 1000.0, 140: float("nan"), 141: float("nan"), 142: float("nan")}  # a run that ends well keeps none
    ended = launch_together(spoiling(1, factors), folder, "recipe.yaml")
    assert_both(ended, 2)
    kept = {state.name: (state / "weights.safetensors").read_bytes() for state in states(folder)}
    assert kept["step-133"] != kept["step-134"] == kept["step-135"] != kept["step-136"]
    (line,) = [line for line in ended[0].said.splitlines() if line.startswith("step 135: ")]
    assert "skipped" in line
    assert len(re.findall(r"\d+", line.split("examples")[-1])) == 32
    assert not [line for line in ended[0].said.splitlines() if "sigma" in line and not line.startswith("step 135: ")]


# Under the launcher that users have


class Launch:
    """`accelerate launch` of two processes; `status`, `said` and `seconds` since `act` once it has ended."""

    def __init__(self, folder: Path, config: str = "cpu_2.yaml", *options: str):
        self.folder, self.log = folder, folder / "launch.txt"
        command = [sys.executable, "-m", "accelerate.commands.launch"]
        command += ["--config_file", str(ROOT / "accelerate_configs" / config), *options]
        environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "-m", "pretrain.run", "recipe.yaml"], cwd=folder, env=environment, stdout=log, stderr=log
            )

    def ranks(self) -> list[psutil.Process]:
        """The training processes, by rank."""
        children = psutil.Process(self.process.pid).children()
        return sorted(children, key=lambda child: int(child.environ().get("RANK", 0)))

    def at(self, step: int, act: Callable[["Launch"], None]) -> "Launch":
        """Once `step` is reported, do something and wait for the end. No training process may outlive the launcher."""
        while not any(line["step"] >= step for line in metrics(self.folder)):
            assert self.process.poll() is None, self.said
            time.sleep(0.01)
        ranks, began = self.ranks(), time.monotonic()
        self.world = len(ranks)
        act(self)
        try:
            self.status = self.process.wait(timeout=90)
            psutil.wait_procs(ranks, timeout=10)
            self.seconds = time.monotonic() - began
            assert not [rank for rank in ranks if rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE]
        finally:
            for process in (*ranks, self.process):
                if process.is_running() if isinstance(process, psutil.Process) else process.poll() is None:
                    process.kill()
        return self

    def end(self) -> "Launch":
        self.status = self.process.wait(timeout=120)
        return self

    @property
    def said(self) -> str:
        return self.log.read_text()


def two(folder: Path) -> Launch:
    return Launch(folder, "cpu_2.yaml", "--main_process_port", "0")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_launcher_that_is_told_to_stop_leaves_a_state(on_two, prepared, number):
    folder = prepared("asked-to-stop")
    launch = two(folder).at(5, lambda launch: launch.process.send_signal(number))
    assert launch.world == 2
    assert launch.status == 1  # the launcher's own: it does not tell what the ranks ended with
    assert launch.seconds < 25
    stopped = re.findall(r"stopped at step (\d+), state saved", launch.said)
    assert stopped == [states(folder)[-1].name[5:]] * 2
    assert two(folder).end().status == 0
    assert_bit_equal(folder, on_two)


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_run_and_the_same_command_resumes(on_two, prepared):
    folder = prepared("killed", plan={**PLAN, "save_steps": 3})
    launch = two(folder).at(5, lambda launch: launch.ranks()[1].kill())
    assert (launch.world, launch.status) == (2, 1)
    assert launch.seconds < 30
    assert re.search(r"error: process 0 lost another one in step \d+.*the same command resumes", launch.said)
    cause = launch.said.split("Root Cause")[1]
    assert "rank      : 1" in cause
    assert "SIGKILL" in cause
    assert two(folder).end().status == 0
    assert_bit_equal(folder, on_two)


@pytest.mark.slow
def test_a_rank_that_hangs_ends_the_run_in_the_time_of_the_plan(prepared):
    folder = prepared("hangs", plan={**PLAN, "max_steps": 3000, "timeout": 15})
    launch = two(folder).at(5, lambda launch: launch.ranks()[1].suspend())
    assert (launch.world, launch.status) == (2, 1)
    assert re.search(r"error: process 0 waited too long for another one in step \d+, 15 s.*plan\.timeout", launch.said)
    assert launch.seconds < 15 + 30 + 10  # the launcher gives a process that does not answer SIGTERM half a minute


@pytest.mark.slow
def test_told_to_stop_while_a_rank_hangs_no_one_waits_for_it(prepared):
    def act(launch: Launch) -> None:
        launch.ranks()[1].suspend()
        time.sleep(1)
        launch.process.terminate()

    folder = prepared("hangs", plan={**PLAN, "max_steps": 3000, "timeout": 100})
    launch = two(folder).at(5, act)
    assert (launch.world, launch.status) == (2, 1)
    assert "error: process 0 was asked to stop, but not all processes agreed within 25 s" in launch.said


@pytest.mark.slow
def test_a_launcher_that_is_killed_leaves_no_training_behind(prepared):
    for config, options in (("cpu.yaml", ()), ("cpu_2.yaml", ("--main_process_port", "0"))):
        folder = prepared("orphans")
        launch = Launch(folder, config, *options).at(5, lambda launch: launch.process.kill())
        assert launch.seconds < 25
        assert "state saved; the same command resumes" in launch.said
        assert states(folder)


@pytest.mark.slow
def test_killed_five_times_the_same_command_reaches_the_same_end(on_two, prepared):
    folder = prepared("five", plan={**PLAN, "save_steps": 2})

    def kill(launch: Launch) -> None:
        for process in (*launch.ranks(), psutil.Process(launch.process.pid)):
            process.kill()

    for step in (3, 8, 14, 20, 26):
        assert two(folder).at(step, kill).status == -signal.SIGKILL
    launch = two(folder).end()
    assert launch.status == 0, launch.said
    assert "resuming from step" in launch.said
    assert_bit_equal(folder, on_two)


@pytest.mark.slow
def test_a_state_that_is_asked_for_and_damaged_is_named_and_no_other_is_taken(prepared, launch):
    folder = prepared("asked", plan={**PLAN, "save_steps": 3, "save_total_limit": 9})
    stop = once_at(folder, 8, lambda pid: os.kill(pid, signal.SIGTERM))
    assert launch(folder, "recipe.yaml", watch=stop).status == 3
    damaged = states(folder)[1] / "weights.safetensors"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    ended = launch(folder, "recipe.yaml", "--resume_from_checkpoint", "step-6")
    assert ended.status == 2
    assert "step-6, the state asked for, is damaged: weights.safetensors has changed" in ended.said.splitlines()[-1]
    ended = launch(folder, "recipe.yaml", "--resume_from_checkpoint", "step-3")
    assert ended.status == 0, ended.said
    assert "resuming from step 3" in ended.said
