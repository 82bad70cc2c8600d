"""Does the trace show the phases of a step with the operators in them, and does it cost nothing when it is off?"""

import gzip
import json
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from engine.train.profiling import PHASES, phase, profiled


def train(folder: Path | None, steps: int) -> list[str]:
    """A few steps of a small network, traced to `folder`. Return what was noted."""
    noted: list[str] = []
    model = nn.Linear(1024, 1024)  # large enough that its products and its optimizer are among the slowest operators
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    with profiled(folder, Accelerator(cpu=True), noted.append) as profile:
        for _ in range(steps):
            with phase("data"):
                x = torch.randn(32, 1024)
            with phase("forward"):
                loss = model(x).square().mean()
            with phase("backward"):
                loss.backward()
            with phase("wait"):
                loss.item()
            with phase("optimizer"):
                optimizer.step()
                optimizer.zero_grad()
            profile.step()
    return noted


def within(inner: dict, outer: dict) -> bool:
    return outer["ts"] <= inner["ts"] and inner["ts"] + inner["dur"] <= outer["ts"] + outer["dur"] + 1  # microseconds


def test_the_trace_opens_and_shows_three_steps_with_their_operators(tmp_path):
    noted = train(tmp_path / "profile", steps=12)
    with gzip.open(tmp_path / "profile/trace.json.gz") as file:
        events = [event for event in json.load(file)["traceEvents"] if event.get("ph") == "X"]
    blocks = sorted((event for event in events if event["name"] in PHASES), key=lambda event: event["ts"])
    assert [block["name"] for block in blocks] == list(PHASES) * 3
    inside = {
        "data": "aten::randn",
        "forward": "aten::addmm",
        "backward": "aten::mm",
        "wait": "aten::item",
        "optimizer": "aten::_fused_adamw_",
    }
    for block in blocks:
        operators = {event["name"] for event in events if event["tid"] == block["tid"] and within(event, block)}
        assert inside[block["name"]] in operators
    assert noted == [f"{tmp_path / 'profile/trace.json.gz'} holds a trace of 3 steps: open it in ui.perfetto.dev"]


def test_the_table_gives_the_phases_in_order_and_the_slowest_operators(tmp_path):
    train(tmp_path / "profile", steps=12)
    lines = (tmp_path / "profile/operators.txt").read_text().splitlines()
    assert lines[0] == "3 steps; milliseconds a step"
    assert [line.split()[0] for line in lines[2:7]] == list(PHASES)
    assert all(float(line.split()[1]) > 0 for line in lines[2:7])
    assert any("aten::_fused_adamw_" in line for line in lines[7:])


def test_a_run_that_is_too_short_says_so_and_leaves_nothing(tmp_path):
    assert train(tmp_path / "profile", steps=6) == ["nothing was traced: the run ended before step 8 of this launch"]
    assert not list(tmp_path.iterdir())


def test_a_run_that_ends_while_it_is_traced_leaves_what_there_is(tmp_path):
    assert "a trace of 2 steps" in train(tmp_path / "profile", steps=9)[0]
    with gzip.open(tmp_path / "profile/trace.json.gz") as file:
        names = [event["name"] for event in json.load(file)["traceEvents"]]
    assert names.count("forward") == 2


def test_switched_off_it_writes_nothing_and_costs_microseconds(tmp_path):
    assert train(None, steps=12) == []
    began = time.perf_counter()
    with profiled(None, Accelerator(cpu=True), print) as profile:
        for _ in range(1000):
            with phase("forward"):
                pass
            profile.step()
    assert (time.perf_counter() - began) / 1000 < 1e-3
