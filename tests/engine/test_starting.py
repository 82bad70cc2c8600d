"""How does a program end before it has begun?"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}


@pytest.mark.parametrize("program", ["pretrain.run", "finetune.predict", "tokenizer.train", "engine.push", "demo"])
def test_ctrl_c_while_a_program_starts_is_answered_in_one_line(program, tmp_path):
    started = subprocess.Popen(
        [sys.executable, "-m", program], cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
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
    """What torch's launcher leaves when it is killed before its processes have asked to be told."""
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


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.1 * number for number in range(10)])
def test_a_launcher_that_is_killed_in_its_first_second_leaves_no_process(tmp_path, delay):
    import psutil

    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    launcher = subprocess.Popen([*command, "-m", "pretrain.run", "none.yaml"], cwd=tmp_path, env=ENVIRONMENT)
    while len(ranks := psutil.Process(launcher.pid).children()) < 2:
        time.sleep(0.01)
    time.sleep(delay)
    launcher.kill()
    launcher.wait()
    _, alive = psutil.wait_procs(ranks, timeout=20)
    for rank in alive:
        rank.kill()
    assert len(ranks) == 2
    assert not alive
