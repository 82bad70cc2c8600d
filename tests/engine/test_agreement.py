"""Are processes that do not mean the same experiment refused before anything is trained?"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import engine.run.agreement
import engine.run.checkpoint
from engine.run.checkpoint import Run
from pretrain.run import main as pretrain

STEPS = {"max_steps": 2, "eval_steps": 0}


def differing(program: Callable[[], None], *argv: str, act: Callable[[], object] = lambda: None, **environment: str):
    """`program`, but its second process differs: by its command line, environment, or what `act` changes."""

    def told_otherwise() -> None:
        if os.environ["RANK"] == "1":
            sys.argv += argv
            os.environ.update(environment)
            act()
        program()

    told_otherwise.__module__ = program.__module__
    return told_otherwise


def assert_refused(ended, folder: Path, *complaints: str) -> None:
    """Both say the same one line, and nothing is trained."""
    assert [one.status for one in ended] == [2, 2], "\n".join(one.said for one in ended)
    first, second = (one.said.splitlines()[-1] for one in ended)
    assert first == second
    assert first.startswith("error: the processes do not agree, so nothing is trained: ")
    assert ended[0].said.startswith("2 process(es)")
    for complaint in complaints:
        assert complaint in first
    for name in ("metrics.jsonl", "model", "state", "finished.json"):
        assert not list((folder / "runs").rglob(name))


class TestPretraining:
    @pytest.mark.parametrize(
        ("argv", "complaint"),
        [
            (["--optimizer.learning_rate", "0.5"], "optimizer.learning_rate is 0.001 on process 0, 0.5 on process 1"),
            (["--seed", "7"], "seed is 0 on process 0, 7 on process 1"),
            (
                ["--plan.per-device-train-batch-size", "4"],
                "plan.per_device_train_batch_size is 16 on process 0, 4 on process 1",
            ),
            (["--corpus.held-out", "0.2"], "corpus.held_out is 0.15 on process 0, 0.2 on process 1"),
            (["--name", "other"], "name is small on process 0, other on process 1"),
        ],
    )
    def test_another_recipe(self, tmp_path, write_recipe, launch_together, argv, complaint):
        write_recipe(tmp_path, plan=STEPS)
        began = time.monotonic()
        assert_refused(launch_together(differing(pretrain, *argv), tmp_path, "recipe.yaml"), tmp_path, complaint)
        assert time.monotonic() - began < 30

    @pytest.mark.parametrize("mode", ["store", "stream"])
    def test_other_text_in_the_same_place(self, tmp_path, corpus, write_recipe, launch_together, mode):
        for name in ("one", "two"):
            shutil.copytree(corpus, tmp_path / name / "corpus")
        (tmp_path / "two/corpus/07.txt").write_text("Changed since.")
        sources = [{"kind": "text", "path": "corpus"}]
        write_recipe(tmp_path, plan=STEPS, corpus={"sources": sources, "mode": mode})
        program = differing(pretrain, CLOZE_DATA=str(tmp_path / "two"))
        ended = launch_together(program, tmp_path, "recipe.yaml", CLOZE_DATA=str(tmp_path / "one"))
        assert_refused(ended, tmp_path, "corpus")
        assert not list(tmp_path.glob("runs/stores/*/train"))

    def test_another_tokenizer_in_the_same_place(self, tmp_path, tokenizer_folder, write_recipe, launch_together):
        for name in ("one", "two"):
            shutil.copytree(tokenizer_folder, tmp_path / name / "tok")
        path = tmp_path / "two/tok/tokenizer.json"
        content = json.loads(path.read_text())
        words = content["model"]["vocab"]
        words["a"], words["b"] = words["b"], words["a"]
        path.write_text(json.dumps(content))
        write_recipe(tmp_path, plan=STEPS, tokenizer="tok")
        program = differing(pretrain, CLOZE_DATA=str(tmp_path / "two"))
        ended = launch_together(program, tmp_path, "recipe.yaml", CLOZE_DATA=str(tmp_path / "one"))
        assert_refused(ended, tmp_path, "tokenizer is ")

    def test_another_version_or_other_code(self, tmp_path, write_recipe, launch_together):
        write_recipe(tmp_path, plan=STEPS)
        here = engine.run.agreement.version

        def act():
            engine.run.agreement.version = lambda name: "1.2.3" if name == "torch" else here(name)
            engine.run.agreement.CODE = ("engine",)

        ended = launch_together(differing(pretrain, act=act), tmp_path, "recipe.yaml")
        assert_refused(ended, tmp_path, "packages.torch is ", "1.2.3 on process 1", "code is ")

    def test_another_precision(self, tmp_path, write_recipe, launch_together):
        write_recipe(tmp_path, plan=STEPS)
        program = differing(pretrain, ACCELERATE_MIXED_PRECISION="bf16")
        ended = launch_together(program, tmp_path, "recipe.yaml")
        assert_refused(ended, tmp_path, "launcher.mixed_precision is not there on process 0, bf16 on process 1")

    @pytest.mark.slow
    def test_another_state_to_go_on_from(self, tmp_path, write_recipe, launch_together):
        """A second machine's own disk may hold what an earlier run left there."""
        write_recipe(tmp_path, plan={**STEPS, "max_steps": 4, "save_steps": 1})
        assert [one.status for one in launch_together(stopping, tmp_path, "recipe.yaml")] == [1, 1]
        (state,) = sorted((tmp_path / "runs/small/state").iterdir())[-1:]

        def act():
            engine.run.checkpoint.sha256 = lambda path: "another"

        ended = launch_together(differing(pretrain, act=act), tmp_path, "recipe.yaml")
        assert [one.status for one in ended] == [2, 2]
        assert f"{state.name} is " in ended[0].said.splitlines()[-1]
        assert "another on process 1" in ended[1].said.splitlines()[-1]


def stopping() -> None:
    """`pretrain.run`, but it ends with the second save."""
    save = Run.save_state

    def stop(self, position, *rest):
        save(self, position, *rest)
        if position.step == 2:
            raise KeyError("enough")

    Run.save_state = stop  # type: ignore[method-assign]
    pretrain()


stopping.__module__ = pretrain.__module__
