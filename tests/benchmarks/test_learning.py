import json

import pytest

from benchmarks.learning import EVALUATIONS, main


@pytest.mark.slow
@pytest.mark.parametrize("way", ["plain", "ours"])
def test_both_ways_are_judged_on_the_same_blocks_for_the_same_minutes(way, launch_program, workplace):
    ended = launch_program(main, workplace, "bert", "--way", way, "--minutes", "0.2", "--out", "found.jsonl")
    assert ended.status == 0, ended.said
    lines = [json.loads(line) for line in (workplace / "found.jsonl").read_text().splitlines()]
    found = [line for line in lines if "held_out_loss" in line]
    assert len(found) >= EVALUATIONS
    assert found[-1]["held_out_loss"] < found[0]["held_out_loss"]
    assert 0.1 < found[-1]["cpu_minutes"] < 0.4
