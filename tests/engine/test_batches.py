"""Does every process, on any number of them, see its share of the same global batches, each example once an epoch?"""

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

from engine.train import draws
from engine.train.batch import Batch
from engine.train.batches import Batches, Position
from engine.train.plan import Phase, Plan

START = Position()
SIZE, GLOBAL = 21, 8  # two full global batches an epoch, and one of five


class Numbers:
    """An epoch whose example n shows the number 100 * epoch + n."""

    is_last = True
    cursor: ClassVar[dict] = {}
    next_cursor: ClassVar[dict] = {}

    def __init__(self, position, size):
        self.epoch = position.epoch
        self.order = draws.permutation(draws.stream("order", self.epoch), SIZE)

    def batch(self, index):
        ids = torch.from_numpy(100 * self.epoch + index)[:, None]
        return Batch(
            {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
            {},
            {"answers": len(index)},
            (1,) * len(index),
            len(index),
        )


def batches(world=1, rank=0, device_batch=8, workers=0, last_step=9):
    plan = Plan(GLOBAL, device_batch, max_steps=last_step, dataloader_num_workers=workers)
    place = SimpleNamespace(num_processes=world, process_index=rank, device=torch.device("cpu"))
    return Batches(Numbers, plan, place)


def shown(world=1, device_batch=8, workers=0, start=START, last_step=9):
    """The numbers that count in each step, over all processes in their order; and the positions."""
    ranks = range(world)
    streams = [list(batches(world, rank, device_batch, workers, last_step).since(start)) for rank in ranks]
    steps = []
    for parts in zip(*streams, strict=True):
        micro = [batch for together in zip(*(part.micro_batches for part in parts), strict=True) for batch in together]
        assert {part.examples.tobytes() for part in parts} == {parts[0].examples.tobytes()}
        steps.append([n for batch in micro if not batch.is_filler for n in batch.x["input_ids"].flatten().tolist()])
    return steps, [step.after for step in streams[0]]


def last_of_an_epoch(world, rank, device_batch):
    return next(batches(world, rank, device_batch).since(Position(2, 0, 0, 2))).micro_batches


def test_an_epoch_shows_each_example_once_and_the_next_in_another_order():
    steps, positions = shown()
    assert [len(step) for step in steps] == [8, 8, 5] * 3
    epochs = [np.concatenate(steps[first : first + 3]) - 100 * epoch for epoch, first in enumerate((0, 3, 6))]
    assert all(sorted(epoch) == list(range(SIZE)) for epoch in epochs)
    assert list(epochs[0]) != list(epochs[1])
    assert positions[:4] == [Position(1, 0, 0, 1), Position(2, 0, 0, 2), Position(3, 1), Position(4, 1, 0, 1)]


@pytest.mark.parametrize(("world", "device_batch"), [(1, 2), (1, 1), (2, 4), (2, 1), (4, 2), (8, 1)])
def test_global_batches_are_the_same_on_any_number_of_processes(world, device_batch):
    # With eight slices the last batch of an epoch, of five, leaves three empty: those are fillers, not missing.
    assert shown(world, device_batch) == shown()


def test_shares_are_equal_up_to_one_example():
    sizes = [len(b.x["input_ids"]) for rank in (0, 1) for b in last_of_an_epoch(2, rank, 2)]
    assert sorted(sizes) == [1, 1, 1, 2]


def test_an_empty_share_asks_nothing():
    (batch,) = last_of_an_epoch(world=8, rank=7, device_batch=1)
    assert batch.is_filler
    assert batch.counts == {"answers": 0}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_from_any_position_the_rest_is_what_it_would_have_been(workers, step):
    steps, positions = shown()
    assert shown(device_batch=4, workers=workers, start=positions[step - 1]) == (steps[step:], positions[step:])


def test_at_the_last_step_nothing_is_left():
    assert shown(start=Position(9, 3)) == ([], [])


@pytest.mark.parametrize(
    ("world", "device_batch", "sizes"), [(1, 3, [2] * 4), (2, 8, [4]), (4, 8, [2]), (1, 5, [4] * 2)]
)
def test_a_process_takes_as_much_at_a_time_as_makes_equal_parts(world, device_batch, sizes):
    step = next(batches(world, 0, device_batch).since(START))
    assert [len(batch.x["input_ids"]) for batch in step.micro_batches] == sizes


def test_processes_that_cannot_share_a_step_are_refused():
    with pytest.raises(
        ValueError, match=r"global_batch_size is 8, which 3 processes cannot share equally: .* such as 9"
    ):
        batches(world=3)


# Chapters and phases


class Chapters(Numbers):
    """An epoch of three chapters, of 8, 0 and 5 examples; a cursor tells the chapters before."""

    def __init__(self, position, size):
        super().__init__(position, size)
        number = position.chapter
        assert position.cursor == ({"before": number} if number else {})
        self.order = self.order[(0, 8, 8)[number] : (8, 8, 13)[number]]
        self.is_last, self.cursor, self.next_cursor = number == 2, position.cursor, {"before": number + 1}
        self.size = size

    def batch(self, index):
        rows, sizes = len(index), (self.size,) * len(index)
        return Batch({"input_ids": torch.zeros(rows, self.size)}, {}, {"answers": rows}, sizes, sum(sizes))


def chaptered(phases=(), **plan):
    plan = Plan(**{"global_batch_size": 4, "per_device_train_batch_size": 4, "max_steps": 12, **plan})
    place = SimpleNamespace(num_processes=1, process_index=0, device=torch.device("cpu"))
    return Batches(Chapters, plan, place, phases)


def test_chapters_follow_one_another_and_an_empty_one_is_passed_over():
    steps = list(chaptered().since(START))
    assert [(step.place, len(step.examples)) for step in steps[:5]] == [
        ((0, 0), 4), ((0, 0), 4), ((0, 2), 4), ((0, 2), 1), ((1, 0), 4),
    ]  # fmt: skip
    assert steps[1].after == Position(2, 0, 1, 0, {"before": 1})
    for step in steps:
        rest = list(chaptered().since(step.after))
        assert [one.after for one in rest] == [one.after for one in steps[step.after.step :]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_phase_begins_an_epoch_and_has_its_own_size_and_batch(workers):
    phases = (Phase(0.75, 4, 8), Phase(0.25, 2, 32))
    steps = list(chaptered(phases, dataloader_num_workers=workers).since(START))
    widths = [[tuple(batch.x["input_ids"].shape) for batch in step.micro_batches] for step in steps]
    assert widths[:3] == [[(4, 8)]] * 3
    assert widths[9] == [(2, 32), (2, 32)]
    assert [step.place[0] for step in steps] == [0] * 4 + [1] * 4 + [2] + [3] * 3
    again = list(chaptered(phases, dataloader_num_workers=workers).since(steps[8].after))
    assert [step.after for step in again] == [step.after for step in steps[9:]]


def test_without_a_number_of_steps_there_is_no_end():
    endless = chaptered(max_steps=0, minutes=1.0).since(START)
    assert [next(endless).after.step for _ in range(40)] == list(range(1, 41))
