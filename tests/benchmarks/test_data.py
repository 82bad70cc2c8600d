import pytest

from benchmarks.data import main


@pytest.mark.slow
def test_it_prints_throughput_and_memory_of_three_sizes(last_line):
    result = last_line(main, "--megabytes", "0.2", "--rounds", "1")
    assert result["preparation"]["ratio"] > 0
    assert result["examples"]["ratio"] > 0
    assert list(result["first_batch"]) == ["1x", "10x", "100x"]
    assert all(found.keys() == {"seconds", "anonymous_mb", "file_mb"} for found in result["first_batch"].values())
