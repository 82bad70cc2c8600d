"""Is the learning rate the one that the recipe describes, in steps and in seconds?"""

import itertools

import pytest
import torch
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_with_min_lr_schedule_with_warmup,
    get_linear_schedule_with_warmup,
    get_wsd_schedule,
)

from engine.train.schedule import Schedule


def factors(schedule: Schedule, steps: int) -> list[float]:
    return [schedule.factor(step, steps) for step in range(1, steps + 1)]


def test_the_rate_climbs_to_its_peak_and_falls_in_a_line():
    assert factors(Schedule(warmup_ratio=0.2), 10) == [1 / 2, 1, 8 / 8, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(warmup_ratio=0.0), [1, 3 / 4, 2 / 4, 1 / 4]),
        (Schedule(warmup_ratio=1.0), [1 / 4, 2 / 4, 3 / 4, 1]),
        (Schedule(warmup_ratio=0.5, lr_scheduler_type="constant_with_warmup"), [1 / 2, 1, 1, 1]),
        (Schedule(warmup_ratio=0.0, min_lr_ratio=0.5), [1, 7 / 8, 6 / 8, 5 / 8]),
        (
            Schedule(warmup_ratio=0.25, lr_scheduler_type="warmup_stable_decay", cooldown_ratio=0.5),
            [1, 1, 1, 1 - 0.5**0.5],
        ),
    ],
)
def test_schedules_at_their_ends(schedule, expected):
    assert factors(schedule, 4) == expected


STEPS, WARMUP, COOLDOWN = 40, 8, 10
THEIRS = {
    Schedule(0.2): lambda sgd: get_linear_schedule_with_warmup(sgd, WARMUP, STEPS),
    Schedule(0.2, "constant_with_warmup"): lambda sgd: get_constant_schedule_with_warmup(sgd, WARMUP),
    Schedule(0.2, "cosine"): lambda sgd: get_cosine_with_min_lr_schedule_with_warmup(sgd, WARMUP, STEPS, min_lr_rate=0),
    Schedule(0.2, "cosine", min_lr_ratio=0.1): lambda sgd: get_cosine_with_min_lr_schedule_with_warmup(
        sgd, WARMUP, STEPS, min_lr_rate=0.1
    ),
    Schedule(0.2, "warmup_stable_decay", cooldown_ratio=0.25, min_lr_ratio=0.1): lambda sgd: get_wsd_schedule(
        sgd, WARMUP, COOLDOWN, STEPS, decay_type="1-sqrt", min_lr_ratio=0.1
    ),
}


@pytest.mark.parametrize("schedule", THEIRS, ids=str)
def test_it_is_the_schedule_of_transformers_but_for_a_warm_up_that_wastes_no_step(schedule):
    sgd = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = THEIRS[schedule](sgd)
    theirs = []
    for _ in range(STEPS):
        theirs.append(sgd.param_groups[0]["lr"])
        sgd.step()
        scheduler.step()
    ours = factors(schedule, STEPS)
    assert ours[WARMUP:] == pytest.approx(theirs[WARMUP:], abs=1e-12)
    assert ours[:WARMUP] == [step / WARMUP for step in range(1, WARMUP + 1)]  # theirs begins with 0
    if schedule.min_lr_ratio == 0:
        assert ours[: WARMUP - 1] == theirs[1:WARMUP]  # and is one step behind


@pytest.mark.parametrize("schedule", THEIRS, ids=str)
def test_a_budget_of_seconds_or_flops_has_the_same_shape(schedule):
    in_steps, whole = factors(schedule, STEPS), 3600.0
    warmup, decay = [], []
    for step in range(1, STEPS + 1):
        warmup.append(schedule.factor(step / STEPS * whole, whole))
        decay.append(schedule.factor((step - 1) / STEPS * whole, whole))
    assert warmup[:WARMUP] == pytest.approx(in_steps[:WARMUP], abs=1e-3)
    assert decay[WARMUP:] == pytest.approx(in_steps[WARMUP:], abs=0.02)
    assert schedule.factor(1e16, 1e17) == pytest.approx(0.5)
    assert 0 <= schedule.factor(0.0, whole) < 1e-3
    end = 1 if schedule.lr_scheduler_type == "constant_with_warmup" else schedule.min_lr_ratio
    assert schedule.factor(whole + 5, whole) == schedule.factor(whole, whole) == pytest.approx(end, abs=1e-3)


def test_without_a_warm_up_the_first_moment_has_the_peak():
    assert Schedule(0.0).factor(0.0, 60.0) == 1


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_a_very_short_training_has_rates_too(steps):
    for schedule in THEIRS:
        assert all(0 < factor <= 1 for factor in factors(schedule, steps))


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_after_the_warm_up_it_only_falls(decay):
    found = factors(Schedule(0.1, decay), 100)
    assert all(later < earlier for earlier, later in itertools.pairwise(found[10:]))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"warmup_ratio": 1.5}, "warmup_ratio is 1.5"),
        ({"warmup_ratio": float("nan")}, "warmup_ratio is nan"),
        ({"min_lr_ratio": -0.1}, "min_lr_ratio is -0.1"),
        ({"lr_scheduler_type": "constant_with_warmup", "min_lr_ratio": 0.1}, "constant_with_warmup never falls"),
        (
            {"lr_scheduler_type": "warmup_stable_decay"},
            "cooldown_ratio is 0.0; warmup_stable_decay needs",
        ),
        (
            {"lr_scheduler_type": "warmup_stable_decay", "warmup_ratio": 0.5, "cooldown_ratio": 0.6},
            "fits beside a warmup_ratio of 0.5",
        ),
        ({"cooldown_ratio": 0.2}, "linear has no cooldown"),
    ],
)
def test_settings_that_are_impossible_or_would_do_nothing_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Schedule(**settings)
