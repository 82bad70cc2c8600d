"""Is the best checkpoint kept, whenever training is stopped?  Evaluation during training, early stopping, a part of
the rows, and class weights."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from torch import nn

from engine.train.batch import Batch
from engine.train.window import PACE
from finetune.run import main
from finetune.table.__main__ import main as print_table
from finetune.tasks.task import find_task
from tests.shards import SHARDS

BEST = {"eval_steps": 5, "load_best_model_at_end": True, "num_train_epochs": 4, "logging_steps": 5}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # each process draws its own


def job(folder, task="glue-rte"):
    return folder / "runs/small" / task / "seed-0"


def lines(folder):
    """What metrics.jsonl says, but for the speed."""
    read = [json.loads(line) for line in (job(folder) / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.endswith(PACE)} for line in read]


def curve(folder):
    """The headline on dev, by step."""
    return {line["step"]: line["eval_dev_accuracy"] for line in lines(folder) if "eval_dev_accuracy" in line}


def finished(folder):
    return json.loads((job(folder) / "finished.json").read_text())


def weights(folder):
    return (job(folder) / "model/model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def best(tmp_path_factory, launch, write_finetune_recipe):
    """A job whose model is the best of eight evaluations, and not the last."""
    folder = tmp_path_factory.mktemp("best")
    write_finetune_recipe(folder, plan=BEST)
    ended = launch(folder, "recipe.yaml")
    assert ended.status == 0, ended.said
    return folder


@pytest.fixture(scope="module")
def last(tmp_path_factory, launch, write_finetune_recipe):
    """The same job without evaluations during training."""
    folder = tmp_path_factory.mktemp("last")
    write_finetune_recipe(folder, plan={"num_train_epochs": 4, "logging_steps": 5})
    assert launch(folder, "recipe.yaml").status == 0
    return folder


class TestBest:
    def test_the_model_is_that_of_the_best_step(self, best):
        scores, line = curve(best), finished(best)
        assert list(scores) == [5, 10, 15, 20, 25, 30, 35, 40]
        first_of_best = max(scores, key=scores.get)
        assert line["best"]["step"] == first_of_best != 40, "the test needs a best step that is not the last"
        assert line["metrics"]["dev"]["accuracy"] == pytest.approx(scores[first_of_best], abs=1e-6)
        assert line["best"] | {"step": 0} == {
            "step": 0, "metric": "accuracy", "value": line["headline"]["value"], "evaluations": 8,
        }  # fmt: skip
        assert not (job(best) / "best").exists()

    @pytest.mark.slow
    def test_to_look_changes_nothing(self, best, last, tmp_path, launch, write_finetune_recipe):
        """Evaluations leave the training as it is; a training that ends at the best step gives the same model."""
        losses = [[line["loss"] for line in lines(folder) if "loss" in line] for folder in (best, last)]
        assert losses[0] == losses[1]
        write_finetune_recipe(tmp_path, plan={**BEST, "load_best_model_at_end": False})
        assert launch(tmp_path, "recipe.yaml").status == 0
        assert weights(tmp_path) == weights(last) != weights(best)
        assert finished(tmp_path)["metrics"] == finished(last)["metrics"]
        assert "best" not in finished(tmp_path)

    def test_table_report_and_card_say_so(self, best, launch_program):
        step = finished(best)["best"]["step"]
        table = launch_program(print_table, best, "runs/small").said
        assert "†‡ |" in table
        assert "‡ Of the best checkpoint of the training, chosen on dev rows: glue/rte, the best of 8" in table
        report = (job(best) / "report.html").read_text()
        assert f"The model is that of step {step}, the best of 8 by accuracy." in report
        assert 'aria-label="dev accuracy, by step"' in report
        card = (job(best) / "model/README.md").read_text()
        assert f"step {step}, the best of 8 by accuracy" in card
        score, majority = (finished(best)[name]["dev"]["accuracy"] for name in ("metrics", "majority"))
        assert f"| glue/rte | dev | accuracy | {score:.4g} | {majority:.4g} |\n" in card
        assert "language:\n- en\n" in card

    @pytest.mark.parametrize(
        ("sign", "saved", "moment"),
        [
            (signal.SIGTERM, 0, "metrics.jsonl"),
            pytest.param(signal.SIGKILL, 4, "best/step-{}", marks=pytest.mark.slow),
            pytest.param(signal.SIGKILL, 0, "best/step-{}", marks=pytest.mark.slow),
            pytest.param(signal.SIGKILL, 4, "model", marks=pytest.mark.slow),
        ],
        ids=["stopped", "killed after a better one than the state's", "killed without a state", "killed at the end"],
    )
    def test_stopped_at_any_moment_it_ends_with_the_same(
        self, best, tmp_path, launch, write_finetune_recipe, sign, saved, moment
    ):
        write_finetune_recipe(tmp_path, plan={**BEST, "save_steps": saved})
        sent, sign_of_it = [], job(tmp_path) / moment.format(finished(best)["best"]["step"])

        def stop(pid):
            if not sent and sign_of_it.exists():
                sent.append(os.kill(pid, sign))

        assert launch(tmp_path, "recipe.yaml", watch=stop).status == (3 if sign == signal.SIGTERM else -sign)
        ended = launch(tmp_path, "recipe.yaml")
        assert ended.status == 0, ended.said
        assert weights(tmp_path) == weights(best)
        assert lines(tmp_path) == lines(best)
        assert [finished(tmp_path)[name] for name in ("best", "metrics", "steps")] == [
            finished(best)[name] for name in ("best", "metrics", "steps")
        ]

    @pytest.mark.slow
    def test_a_best_model_that_is_gone_is_missed_and_the_advice_helps(
        self, best, tmp_path, launch, write_finetune_recipe
    ):
        write_finetune_recipe(tmp_path, plan=BEST)
        sent = []

        def stop(pid):
            if not sent and list((job(tmp_path) / "best").glob("step-*")):
                sent.append(os.kill(pid, signal.SIGTERM))

        assert launch(tmp_path, "recipe.yaml", watch=stop).status == 3
        (there,) = (job(tmp_path) / "best").glob("step-*")
        there.rename(tmp_path / "elsewhere")
        ended = launch(tmp_path, "recipe.yaml")
        assert ended.status == 2
        assert "the best model so far, is gone; restore it, or delete" in ended.said.splitlines()[-1]
        (job(tmp_path) / "state").rename(tmp_path / "states")
        assert launch(tmp_path, "recipe.yaml").status == 0
        assert weights(tmp_path) == weights(best)

    @pytest.mark.slow
    def test_two_processes_choose_the_same(self, tmp_path, launch, launch_together, write_finetune_recipe):
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            write_finetune_recipe(tmp_path / name, plan=BEST, config=NO_DROPOUT)
        assert launch(tmp_path / "one", "recipe.yaml").status == 0
        for ended in launch_together(main, tmp_path / "two", "recipe.yaml"):
            assert ended.status == 0, ended.said
        one, two = finished(tmp_path / "one"), finished(tmp_path / "two")
        assert (one["processes"], two["processes"]) == (1, 2)
        assert one["best"] == two["best"]
        assert one["metrics"] == two["metrics"]
        alone, together = (load_file(job(tmp_path / name) / "model/model.safetensors") for name in ("one", "two"))
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, rtol=0, atol=1e-4)


def test_in_shards_it_is_refused(tmp_path, launch_together, write_finetune_recipe):
    write_finetune_recipe(tmp_path, plan=BEST)
    for ended in launch_together(main, tmp_path, "recipe.yaml", **SHARDS):
        assert ended.status == 2, ended.said
    assert "a model in shards is not evaluated during fine-tuning; set it to 0" in (tmp_path / "log-0.txt").read_text()


class TestEarlyStopping:
    def test_training_ends_when_nothing_gets_better(self, tmp_path, launch, write_finetune_recipe):
        write_finetune_recipe(tmp_path, plan={**BEST, "early_stopping_patience": 1, "eval_steps": 10})
        ended = launch(
            tmp_path,
            "recipe.yaml",
            "--plan.num_train_epochs",
            "8",
            "--schedule.lr_scheduler_type",
            "constant_with_warmup",
        )
        assert ended.status == 0, ended.said
        scores, line = curve(tmp_path), finished(tmp_path)
        better = [n for n in scores if n > 10 and scores[n] > max(v for m, v in scores.items() if m < n)]
        assert line["steps"] == max(scores) < 80
        assert line["best"]["step"] == max(better, default=10) == line["steps"] - 10
        assert line["passes"] == line["steps"] / 10
        assert f"stopped early, at step {line['steps']} of 80" in ended.said


@pytest.mark.slow
class TestPartOfTheRows:
    def test_a_try_out_is_marked(self, tmp_path, launch, write_finetune_recipe):
        write_finetune_recipe(tmp_path, plan={"num_train_epochs": 1}, seeds=[0, 1])
        ended = launch(tmp_path, "recipe.yaml", "--max_train_samples", "48")
        assert ended.status == 0, ended.said
        line = finished(tmp_path)
        assert (line["sizes"]["train"], line["drawn_from"], line["steps"]) == (48, 160, 3)
        assert "† Trained on a part: glue/rte on 48 of 2,490 rows" in ended.said
        reports = [(job(tmp_path).with_name(f"seed-{seed}") / "data_report.md").read_text() for seed in (0, 1)]
        assert reports[0] == reports[1]
        assert "48" in reports[0]

    def test_of_own_rows_too(self, tmp_path, launch, write_finetune_recipe):
        rows = "".join(f"{'good' if n % 3 else 'bad'} thing {n},{n % 3 > 0}\n" for n in range(120))
        (tmp_path / "train.csv").write_text("text,label\n" + rows)
        data = {"source": "folder", "path": str(tmp_path), "files": {"train": "train.csv"}, "hold_out": 0.2}
        data["columns"] = {"text": "text", "label": "label"}
        write_finetune_recipe(tmp_path, plan={"num_train_epochs": 1}, task=["own/classification"], data=data)
        ended = launch(tmp_path, "recipe.yaml", "--max_train_samples", "30")
        assert ended.status == 0, ended.said
        there = finished_of(tmp_path, "own-classification")["drawn_from"]
        assert (
            f"own/classification on 30 of {there} rows and what is left, 20% of the file being held out" in ended.said
        )


def finished_of(folder, task):
    return json.loads((job(folder, task) / "finished.json").read_text())


class TestClassWeights:
    def test_rows_of_a_rare_label_count_as_much_as_all_others(self):
        task = find_task("glue/rte")
        train = Dataset.from_dict({"label": [0] * 6 + [1] * 2})
        weighed = task.question.weigh_labels(task, train)
        logits = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
        each = nn.functional.cross_entropy(logits, torch.tensor(train["label"][:]), reduction="none")

        class Fixed(nn.Module):
            def forward(self, **x):
                return type("Output", (), {"logits": logits})

        batch = Batch({}, {"label": torch.tensor(train["label"][:])}, {"loss": 8}, (1,) * 8, 8)
        by_label = 4 * each[:6].mean() + 4 * each[6:].mean()
        torch.testing.assert_close(weighed.loss(Fixed(), batch)["loss"], by_label)
        torch.testing.assert_close(task.question.loss(Fixed(), batch)["loss"], each.sum())
        assert np.isclose(weighed.weights[torch.tensor(train["label"][:])].mean(), 1)

    @pytest.mark.slow
    def test_it_is_trained_so(self, last, tmp_path, launch, write_finetune_recipe):
        write_finetune_recipe(tmp_path, plan={"num_train_epochs": 4, "logging_steps": 5}, class_weight="balanced")
        assert launch(tmp_path, "recipe.yaml").status == 0
        assert finished(tmp_path)["hyperparameters"]["class_weight"] == "balanced"
        assert "class_weight" not in finished(last)["hyperparameters"]
        assert weights(tmp_path) != weights(last)

    @pytest.mark.slow
    def test_a_task_without_labels_is_refused_before_any_training(self, tmp_path, launch, write_finetune_recipe):
        write_finetune_recipe(
            tmp_path, task=["glue/rte", "glue/stsb"], class_weight="balanced", plan={"num_train_epochs": 1}
        )
        ended = launch(tmp_path, "recipe.yaml")
        assert ended.status == 2
        assert "class_weight: balanced is for tasks with one label a row, and glue/stsb has none" in ended.said
        assert not job(tmp_path).exists()
        advised = {"settings": {"glue/rte": {"class_weight": "balanced"}}, "class_weight": "equal"}
        write_finetune_recipe(tmp_path, task=["glue/rte", "glue/stsb"], plan={"num_train_epochs": 1}, **advised)
        assert launch(tmp_path, "recipe.yaml").status == 0


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        ({"load_best_model_at_end": True}, "there is only the last: say eval_steps too"),
        ({"eval_steps": 5, "early_stopping_patience": 2}, "early_stopping_patience is about the best model: say load_"),
        ({"metric_for_best_model": "accuracy"}, "metric_for_best_model is about the best model: say load_best"),
        ({**BEST, "metric_for_best_model": "f1"}, "'f1', which is no score of glue/rte; choose one of accuracy"),
        ({"eval_steps": -1}, "eval_steps is -1; it must be 0 or more"),
        ({"greater_is_better": True}, "more is better: leave it out"),
        ({"patience": 2}, "say 'early_stopping_patience' instead"),
    ],
)
def test_what_would_do_nothing_is_refused(tmp_path, launch, write_finetune_recipe, plan, complaint):
    write_finetune_recipe(tmp_path, plan=plan)
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 2
    assert complaint in ended.said.splitlines()[-1]


def test_a_size_is_no_grid(tmp_path, launch, write_finetune_recipe):
    write_finetune_recipe(tmp_path, grid={"max_train_samples": [10, 20]})
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 2
    assert "grid: max_train_samples is not a setting of the training" in ended.said
