import pytest

from benchmarks.whole_process import main


@pytest.mark.slow
def test_it_prints_time_and_memory_from_raw_text_to_model(last_line):
    result = last_line(main, "--megabytes", "0.3", "--steps", "2", "--batch", "4", "--rounds", "1")
    assert result["ratio_default"] > 0
    assert result["ratio_equal_precision"] > 0
    assert result["seconds"].keys() == result["peak_mb"].keys() == {"ours_bf16", "plain_fp32", "plain_bf16"}
    assert all(each > 100 for each in result["peak_mb"].values())  # torch alone
