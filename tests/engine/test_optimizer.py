"""Is the learning rate the one that the recipe describes, and is the right half of the model decayed?"""

import pytest
import torch
from torch import nn

from engine.optimizer import Optimizer, Schedule, build_optimizer, set_rate


def test_the_rate_climbs_to_its_peak_and_falls_in_a_line():
    schedule = Schedule(warmup_rate=0.2)
    factors = [schedule.factor(step, 10) for step in range(1, 11)]
    assert factors == [1 / 2, 1, 8 / 8, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(warmup_rate=0.0), [1, 3 / 4, 2 / 4, 1 / 4]),
        (Schedule(warmup_rate=1.0), [1 / 4, 2 / 4, 3 / 4, 1]),
        (Schedule(warmup_rate=0.5, decay="constant"), [1 / 2, 1, 1, 1]),
    ],
)
def test_schedules_at_their_ends(schedule, expected):
    assert [schedule.factor(step, 4) for step in range(1, 5)] == expected


def test_only_matrices_are_decayed():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4))
    model[1].weight.requires_grad_(False)
    optimizer = build_optimizer(model, Optimizer(lr=0.5, weight_decay=0.1))
    set_rate(optimizer, 0.5)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    shrunk = {name: not torch.equal(p, before[name]) for name, p in model.named_parameters()}
    assert shrunk == {"0.weight": True, "1.weight": False, "1.bias": False, "2.weight": False, "2.bias": False}
    torch.testing.assert_close(model[0].weight, before["0.weight"] * (1 - 0.5 * 0.1))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Optimizer(lr=0), "lr"),
        (lambda: Optimizer(lr=float("nan")), "lr"),
        (lambda: Optimizer(betas=(0.9,)), "betas"),
        (lambda: Schedule(warmup_rate=1.5), "warmup_rate"),
    ],
)
def test_impossible_settings_are_refused_by_name(make, word):
    with pytest.raises(ValueError, match=word):
        make()
