"""Does an installed copy work anywhere, with nothing but `cloze` in site-packages?"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPAWN = """
import multiprocessing
import sys

import cloze


if __name__ == "__main__":
    from engine.train.plan import Phase
    from engine.train.schedule import Schedule

    assert Phase.__module__ == "engine.train.plan"
    print(sys.modules["engine"].__file__)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(Schedule, [0.25]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which pip has installed a copy of the checkout."""
    copy, target = tmp_path_factory.mktemp("copy") / "checkout", tmp_path_factory.mktemp("installed")
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in names.stdout.splitlines():
        if not name.startswith(("docs/", "tests/")) and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    done = subprocess.run([*pip, str(target), str(copy)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def run(installed, folder, *command):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_nothing_but_cloze_is_installed(installed):
    names = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"bin", "cloze"}
    (about,) = installed.glob("*.dist-info")
    assert (about / "top_level.txt").read_text().split() == ["cloze"]
    assert (about / "licenses/LICENSE").is_file()
    folders = {path.name for path in (installed / "cloze/folders").iterdir()}
    assert folders >= {"corpus", "engine", "finetune", "networks", "pretrain", "recipes", "tokenizer"}
    assert not folders & {"benchmarks", "demo", "docs", "tests"}


@pytest.mark.slow
def test_the_command_finds_recipes_and_trains(installed, tmp_path, write_recipe):
    command = str(installed / "bin/cloze")
    assert run(installed, tmp_path, command, "--help").startswith("usage: cloze COMMAND")
    assert "recipes/pretrain/bert-mini.yaml" in run(installed, tmp_path, command, "recipes")
    assert "bert-mini" in run(
        installed, tmp_path, command, "plan", "recipes/pretrain/bert-mini.yaml", "--hardware", "a100"
    )
    write_recipe(tmp_path, plan={"max_steps": 3, "dataloader_num_workers": 1}, corpus={"mode": "stream"})
    run(installed, tmp_path, command, "pretrain", "recipe.yaml")  # a process of its own writes the stream
    assert (tmp_path / "runs/small/model/model.safetensors").is_file()
    assert (tmp_path / "runs/small/report.html").is_file()


@pytest.mark.slow
def test_a_spawned_process_unpickles_what_is_ours(installed, tmp_path):
    (tmp_path / "script.py").write_text(SPAWN)
    file, schedules = run(installed, tmp_path, sys.executable, "script.py").splitlines()
    assert Path(file) == installed / "cloze/folders/engine/__init__.py"
    assert schedules.startswith("[Schedule(warmup_ratio=0.25")
