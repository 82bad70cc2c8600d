"""How does a program end before it has begun?"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.kills import processes_after

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "accelerate_configs"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}


@pytest.mark.parametrize(
    "program", ["pretrain.run", "finetune.predict", "tokenizer.train", "engine.push", "demo", "cloze pretrain"]
)
def test_ctrl_c_while_a_program_starts_is_answered_in_one_line(program, tmp_path):
    started = subprocess.Popen(
        [sys.executable, "-m", *program.split()], cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not imports_libraries(started.pid):
        assert started.poll() is None
        time.sleep(0.01)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert (started.returncode, said) == (130, "stopped before it began\n")


def imports_libraries(pid: int) -> bool:
    """Whether libraries are being loaded: our first import is behind the process then."""
    return any(name in Path(f"/proc/{pid}/maps").read_text() for name in ("libtorch", "numpy", "yaml"))


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells of a parent's death on Linux only")
def test_a_process_whose_launcher_is_dead_already_ends_at_once(tmp_path):
    """What torch's launcher leaves when it is killed before its processes have asked for the signal."""
    orphan = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9",
              "TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_USE_AGENT_STORE": "True"}  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-m", "pretrain.run", "recipe.yaml"], cwd=tmp_path, env={**ENVIRONMENT, **orphan},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 4
    assert (
        ended.stderr == "error: the launcher of this process died before training began; the same command begins anew\n"
    )


TORCHRUN = ["torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
ACCELERATE = ["accelerate.commands.launch", "--config_file"]
LAUNCHERS = {
    "torchrun": (TORCHRUN, 2),
    "accelerate of two": ([*ACCELERATE, str(CONFIGS / "cpu_2.yaml"), "--main_process_port", "0"], 2),
    "accelerate of one": ([*ACCELERATE, str(CONFIGS / "cpu.yaml")], 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_that_is_killed_in_its_first_second_leaves_no_process(tmp_path, launcher):
    """Its first second, and the first one of the processes that it starts, in turn."""
    command, processes = LAUNCHERS[launcher]
    for number in range(12):
        folder, has_begun = tmp_path / str(number), number % 2
        folder.mkdir()
        launching = subprocess.Popen(
            [sys.executable, "-m", *command, "-m", "pretrain.run", "none.yaml"], cwd=folder, env=ENVIRONMENT,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while has_begun and len(psutil.Process(launching.pid).children()) < processes:
            assert launching.poll() is None
            time.sleep(0.01)
        time.sleep(number / 12)
        launching.kill()
        launching.wait()
        left = processes_after(folder, 30)
        for one in left:
            one.kill()
        assert not left
    print(f"{launcher} killed 12 times, no process was left")
