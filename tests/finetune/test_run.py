"""Do labelled files and a model folder become scores: learnt, the same each time, once, and opened by transformers?"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import pipeline

from finetune.results import read_all
from finetune.table import main as print_table

CONFIGS = Path(__file__).parents[2] / "accelerate_configs"
ALL = ["glue/cola", "glue/rte", "glue/stsb", "glue/mnli", "squad/v1.1", "conll2003"]
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # each process draws its own
ONE_PASS = {"epochs": 1}


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def results(folder, name="small"):
    return {line["task"]: line for line in lines(folder / f"runs/{name}/results.jsonl")}


def job(folder, task, name="small"):
    return folder / "runs" / name / task.replace("/", "-") / "seed-0"


def curve(folder, task):
    """All reports of a job, but for the speed."""
    reports = lines(job(folder, task) / "metrics.jsonl")
    return [{name: value for name, value in report.items() if name != "tokens_per_second"} for report in reports]


def what_is_there(folder):
    return {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, launch, write_finetune_recipe):
    """A folder where every kind of task was learnt."""
    folder = tmp_path_factory.mktemp("trained")
    write_finetune_recipe(folder, task=ALL, predict_test=True)
    ended = launch(folder, "recipe.yaml")
    assert ended.status == 0, ended.said
    return folder


@pytest.fixture
def copied(trained, tmp_path):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


class TestScores:
    @pytest.mark.parametrize("task", ALL)
    def test_one_word_that_decides_is_learnt(self, trained, task):
        line = results(trained)[task]
        headline = line["headline"]["name"]
        for split, metrics in line["metrics"].items():
            assert metrics[headline] > 0.85 > line["majority"][split][headline] + 0.2, split
        assert line["headline"]["value"] == next(iter(line["metrics"].values()))[headline]

    def test_a_line_says_what_it_took(self, trained, labelled):
        line = results(trained)["glue/mnli"]
        assert line["sizes"] == {"train": 160, "dev_matched": 37, "dev_mismatched": 23}
        assert (line["label"], line["init"], line["seed"]) == ("tiny", "pretrained", 0)
        assert line["hyperparameters"]["optimizer"]["lr"] == 5e-3
        assert f"dev_matched: folder {labelled / 'MNLI/dev_matched.tsv'}" in line["data"]

    def test_the_table_prints_them(self, trained, launch_program):
        assert [result.task for result in read_all([trained / "runs/small"])] == ALL
        ended = launch_program(print_table, trained, "runs/small")
        assert ended.status == 0
        glue, others = [[cell.strip() for cell in row.split("|")] for row in ended.said.splitlines() if "tiny" in row]
        assert "100.0/100.0" in glue  # MNLI
        assert "100.0" in others  # SQuAD, CoNLL

    def test_a_test_row_is_answered_by_its_id(self, trained, labelled):
        """The files' test labels are left out; the words that decide them are still there."""
        for task, split, words in (
            ("glue/mnli", "glue-mnli-test_matched", {"so": "entailment", "maybe": "neutral", "never": "contradiction"}),
            ("glue/mnli", "glue-ax-test", {"so": "entailment", "maybe": "neutral", "never": "contradiction"}),
            ("glue/rte", "glue-rte-test", {"yes": "entailment", "no": "not_entailment"}),
        ):
            file = {"glue-ax-test": "AX/diagnostic", "glue-rte-test": "RTE/test"}.get(split, "MNLI/test_matched")
            texts = (labelled / f"{file}.tsv").read_text().splitlines()[1:]
            right = [next(label for word, label in words.items() if word in text.split()) for text in texts]
            found = lines(job(trained, task) / f"{split}.jsonl")
            assert [answer["id"] for answer in found] == [str(number) for number in range(11)]
            assert [answer["prediction"] for answer in found] == right, split
        tags = lines(job(trained, "conll2003") / "conll2003-test.jsonl")
        assert {tag for answer in tags for tag in answer["prediction"]} == {"O", "B-PER", "B-LOC", "B-ORG"}
        scores = lines(job(trained, "glue/stsb") / "glue-stsb-test.jsonl")
        assert all(isinstance(answer["prediction"], float) for answer in scores)


class TestAgain:
    def test_finished_jobs_are_left_alone(self, trained, launch):
        before = what_is_there(trained)
        assert launch(trained, "recipe.yaml").status == 0
        assert what_is_there(trained) == before

    def test_seeds_and_tasks_may_be_added(self, copied, launch):
        path = copied / "runs/small/results.jsonl"
        before = path.read_text()
        ended = launch(copied, "recipe.yaml", "--task", "glue/rte", "glue/cola", "--seeds", "0", "1")
        assert ended.status == 0, ended.said
        assert path.read_text().startswith(before)
        added = lines(path)[len(ALL) :]
        assert [(line["task"], line["seed"]) for line in added] == [("glue/rte", 1), ("glue/cola", 1)]
        assert (copied / "runs/small/glue-rte/seed-1/model").is_dir()

    def test_another_rate_needs_another_name(self, trained, launch):
        before = what_is_there(trained)
        ended = launch(trained, "recipe.yaml", "--optimizer.lr", "0.5")
        assert ended.status == 2
        assert "optimizer.lr: 0.005 there, 0.5 here" in ended.said.splitlines()[-1]
        assert what_is_there(trained) == before

    def test_the_seed_decides_everything(self, trained, copied, launch):
        """Another run, process and order of tasks; then other weights to begin with."""
        ended = launch(copied, "recipe.yaml", "--name", "again", "--task", "conll2003", "glue/cola")
        assert ended.status == 0, ended.said
        for task in ("conll2003", "glue/cola"):
            assert results(copied, "again")[task]["metrics"] == results(trained)[task]["metrics"]
            again, first = (load_file(job(copied, task, name) / "model/model.safetensors") for name in ("again", "small"))
            assert all(again[name].equal(first[name]) for name in first)
        ended = launch(copied, "recipe.yaml", "--name", "random", "--task", "glue/cola", "--init", "random")
        assert ended.status == 0, ended.said
        assert "starting random: all" in ended.said
        assert results(copied, "random")["glue/cola"]["init"] == "random"
        fresh = load_file(job(copied, "glue/cola", "random") / "model/model.safetensors")
        assert not any(fresh[name].equal(first[name]) for name in first if name.endswith("dense.weight"))

    def test_stopped_by_a_signal_the_same_command_goes_on(self, trained, tmp_path, launch, write_finetune_recipe):
        """In the third of six passes, with dropout: the rest is as if nothing had happened."""
        write_finetune_recipe(tmp_path)
        reports, sent = job(tmp_path, "glue/rte") / "metrics.jsonl", []

        def stop(pid):
            if not sent and reports.exists() and any(line["step"] >= 24 for line in lines(reports)):
                sent.append(os.kill(pid, signal.SIGTERM))

        ended = launch(tmp_path, "recipe.yaml", watch=stop)
        assert ended.status == 3, ended.said
        assert "state saved; the same command goes on from here" in ended.said.splitlines()[-1]
        assert not (tmp_path / "runs/small/results.jsonl").exists()
        ended = launch(tmp_path, "recipe.yaml")
        assert ended.status == 0, ended.said
        assert "going on from step" in ended.said
        assert curve(tmp_path, "glue/rte") == curve(trained, "glue/rte")
        assert results(tmp_path)["glue/rte"]["metrics"] == results(trained)["glue/rte"]["metrics"]

    def test_a_torn_results_line_is_named(self, copied, launch):
        path = copied / "runs/small/results.jsonl"
        path.write_text(path.read_text()[:-20])
        ended = launch(copied, "recipe.yaml")
        assert ended.status == 2
        assert f"results.jsonl:{len(ALL)} is not JSON" in ended.said.splitlines()[-1]


class TestOpenedByTransformers:
    def test_a_text(self, trained):
        judge = pipeline("text-classification", str(job(trained, "glue/cola") / "model"))
        answers = judge(["the dog sat on a bad road", "it was good"])
        assert [answer["label"] for answer in answers] == ["unacceptable", "acceptable"]
        assert all(0.5 < answer["score"] <= 1 for answer in answers)

    def test_a_score(self, trained):
        judge = pipeline("text-classification", str(job(trained, "glue/stsb") / "model"))
        low, high = judge([{"text": "the dog sat", "text_pair": f"the {word} cat ran"} for word in ("low", "high")])
        assert low["label"] == "score"
        assert low["score"] + 1 < high["score"]

    def test_words(self, trained):
        find = pipeline("token-classification", str(job(trained, "conll2003") / "model"), aggregation_strategy="simple")
        found = [(entity["entity_group"], entity["word"]) for entity in find("the dog and anna sat near rome")]
        assert found == [("PER", "anna"), ("LOC", "rome")]

    def test_a_question(self, trained):
        ask = pipeline("question-answering", str(job(trained, "squad/v1.1") / "model"))
        assert ask(question="where is the dog?", context="it was old and red in oslo under the tree.")["answer"] == "oslo"

    def test_a_fine_tuned_model_is_fine_tuned_again(self, trained, tmp_path, launch, write_finetune_recipe):
        """What MNLI taught the encoder goes on; its head had other labels."""
        write_finetune_recipe(tmp_path, model=str(job(trained, "glue/mnli") / "model") + "/", label="", plan=ONE_PASS)
        ended = launch(tmp_path, "recipe.yaml")
        assert ended.status == 0, ended.said
        assert "starting random: classifier.bias, classifier.weight" in ended.said
        assert results(tmp_path)["glue/rte"]["label"] == "seed-0"


def test_a_gpt_is_fine_tuned_and_opened(tmp_path, launch, write_finetune_recipe, small_gpt):
    """It has neither padding nor special tokens of its own; what was learnt is what the pipeline says."""
    tasks = ["glue/rte", "glue/cola"]
    write_finetune_recipe(tmp_path, model=str(small_gpt), task=tasks, max_length=120, predict_test=True)
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    assert results(tmp_path)["glue/cola"]["headline"]["value"] > 0.8
    rows = (Path(results_data(tmp_path)) / "RTE/test.tsv").read_text().splitlines()[1:]
    pairs = [dict(zip(("text", "text_pair"), row.split("\t")[1:], strict=True)) for row in rows]
    judge = pipeline("text-classification", str(job(tmp_path, "glue/rte") / "model"))
    found = lines(job(tmp_path, "glue/rte") / "glue-rte-test.jsonl")
    assert [answer["label"] for answer in judge(pairs, batch_size=4)] == [answer["prediction"] for answer in found]
