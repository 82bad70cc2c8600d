import pytest

from benchmarks.whole_process import main


@pytest.mark.slow
def test_it_prints_time_and_memory_from_raw_text_to_model(last_line):
    result = last_line(main, "--megabytes", "0.3", "--steps", "2", "--batch", "4", "--rounds", "1")
    assert result["ratio_default"] > 0
    ours = next(name for name in result["seconds"] if name.startswith("ours_"))
    others = {"plain_fp32", "plain_bf16"} if ours == "ours_bf16" else {"plain_fp32"}
    assert result["seconds"].keys() == result["peak_mb"].keys() == {ours, *others}
    assert all(each > 100 for each in result["peak_mb"].values())  # torch alone
