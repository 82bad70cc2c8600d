"""Does every process, on any number of them, see its share of the same global batches, each example once an epoch?"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engine import draws
from engine.batch import Batch
from engine.batches import Batches, Position
from engine.plan import Plan

START = Position()
SIZE, GLOBAL = 21, 8  # two full global batches an epoch, and one of five


class Numbers:
    """An epoch whose example n shows the number 100 * epoch + n."""

    def __init__(self, epoch: int):
        self.epoch = epoch
        self.order = draws.permutation(draws.stream("order", epoch), SIZE)

    def batch(self, index):
        ids = torch.from_numpy(100 * self.epoch + index)[:, None]
        return Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, {}, {"answers": len(index)})


def batches(world=1, rank=0, device_batch=8, workers=0):
    plan = Plan(steps=9, global_batch=GLOBAL, device_batch=device_batch, workers=workers)
    place = SimpleNamespace(num_processes=world, process_index=rank, device=torch.device("cpu"))
    return Batches(Numbers, plan, place)


def shown(world=1, device_batch=8, workers=0, start=START, last_step=9):
    """The numbers judged in each step, over all processes in their order; and the positions."""
    streams = [list(batches(world, rank, device_batch, workers).since(start, last_step)) for rank in range(world)]
    steps = []
    for parts in zip(*streams, strict=True):
        micro = [batch for number in range(len(parts[0][1])) for batch in (part[1][number] for part in parts)]
        steps.append([n for batch in micro if not batch.silent for n in batch.x["input_ids"].flatten().tolist()])
    return steps, [position for position, _ in streams[0]]


def test_an_epoch_shows_each_example_once_and_the_next_in_another_order():
    steps, positions = shown()
    assert [len(step) for step in steps] == [8, 8, 5] * 3
    epochs = [np.concatenate(steps[first : first + 3]) - 100 * epoch for epoch, first in enumerate((0, 3, 6))]
    assert all(sorted(epoch) == list(range(SIZE)) for epoch in epochs)
    assert list(epochs[0]) != list(epochs[1])
    assert positions[:4] == [Position(1, 0, 1), Position(2, 0, 2), Position(3, 1, 0), Position(4, 1, 1)]
    assert batches().steps_per_epoch() == 3


@pytest.mark.parametrize(("world", "device_batch"), [(1, 2), (1, 1), (2, 4), (2, 1), (4, 2), (8, 1)])
def test_global_batches_are_the_same_on_any_number_of_processes(world, device_batch):
    # With eight slices the last batch of an epoch, of five, leaves three empty: those are silent, not missing.
    assert shown(world, device_batch) == shown()


def test_shares_are_equal_up_to_one_example():
    sizes = [len(b.x["input_ids"]) for rank in (0, 1) for b in next(batches(2, rank, 2).since(Position(2, 0, 2), 3))[1]]
    assert sorted(sizes) == [1, 1, 1, 2]


def test_an_empty_share_asks_nothing():
    _, (batch,) = next(batches(world=8, rank=7, device_batch=1).since(Position(2, 0, 2), 3))
    assert batch.silent
    assert batch.counts == {"answers": 0}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_from_any_position_the_rest_is_what_it_would_have_been(workers, step):
    steps, positions = shown()
    assert shown(device_batch=4, workers=workers, start=positions[step - 1]) == (steps[step:], positions[step:])


def test_at_the_last_step_nothing_is_left():
    assert shown(start=Position(9, 3, 0)) == ([], [])


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"global_batch 8 is not a multiple .* 3 x 1"):
        batches(device_batch=3)
    with pytest.raises(ValueError, match=r"8 x 2"):
        batches(world=2, device_batch=8)
