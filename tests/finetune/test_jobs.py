"""Is every job done once, by whomever, whatever is killed when; and does each one do what its recipe says?"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file

from engine.run.recipe import load
from finetune.jobs import list_jobs
from finetune.questions.encoding import Predictions
from finetune.recipe import FinetuneRecipe
from finetune.run import main
from finetune.tasks.task import find_task
from tests.shards import SHARDS

ROOT = Path(__file__).parents[2]
QUICK = {"num_train_epochs": 1, "global_batch_size": 16, "per_device_train_batch_size": 16}


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def results(folder):
    return lines(folder / "runs/small/results.jsonl")


@pytest.fixture
def listed(tmp_path, write_finetune_recipe):
    """The jobs of a recipe with these changes."""
    return lambda **changes: list_jobs(load(FinetuneRecipe, write_finetune_recipe(tmp_path, **changes)))


class TestWhatIsAskedFor:
    def test_every_task_seed_and_point_of_the_grid_has_a_folder(self, listed):
        found = listed(
            task=["glue/rte", "glue/cola"],
            seeds=[0, 1],
            grid={"optimizer.learning_rate": [1e-3, 2e-3], "plan.num_train_epochs": [1]},
        )
        assert len({job.folder for job in found}) == len(found) == 8
        job = found[-1]
        assert job.folder == Path("runs/small/glue-cola/learning_rate=0.002,num_train_epochs=1/seed-1")
        assert (job.recipe.optimizer.learning_rate, job.recipe.plan.num_train_epochs, job.recipe.seeds) == (
            2e-3,
            1.0,
            (1,),
        )

    def test_a_task_may_differ(self, listed):
        first, second = listed(
            task=["glue/rte", "glue/cola"], settings={"glue/cola": {"plan.num_train_epochs": 2, "max_seq_length": 32}}
        )
        assert (first.recipe.plan.num_train_epochs, first.recipe.max_seq_length) == (10, 48)
        assert (second.recipe.plan.num_train_epochs, second.recipe.max_seq_length) == (2, 32)
        assert second.folder.name == "seed-0"

    def test_what_is_started_from_comes_first(self, listed):
        found = listed(task=["glue/rte", "glue/stsb", "glue/mnli"], start_from={"glue/rte": "glue/mnli"})
        assert [job.task for job in found] == ["glue/mnli", "glue/rte", "glue/stsb"]

    @pytest.mark.parametrize(
        ("changes", "complaint"),
        [
            ({"grid": {"optimizer.epss": [1]}}, "grid: unknown key 'optimizer.epss'; did you mean 'eps'?"),
            ({"grid": {"optimiser.lr": [1]}}, "grid: unknown section 'optimiser' of 'optimiser.lr'; did you mean"),
            ({"grid": {"optimizer.learning_rate": 1e-3}}, "it takes a list of the values to try"),
            (
                {"grid": {"optimizer.learning_rate": ["fast"]}},
                "grid: optimizer.learning_rate must be one number; found 'fast'",
            ),
            ({"grid": {"plan.num_train_epochs": [0]}}, "num_train_epochs is 0.0; it must be above 0"),
            ({"grid": {"data.path": ["a"]}}, "grid: data.path is not a setting of the training"),
            ({"settings": {"glue/rta": {"max_seq_length": 9}}}, "unknown task 'glue/rta'; did you mean 'glue/rte'?"),
            ({"settings": {"glue/rte": 3}}, "it takes keys and values"),
            ({"start_from": {"glue/rte": "glue/mnli"}}, "glue/rte starts from glue/mnli, which is not among the tasks"),
            (
                {"task": ["glue/rte", "glue/mnli"], "start_from": {"glue/rte": "glue/mnli", "glue/mnli": "glue/rte"}},
                "would have to start from itself",
            ),
        ],
    )
    def test_mistakes(self, listed, changes, complaint):
        with pytest.raises(ValueError, match=r"grid|settings|start_from|task|epochs") as refused:
            listed(**changes)
        assert complaint in str(refused.value)


@pytest.fixture(scope="module")
def done(tmp_path_factory, launch, write_finetune_recipe):
    """Two settings and two seeds of MNLI, one task that starts from the best of them, and a rate that is absurd."""
    folder = tmp_path_factory.mktemp("done")
    write_finetune_recipe(
        folder, task=["glue/rte", "glue/mnli", "glue/cola"], seeds=[0, 1], plan=QUICK,
        start_from={"glue/rte": "glue/mnli"},
        settings={"glue/rte": {"optimizer.learning_rate": 1e-12}, "glue/cola": {"optimizer.learning_rate": 1e30}},
    )  # fmt: skip
    ended = launch(folder, "recipe.yaml")
    assert ended.status == 0, ended.said
    return folder, ended.said


@pytest.mark.slow
class TestWhatIsDone:
    def test_a_task_starts_from_the_best_model_of_the_other(self, done):
        folder, _ = done
        of_mnli = {line["seed"]: line for line in results(folder) if line["task"] == "glue/mnli"}
        best = max(of_mnli, key=lambda seed: of_mnli[seed]["headline"]["value"])
        begun = folder / f"runs/small/glue-mnli/seed-{best}"
        before = load_file(begun / "model/model.safetensors")
        for line in [line for line in results(folder) if line["task"] == "glue/rte"]:
            assert line["started_from"] == str(begun.relative_to(folder))
            after = load_file(folder / f"runs/small/glue-rte/seed-{line['seed']}/model/model.safetensors")
            encoder = [name for name in after if name.startswith("bert.")]
            assert len(encoder) > 20
            assert all(np.allclose(before[name], after[name], atol=1e-8) for name in encoder)

    def test_a_job_that_fails_is_recorded_and_the_others_go_on(self, done):
        folder, said = done
        failed = [line for line in results(folder) if line["task"] == "glue/cola"]
        assert [line["metrics"] for line in failed] == [{}, {}]
        assert all("finite" in line["failure"] for line in failed)
        assert all(line["headline"]["value"] is None for line in failed)
        assert "glue/cola, seed 0 failed: " in said
        assert len(results(folder)) == 6

    def test_predictions_say_what_was_answered_and_how_surely(self, done):
        folder, _ = done
        job = folder / "runs/small/glue-mnli/seed-0"
        line = next(line for line in results(folder) if (line["task"], line["seed"]) == ("glue/mnli", 0))
        for split in ("dev_matched", "dev_mismatched"):
            found = lines(job / f"glue-mnli-{split}.jsonl")
            right = sum(answer["prediction"] == answer["label"] for answer in found)
            assert right / len(found) == pytest.approx(line["metrics"][split]["accuracy"])
            assert all(1 / 3 < answer["probability"] <= 1 for answer in found)

    def test_the_table_and_the_pages_are_there(self, done):
        folder, said = done
        for name in ("table.md", "table.html", "table.json"):
            assert (folder / "runs/small" / name).stat().st_size > 100
        for name in ("data_report.md", "analysis.html"):
            assert (folder / "runs/small/glue-rte/seed-1" / name).stat().st_size > 100
        assert "| tiny" in said


def started(folder, *argv, launcher=()):
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "finetune.run", "recipe.yaml", *argv], cwd=folder, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


class TestKilled:
    @pytest.mark.slow
    def test_between_training_and_the_end_nothing_is_trained_again(self, tmp_path, write_finetune_recipe, launch):
        (tmp_path / "other").mkdir()
        write_finetune_recipe(tmp_path, plan={"num_train_epochs": 2})
        trained = tmp_path / "runs/small/glue-rte/seed-0/trained.json"
        killed = []

        def kill(pid):
            if not killed and trained.exists():
                killed.append(os.kill(pid, signal.SIGKILL))

        ended = launch(tmp_path, "recipe.yaml", watch=kill)
        if ended.status == 0:  # it was faster: what it left is what a kill would have left, but for the last line
            (trained.parent / "finished.json").unlink()
        weights = (trained.parent / "model/model.safetensors").read_bytes()
        ended = launch(tmp_path, "recipe.yaml")
        assert ended.status == 0, ended.said
        assert "glue/rte, seed 0: trained by an earlier launch" in ended.said
        assert (trained.parent / "model/model.safetensors").read_bytes() == weights
        write_finetune_recipe(tmp_path / "other", plan={"num_train_epochs": 2})
        assert launch(tmp_path / "other", "recipe.yaml").status == 0
        assert results(tmp_path)[0]["metrics"] == results(tmp_path / "other")[0]["metrics"]

    @pytest.mark.slow
    def test_in_the_middle_of_a_job_it_resumes_from_the_last_state(self, tmp_path, write_finetune_recipe, launch):
        write_finetune_recipe(tmp_path, plan={"num_train_epochs": 4, "save_steps": 5}, seeds=[0, 1])
        job = tmp_path / "runs/small/glue-rte/seed-1"
        killed = []

        def kill(pid):
            if not killed and (job / "state/step-20").exists():
                killed.append(os.kill(pid, signal.SIGKILL))

        assert launch(tmp_path, "recipe.yaml", watch=kill).status != 0
        assert [line["seed"] for line in results(tmp_path)] == [0]
        ended = launch(tmp_path, "recipe.yaml")
        assert ended.status == 0, ended.said
        assert "resuming from step" in ended.said
        assert [line["seed"] for line in results(tmp_path)] == [0, 1]


class TestShared:
    @pytest.mark.slow
    def test_two_processes_do_each_job_once(self, tmp_path, write_finetune_recipe):
        """Started by one launcher, each process works alone; a third one, started apart, finds nothing left to do."""
        write_finetune_recipe(tmp_path, plan={"num_train_epochs": 2}, seeds=[0, 1, 2, 3], share="jobs")
        launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0")
        together = started(tmp_path, launcher=launcher)
        said, _ = together.communicate(timeout=170)
        assert together.returncode == 0, said
        assert said.count("1 process(es) on") == 2, said
        found = results(tmp_path)
        assert sorted(line["seed"] for line in found) == [0, 1, 2, 3]
        assert len({line["worker"] for line in found}) == 2
        assert {line["processes"] for line in found} == {1}
        again = started(tmp_path)
        assert "start random" not in again.communicate(timeout=120)[0]

    def test_who_works_alone_keeps_the_model_whole_whatever_the_launcher_says(
        self, tmp_path, write_finetune_recipe, launch_together
    ):
        write_finetune_recipe(tmp_path, plan={"num_train_epochs": 1}, seeds=[0, 1], share="jobs")
        for ended in launch_together(main, tmp_path, "recipe.yaml", **SHARDS):
            assert ended.status == 0, ended.said
            assert "1 process(es) on" in ended.said
            assert "in shards" not in ended.said
        assert len(results(tmp_path)) == 2

    @pytest.mark.slow
    def test_a_job_at_which_another_process_is_is_left_to_it(self, tmp_path, write_finetune_recipe):
        write_finetune_recipe(tmp_path, plan={"num_train_epochs": 20}, seeds=[0], share="jobs")
        first = started(tmp_path)
        job = tmp_path / "runs/small/glue-rte/seed-0"
        while not (job / "metrics.jsonl").exists():
            assert first.poll() is None
            time.sleep(0.05)
        first.send_signal(signal.SIGSTOP)
        second = started(tmp_path)
        said, _ = second.communicate(timeout=120)
        first.send_signal(signal.SIGCONT)
        assert second.returncode == 0, said
        assert "1 jobs are with other processes" in said
        assert first.wait(timeout=120) == 0
        assert len(results(tmp_path)) == 1


class TestDegenerate:
    @pytest.mark.parametrize(
        ("task", "answers", "words"),
        [
            ("glue/rte", np.array([1, 1, 1]), "answers 'not_entailment' to every row"),
            ("glue/rte", np.array([1, 0, 1]), ""),
            ("glue/stsb", np.array([2.5, 2.5]), "answers 2.5 to every row"),
            ("conll2003", [np.array([0, 0]), np.array([0])], "answers 'O' to every word"),
            ("conll2003", [np.array([0, 1]), np.array([0])], ""),
            ("squad/v1.1", {"a": "", "b": ""}, "gives the empty answer to every question"),
        ],
    )
    def test_one_answer_to_everything_is_named(self, task, answers, words):
        assert find_task(task).question.describe_collapse(find_task(task), Predictions(answers)) == words


@pytest.mark.slow
@pytest.mark.parametrize("how", [["--mixed_precision", "bf16"], ["--share", "jobs"], []])
def test_what_says_how_may_change_from_launch_to_launch(tmp_path, write_finetune_recipe, launch, how):
    """A run that was begun with --overwrite goes on without it, and in other precision if that is said."""
    write_finetune_recipe(tmp_path, plan=QUICK)
    first = launch(tmp_path, "recipe.yaml", "--overwrite", "True", "--mixed_precision", "no")
    assert first.status == 0, first.said
    again = launch(tmp_path, "recipe.yaml", *how)
    assert again.status == 0, again.said
    assert ("precision bf16" in again.said) == ("bf16" in how)
    assert len(results(tmp_path)) == 1
    kept = yaml.safe_load((tmp_path / "runs/small/recipe.yaml").read_text())
    assert kept["mixed_precision"] == "no"


def test_another_recipe_in_a_finished_run_is_refused_and_begins_anew_if_it_is_told_to(
    tmp_path, write_finetune_recipe, launch
):
    write_finetune_recipe(tmp_path, plan=QUICK, settings={"glue/rte": {"optimizer.learning_rate": 1e-12}})
    assert launch(tmp_path, "recipe.yaml").status == 0
    write_finetune_recipe(tmp_path, plan=QUICK, settings={"glue/rte": {"optimizer.learning_rate": 1e-3}})
    refused = launch(tmp_path, "recipe.yaml")
    assert refused.status == 2
    assert "optimizer.learning_rate: 1e-12 there, 0.001 here" in refused.said.splitlines()[-1]
    write_finetune_recipe(tmp_path, plan=QUICK, max_seq_length=40)
    refused = launch(tmp_path, "recipe.yaml")
    assert refused.status == 2
    assert "max_seq_length: 48 there, 40 here" in refused.said
    ended = launch(tmp_path, "recipe.yaml", "--overwrite", "True")
    assert ended.status == 0, ended.said
    assert [line["hyperparameters"]["max_seq_length"] for line in results(tmp_path)] == [40]
