"""Are finished fine-tunings kept, and are the ratios those of their medians?"""

import json

from benchmarks.finetuning import Options, compared, kept


def test_ratios_are_of_medians_over_seeds():
    taken = {"ours": (10, 12, 11), "plain": (20, 26, 22), "default": (55,)}
    found = {
        ("rte", way, seed): {"seconds": seconds, "score": seed / 10, "steps": 1}
        for way, values in taken.items()
        for seed, seconds in enumerate(values)
    }
    line = compared(found, "rte")
    assert (line["ratio_equal_precision"], line["ratio_default"]) == (2.0, 5.0)
    assert (line["score_ours"], line["score_plain"]) == (0.1, 0.1)


def test_what_is_finished_is_not_done_again(tmp_path):
    (tmp_path / "rte-ours-3-0.5.json").write_text(json.dumps({"seconds": 1.0}))
    asked = Options(out=tmp_path, epochs=0.5)
    assert kept(asked, [], "ours", "rte", 3) == {"seconds": 1.0}
