"""Does the loop minimise the mean it says, survive a poisoned batch, and go on after a signal as if none had come?"""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from engine.run.checkpoint import Run
from engine.run.processes import Stopped
from engine.run.tracking import Tracker
from engine.train import draws
from engine.train.batch import Batch
from engine.train.batches import Batches, Position
from engine.train.loop import Clock, Hooks, Training, train
from engine.train.optimizer import Optimizer
from engine.train.plan import Plan
from engine.train.schedule import Schedule
from engine.train.window import PACE

SIZE, LENGTH = 21, 6  # examples an epoch: two global batches of eight and one of five


class Rows:
    """Example n has 1 to 6 real tokens, every one of which is asked: counts differ in every slice."""

    is_last = True
    cursor: ClassVar[dict] = {}
    next_cursor: ClassVar[dict] = {}

    def __init__(self, position: Position, length: int):
        self.epoch = epoch = position.epoch
        self.order = draws.permutation(draws.stream("order", epoch), SIZE)

    def batch(self, index: np.ndarray) -> Batch:
        ids = torch.from_numpy(draws.integers(draws.stream("ids", self.epoch), 10, index[:, None], np.arange(LENGTH)))
        mask = torch.from_numpy(np.arange(LENGTH) <= (index % LENGTH)[:, None]).long()
        counts = {"token": int(mask.sum()), "row": len(index)}
        return Batch({"input_ids": ids, "attention_mask": mask}, {"odd": torch.from_numpy(index % 2)}, counts,
                     tuple(mask.sum(1).tolist()), mask.numel())  # fmt: skip


class Net(nn.Module):
    def __init__(self, dropout: float):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.drop, self.words, self.row = (
            nn.Embedding(10, 8), nn.Dropout(dropout), nn.Linear(8, 10), nn.Linear(8, 2),
        )  # fmt: skip


def judge(model: Net, batch: Batch) -> dict[str, torch.Tensor]:
    states, real = model.drop(model.embed(batch.x["input_ids"])), batch.x["attention_mask"].bool()
    return {
        "token": nn.functional.cross_entropy(model.words(states)[real], batch.x["input_ids"][real], reduction="sum"),
        "row": nn.functional.cross_entropy(model.row(states.mean(1)), batch.y["odd"], reduction="sum"),
    }


def trained(
    folder: Path, loss: Callable = judge, dropout: float = 0.0, lr: float = 1e-2, hooks: Hooks | None = None, **changes
) -> Net:
    accelerator = Accelerator(cpu=True)
    plan = Plan(
        **{"global_batch_size": 8, "per_device_train_batch_size": 8, "max_steps": 8, "logging_steps": 3, **changes}
    )
    model = Net(dropout)
    optimizer = Optimizer(learning_rate=lr)
    training = Training(model, loss, Batches(Rows, plan, accelerator), plan, optimizer, Schedule(), 0, hooks=hooks)
    train(training, Run(folder, plan, accelerator), Tracker(folder, accelerator), accelerator)
    return model


def lines(folder: Path) -> list[dict]:
    """The metrics, but for the speed."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.endswith(PACE)} for line in found]


def assert_equal(one: nn.Module, other: nn.Module, **tolerance) -> None:
    for (name, left), right in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(left, right, msg=name, **(tolerance or {"rtol": 0, "atol": 0}))


def test_what_is_logged_is_the_mean_over_all_answers_since_the_last_line(tmp_path):
    trained(tmp_path, lr=1e-30, per_device_train_batch_size=2, max_steps=3)
    epoch = Rows(Position(), 0).batch(np.arange(SIZE))
    sums = judge(Net(0.0), epoch)
    expected = {f"{term}_loss": sums[term].item() / count for term, count in epoch.counts.items()}
    (line,) = lines(tmp_path)
    assert {name: line[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert line["loss"] == pytest.approx(sum(expected.values()), rel=1e-6)


@pytest.mark.parametrize("per_device_train_batch_size", [4, 1])
def test_accumulation_changes_nothing(tmp_path, per_device_train_batch_size):
    # With slices of one, the last global batch of an epoch leaves three of eight empty.
    whole = trained(tmp_path / "whole")
    cut = trained(tmp_path / "cut", per_device_train_batch_size=per_device_train_batch_size)
    assert_equal(whole, cut, rtol=1e-5, atol=1e-6)
    for left, right in zip(lines(tmp_path / "whole"), lines(tmp_path / "cut"), strict=True):
        assert left == pytest.approx(right, rel=1e-5)


class Nth:
    """A loss with something done to its n-th calls."""

    def __init__(self, calls: tuple[int, ...], act: Callable[[dict], None]):
        self.calls, self.act, self.count = calls, act, 0

    def __call__(self, model: Net, batch: Batch) -> dict[str, torch.Tensor]:
        sums = judge(model, batch)
        if isinstance(sums["row"], FakeTensor):  # its arithmetic is being counted
            return sums
        self.count += 1
        if self.count in self.calls:
            self.act(sums)
        return sums


def poison(value: float) -> Callable[[dict], None]:
    return lambda sums: sums.update(token=sums["token"] * value)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e38])
def test_a_poisoned_step_leaves_the_parameters_as_they_were(tmp_path, value, capsys):
    before = trained(tmp_path / "before")
    model = trained(tmp_path / "poisoned", Nth((3, 5, 6), poison(value)))
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())
    assert "step 5: the gradient is not finite; skipped: epoch 1, chapter 0, examples " in capsys.readouterr().out
    assert all(np.isfinite(line["loss"]) for line in lines(tmp_path / "poisoned"))
    assert not torch.equal(before.words.weight, model.words.weight)


def test_three_in_a_row_stop_the_run_with_the_parameters_of_before(tmp_path):
    seen = {}

    def poison_and_look(sums):
        sums.update(token=sums["token"] * float("nan"))

    class Looking(Nth):
        def __call__(self, model, batch):
            seen[self.count + 1] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            return super().__call__(model, batch)

    with pytest.raises(FloatingPointError, match=r"3 steps in a row.*step 5: epoch 1, chapter 0, examples \d+, "):
        trained(tmp_path, Looking((3, 4, 5), poison_and_look))
    assert max(seen) == 6  # what became of step 5 is known while step 6 is computed
    for name, tensor in seen[3].items():
        assert torch.equal(tensor, seen[6][name])
        assert not torch.equal(tensor, seen[1][name])


def call_for_stop(_):
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stops", [(1,), (2,), (3, 1), (1, 1, 2), (7,)], ids=str)
def test_after_a_stop_the_same_command_resumes_as_if_nothing_had_been(tmp_path, stops, workers):
    # A signal that comes in a step is heeded after the next one. An epoch is three steps, and so is a line of the log.
    plan = {"dropout": 0.5, "dataloader_num_workers": workers, "per_device_train_batch_size": 4, "logging_steps": 3}
    whole = trained(tmp_path / "whole", **plan)
    for steps in stops:
        with pytest.raises(Stopped, match="state saved; the same command resumes"):
            trained(tmp_path / "stopped", Nth((2 * steps,), call_for_stop), **plan)
    assert_equal(whole, trained(tmp_path / "stopped", **plan))
    assert lines(tmp_path / "stopped") == lines(tmp_path / "whole")


def test_after_a_crash_the_newest_state_is_gone_on_from(tmp_path):
    def crash(_):
        raise KeyError

    plan = {"dropout": 0.5, "save_steps": 2, "save_total_limit": 1}
    whole = trained(tmp_path / "whole", **plan)
    for call in (6, 2, 4):  # in step 6 of the first launch; then in steps 6 and 8
        with pytest.raises(KeyError):
            trained(tmp_path / "crashed", Nth((call,), crash), **plan)
    assert_equal(whole, trained(tmp_path / "crashed", **plan))
    assert lines(tmp_path / "crashed") == lines(tmp_path / "whole")


class UntilTwo(Hooks):
    """Two evaluations are enough; a crash comes when something is published."""

    def __init__(self, crashes: bool):
        self.crashes, self.seen = crashes, list[int]()

    @property
    def enough(self) -> bool:
        return len(self.seen) >= 2

    def evaluate(self, model: nn.Module, step: int) -> dict[str, float]:
        self.seen.append(step)
        return {}

    def publish(self, step: int) -> None:
        if self.crashes:
            raise OSError("no network")

    def carried(self) -> dict:
        return {"seen": self.seen}

    def restore(self, step: int, carried: dict) -> None:
        self.seen = carried.get("seen", [])


def test_training_that_has_enough_ends_early_and_a_resume_knows_it(tmp_path):
    """The state is that of the very step after which nothing was to be done any more."""
    plan = {"eval_steps": 2, "save_steps": 4, "dropout": 0.1}
    whole = UntilTwo(crashes=False)
    model = trained(tmp_path / "whole", hooks=whole, **plan)
    with pytest.raises(OSError, match="no network"):
        trained(tmp_path / "crashed", hooks=UntilTwo(crashes=True), **plan)
    resumed = UntilTwo(crashes=True)
    assert_equal(trained(tmp_path / "crashed", hooks=resumed, **plan), model, rtol=0, atol=0)
    assert resumed.seen == whole.seen == [2, 4]


def test_outside_the_loop_signals_do_what_they_always_do(tmp_path):
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    trained(tmp_path)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers


def test_the_clock_of_the_processor_stands_still_while_others_compute():
    """A process that waits has the minutes of its plan left."""
    wall, cpu = (Clock(Plan(8, 8, minutes=1.0, clock=kind), seconds=30.0) for kind in ("wall", "cpu"))
    time.sleep(1.0)
    assert 30 <= cpu.seconds < 30.5
    assert wall.seconds >= 31
