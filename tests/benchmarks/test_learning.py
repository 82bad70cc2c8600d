import json
from xml.etree import ElementTree

import pytest

from benchmarks.learning import EVALUATIONS, main
from benchmarks.learning_curves import draw


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


def test_the_picture_shows_both_ways_of_each_family(tmp_path):
    files = []
    for family in ("bert", "gpt2"):
        for way, loss in (("ours", 5.0), ("plain", 6.0)):
            files.append(tmp_path / f"{family}-{way}.jsonl")
            points = [{"tokens": 1000 * n, "cpu_minutes": n, "held_out_loss": loss - n / 10} for n in range(3)]
            files[-1].write_text("\n".join(json.dumps(line) for line in [{"family": family, "way": way}, *points]))
    draw([[json.loads(line) for line in path.read_text().splitlines()] for path in files], tmp_path / "curves.svg")
    picture = ElementTree.parse(tmp_path / "curves.svg")
    lines = [
        group for group in picture.iter("{http://www.w3.org/2000/svg}g") if group.get("id", "").startswith("line2d")
    ]
    drawn = [line for line in lines if any("clip-path" in path.attrib for path in line)]
    assert len([line for line in drawn if line[0].get("d", "").count("L") == 1]) == 8  # two points each, tokens above 0
