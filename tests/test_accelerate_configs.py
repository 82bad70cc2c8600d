"""Does each config start as many processes as it says, with the model spread over them as it says?"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "accelerate_configs").glob("*.yaml"))

TWO = ["--num_processes", "2"]

# `rows` are those that a process holds of a weight of six: at rest, between forward and backward pass, of its gradient.
REPORT = """
import json, sys
import torch
from torch import nn
from engine.run.runtime import make_accelerator, program
from engine.train.sharding import parallel

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6)])

    def forward(self, x):
        return self.layers[0](x).square().mean()

def rows(tensor):
    return len(tensor.to_local() if hasattr(tensor, "to_local") else tensor)

@program
def main(argv):
    accelerator = make_accelerator(0)
    net = parallel(Net(), accelerator)
    loss = net(torch.ones(2, 6))
    before_backward = rows(next(net.parameters()))
    loss.backward()
    weight = next(net.parameters())
    found = {
        "rank": accelerator.process_index,
        "processes": accelerator.num_processes,
        "kind": type(net).__name__,
        "rows": [rows(weight), before_backward, rows(weight.grad)],
        "precision": accelerator.mixed_precision,
    }
    sys.stdout.write("\\n" + json.dumps(found) + "\\n")

main()
"""


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def started(tmp_path: Path, config: str, *options: str, **environment: str) -> subprocess.Popen:
    program = tmp_path / "report.py"
    program.write_text(REPORT)
    command = ["-m", "accelerate.commands.launch", "--config_file", str(ROOT / "accelerate_configs" / config), *options]
    return subprocess.Popen(
        [sys.executable, *command, str(program)],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def reports(*processes: subprocess.Popen) -> list[dict]:
    """What each process reported, by rank."""
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(said)
    lines = [line for text in said for line in text.splitlines() if line.startswith("{")]
    return sorted(map(json.loads, lines), key=lambda report: report["rank"])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_head_of_a_config_says_how_it_is_launched(path):
    head = path.read_text().split("compute_environment")[0]
    assert f"accelerate launch --config_file accelerate_configs/{path.name} " in head
    assert all(line.startswith("#") for line in head.splitlines())


@pytest.mark.parametrize(
    ("config", "options", "expected"),
    [
        pytest.param("cpu.yaml", [], {"processes": 1, "kind": "Net", "precision": "no"}, marks=pytest.mark.slow),
        ("cpu_2.yaml", [], {"processes": 2, "kind": "DistributedDataParallel"}),
        pytest.param("one_gpu.yaml", [], {"processes": 1, "kind": "Net", "precision": "bf16"}, marks=pytest.mark.slow),
        pytest.param(
            "multi_gpu.yaml",
            TWO,
            {"processes": 2, "kind": "DistributedDataParallel", "precision": "bf16"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "fsdp2.yaml",
            [*TWO, "--mixed_precision", "no"],
            {"processes": 2, "kind": "FSDPNet", "rows": [3, 3, 3]},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "zero2.yaml",
            TWO,
            {"processes": 2, "kind": "FSDPNet", "rows": [3, 6, 3], "precision": "bf16"},
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_config_starts_what_it_says(tmp_path, config, options, expected):
    ports = ("--main_process_port", free_port()) if expected["processes"] > 1 else ()
    found = reports(started(tmp_path, config, *options, *ports))
    assert [report["rank"] for report in found] == list(range(expected["processes"]))
    for report in found:
        assert report.items() >= ({"rows": [6, 6, 6]} | expected).items()


@pytest.mark.slow
def test_two_machines_speak_to_each_other(tmp_path):
    shared = ("--num_processes", "2", "--main_process_ip", "127.0.0.1", "--main_process_port", free_port())
    machines = [started(tmp_path, "multi_node.yaml", "--machine_rank", number, *shared) for number in "01"]
    found = reports(*machines)
    assert [(report["rank"], report["processes"]) for report in found] == [(0, 2), (1, 2)]
    assert {report["kind"] for report in found} == {"DistributedDataParallel"}
