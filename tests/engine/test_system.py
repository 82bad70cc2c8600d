"""Do training and the other programs run where Unix's modules are missing, as on Windows, or Linux's, as on macOS?"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ELSEWHERE = """
import builtins
import multiprocessing
import os

real = builtins.__import__


def import_elsewhere(name, globals=None, *rest, **more):
    importer = str((globals or {}).get("__file__", ""))
    ours = importer.startswith("ROOT/") and "site-packages" not in importer
    if name in ("fcntl", "resource") and ours:
        raise ImportError(name)  # as on Windows, for our own files
    return real(name, globals, *rest, **more)


builtins.__import__ = import_elsewhere
del os.sched_getaffinity  # as on Windows and macOS
multiprocessing.get_all_start_methods = lambda: ["spawn"]

if __name__ == "__main__":
    import cloze
    import cloze.command
    from engine.run import runtime, system

    assert system.fcntl is None
    runtime.STATUS = runtime.Path("nowhere")  # no /proc
    assert 10 < runtime.peak_rss_mb() < 100_000
    for command in cloze.command.COMMANDS:
        if command.exists:
            cloze.command.importlib.import_module(command.module)
    print(cloze.pretrain(cloze.load_recipe("recipe.yaml", {"corpus.stores": "stores"})))
"""


@pytest.mark.slow
def test_the_programs_import_and_train_without_what_only_unix_has(tmp_path, write_recipe):
    write_recipe(tmp_path, plan={"max_steps": 2})
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE.replace("ROOT", str(ROOT)))
    done = subprocess.run(
        [sys.executable, "elsewhere.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "runs/small/model"
