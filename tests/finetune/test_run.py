"""Do labelled files and a model folder become scores: learnt, the same each time, once, and opened by transformers?"""

import json
import os
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, pipeline

from engine.train.window import PACE
from finetune.table.__main__ import main as print_table
from finetune.table.results import read_all
from tests.shards import SHARDS

ALL = ["glue/cola", "glue/rte", "glue/stsb", "glue/mnli", "squad/v1.1", "conll2003"]
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # each process draws its own
ONE_PASS = {"num_train_epochs": 1}


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def results(folder, name="small"):
    return {line["task"]: line for line in lines(folder / f"runs/{name}/results.jsonl")}


def job(folder, task, name="small"):
    return folder / "runs" / name / task.replace("/", "-") / "seed-0"


def curve(folder, task):
    """All reports of a job, but for the speed."""
    reports = lines(job(folder, task) / "metrics.jsonl")
    return [{name: value for name, value in report.items() if not name.endswith(PACE)} for report in reports]


def what_is_there(folder):
    """All but what each launch makes anew from the finished jobs."""
    anew = ("results.jsonl", ".results.lock", "table.md", "table.html", "table.json", ".lock", "small")
    return {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*") if path.name not in anew}


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
        assert line["hyperparameters"]["optimizer"]["learning_rate"] == 5e-3
        assert f"dev_matched: folder {labelled / 'MNLI/dev_matched.tsv'}" in line["data"]
        assert (line["passes"], line["held_out"]) == (10.0, 0.0)
        assert line["peak_rss_of"] in ("job", "process")
        assert line["peak_rss_mb"] > 100

    def test_the_table_prints_them(self, trained, launch_program):
        assert [result.task for result in read_all([trained / "runs/small"])] == ALL
        ended = launch_program(print_table, trained, "runs/small")
        assert ended.status == 0
        rows = [row.split(" | ") for row in ended.said.splitlines() if row.startswith("| tiny")]
        glue, others = (row for row in rows if row[1] not in ALL)  # the rest say how the scores came about
        assert "100.0/100.0†" in glue  # MNLI, and a part of its rows
        assert others[1:] == ["100.0/100.0†", "100.0/100.0† |"]  # SQuAD, CoNLL (F1 and strict F1), parts too

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

    @pytest.mark.slow
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
        ended = launch(trained, "recipe.yaml", "--optimizer.learning_rate", "0.5")
        assert ended.status == 2
        assert "optimizer.learning_rate: 0.005 there, 0.5 here" in ended.said.splitlines()[-1]
        assert what_is_there(trained) == before

    @pytest.mark.slow
    def test_the_seed_decides_everything(self, trained, copied, launch):
        """Another run, process and order of tasks; then other weights to begin with."""
        ended = launch(copied, "recipe.yaml", "--name", "again", "--task", "conll2003", "glue/cola")
        assert ended.status == 0, ended.said
        for task in ("conll2003", "glue/cola"):
            assert results(copied, "again")[task]["metrics"] == results(trained)[task]["metrics"]
            again, first = (job(copied, task, name) / "model/model.safetensors" for name in ("again", "small"))
            assert again.read_bytes() == first.read_bytes()
        ended = launch(copied, "recipe.yaml", "--name", "random", "--task", "glue/cola", "--init", "random")
        assert ended.status == 0, ended.said
        assert "weights that are not pretrained and start random: all" in ended.said
        assert results(copied, "random")["glue/cola"]["init"] == "random"
        fresh = load_file(job(copied, "glue/cola", "random") / "model/model.safetensors")
        begun = load_file(job(copied, "glue/cola") / "model/model.safetensors")
        assert not any(torch.equal(fresh[name], begun[name]) for name in fresh if name.endswith("dense.weight"))

    def test_stopped_by_a_signal_the_same_command_resumes(self, trained, tmp_path, launch, write_finetune_recipe):
        """In the third of ten passes, with dropout: the rest is as if nothing had happened."""
        write_finetune_recipe(tmp_path)
        reports, sent = job(tmp_path, "glue/rte") / "metrics.jsonl", []

        def stop(pid):
            if not sent and reports.exists() and any(line["step"] >= 24 for line in lines(reports)):
                sent.append(os.kill(pid, signal.SIGTERM))

        ended = launch(tmp_path, "recipe.yaml", watch=stop)
        assert ended.status == 3, ended.said
        assert "state saved; the same command resumes from here" in ended.said.splitlines()[-1]
        assert not (tmp_path / "runs/small/results.jsonl").exists()
        ended = launch(tmp_path, "recipe.yaml")
        assert ended.status == 0, ended.said
        assert "resuming from step" in ended.said
        assert curve(tmp_path, "glue/rte") == curve(trained, "glue/rte")
        assert results(tmp_path)["glue/rte"]["metrics"] == results(trained)["glue/rte"]["metrics"]

    def test_results_that_were_torn_are_made_anew(self, copied, launch):
        path = copied / "runs/small/results.jsonl"
        before = path.read_text()
        path.write_text(before[:-20])
        ended = launch(copied, "recipe.yaml")
        assert ended.status == 0, ended.said
        assert sorted(path.read_text().splitlines()) == sorted(before.splitlines())


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

    def test_a_bare_tokenizer_cuts_nothing(self, trained):
        """`max_seq_length` was this run's; it is no property of the tokenizer that is handed on."""
        folder = job(trained, "squad/v1.1") / "model"
        assert len(Tokenizer.from_file(str(folder / "tokenizer.json")).encode("dog " * 60).ids) == 62

    def test_a_question(self, trained):
        """transformers 5 has no pipeline for it any more."""
        folder = job(trained, "squad/v1.1") / "model"
        tokenizer = AutoTokenizer.from_pretrained(folder)
        asked = tokenizer("where is the dog?", "it was old on red in oslo.", return_tensors="pt")
        with torch.inference_mode():
            answer = AutoModelForQuestionAnswering.from_pretrained(folder)(**asked)
        start = answer.start_logits.argmax()
        end = start + answer.end_logits[0, start:].argmax()
        assert tokenizer.decode(asked["input_ids"][0, start : end + 1]) == "oslo"

    def test_a_fine_tuned_model_is_fine_tuned_again(self, trained, tmp_path, launch, write_finetune_recipe):
        """What MNLI taught the encoder goes on; its head had other labels."""
        write_finetune_recipe(tmp_path, model=str(job(trained, "glue/mnli") / "model") + "/", label="", plan=ONE_PASS)
        ended = launch(tmp_path, "recipe.yaml")
        assert ended.status == 0, ended.said
        assert "weights that are not pretrained and start random: classifier.bias, classifier.weight" in ended.said
        assert results(tmp_path)["glue/rte"]["label"] == "seed-0"


@pytest.mark.slow
def test_a_gpt_is_fine_tuned_and_opened(tmp_path, launch, write_finetune_recipe, labelled, small_gpt):
    """It has neither padding nor special tokens of its own; what was judged is what the pipeline says."""
    tasks = ["glue/rte", "glue/cola", "squad/v1.1"]
    write_finetune_recipe(tmp_path, model=str(small_gpt), task=tasks, predict_test=True)
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    assert all(results(tmp_path)[task]["headline"]["value"] > 0.6 for task in tasks)
    rows = (labelled / "RTE/test.tsv").read_text().splitlines()[1:]
    pairs = [dict(zip(("text", "text_pair"), row.split("\t")[1:], strict=True)) for row in rows]
    judge = pipeline("text-classification", str(job(tmp_path, "glue/rte") / "model"))
    found = lines(job(tmp_path, "glue/rte") / "glue-rte-test.jsonl")
    assert [answer["label"] for answer in judge(pairs, batch_size=4)] == [answer["prediction"] for answer in found]


SHARED = ["glue/rte", "conll2003", "squad/v1.1"]
TOGETHER = {"task": SHARED, "config": NO_DROPOUT, "plan": {"num_train_epochs": 2}, "predict_test": True}


@pytest.fixture(scope="module")
def one(tmp_path_factory, launch, write_finetune_recipe):
    """What one process makes of a recipe."""
    folder = tmp_path_factory.mktemp("one")
    write_finetune_recipe(folder, **TOGETHER)
    ended = launch(folder, "recipe.yaml")
    assert ended.status == 0, ended.said
    return folder


@pytest.fixture(scope="module", params=[{}, SHARDS], ids=["copies", "shards"])
def one_and_two(request, one, tmp_path_factory, write_finetune_recipe, launch_together):
    """What one process and what two make of it, the model whole on each of them or in shards."""
    from finetune.run import main  # not before the environment is set

    folder = tmp_path_factory.mktemp("two")
    write_finetune_recipe(folder, **TOGETHER)
    first, other = launch_together(main, folder, "recipe.yaml", **request.param)
    assert (first.status, other.status) == (0, 0), first.said + other.said
    assert "2 process(es)" in first.said
    assert ("the model in shards" in first.said) == bool(request.param)
    return one, folder


@pytest.mark.slow
class TestTwoProcesses:
    @pytest.mark.parametrize("task", SHARED)
    def test_they_learn_and_answer_the_same(self, one_and_two, task):
        one, two = one_and_two
        for report, expected in zip(curve(two, task), curve(one, task), strict=True):
            assert report == pytest.approx(expected, rel=2e-3, abs=1e-5), report["step"]
        expected, found = results(one)[task], results(two)[task]
        for split, metrics in expected["metrics"].items():
            assert found["metrics"][split] == pytest.approx(metrics, abs=1e-4)
        assert found["sizes"] == expected["sizes"]
        assert found["majority"] == expected["majority"]

    def test_each_row_is_answered_once(self, one_and_two):
        for task, name in (("conll2003", "conll2003-test.jsonl"), ("glue/rte", "glue-rte-test.jsonl")):
            one, two = (lines(job(folder, task) / name) for folder in one_and_two)
            for left, right in zip(one, two, strict=True):
                # The last of six figures of a probability may be rounded to either side.
                assert right.pop("probability") == pytest.approx(left.pop("probability"), abs=2e-6)
                assert right == left


class TestMistakes:
    @pytest.fixture
    def refused(self, tmp_path, launch, write_finetune_recipe):
        """Return a function that says the last line of a launch that ended with status 2 before any training."""

        def run(*argv, **changes):
            write_finetune_recipe(tmp_path, **changes)
            ended = launch(tmp_path, "recipe.yaml", *argv)
            assert ended.status == 2, ended.said
            assert not list(tmp_path.rglob("results.jsonl")) + list(tmp_path.rglob("metrics.jsonl"))
            assert "Traceback" not in ended.said
            return ended.said.splitlines()[-1]

        return run

    @pytest.mark.parametrize(
        ("changes", "complaint"),
        [
            ({"task": ["glue/ax"]}, "glue/ax has no training rows: run glue/mnli with --predict_test True"),
            ({"task": ["glue/rta"]}, "unknown task 'glue/rta'; did you mean 'glue/rte'?"),
            ({"task": []}, "task and seeds must name one each"),
            ({"task": ["glue/qqp"]}, "glue/qqp has no train split: looked for"),
            ({"model": "no/such/model"}, "nothing at"),
            ({"model": "no-such-model"}, "no tokenizer 'no-such-model'"),
            ({"max_seq_length": 65}, "max_seq_length is 65, but the model has 64 positions"),
            ({"max_seq_length": 5}, "max_seq_length 5 leaves 2 tokens for sentence1 and sentence2"),
            ({"config": {"hiden_dropout_prob": 0.0}}, "config.hiden_dropout_prob: the model in"),
            ({"plan": {"per_device_train_batch_size": 0}}, "per_device_train_batch_size is 0; it must be 1 or more"),
            ({"plan": {"num_train_epochs": 0}}, "num_train_epochs is 0.0; it must be above 0"),
        ],
    )
    def test_what_the_recipe_says(self, refused, changes, complaint):
        assert complaint in refused(**changes)

    @pytest.mark.parametrize(
        ("task", "file", "edit", "complaint"),
        [
            (
                "glue/rte",
                "RTE/dev.tsv",
                lambda text: text.replace("\tent", "\tant", 1),
                "label 'antailment' of glue/rte; allowed: 'entailment', 'not_entailment'",
            ),
            ("glue/cola", "CoLA/train.tsv", lambda text: text + "x\t1\n", "161: 4 tab-separated fields expected"),
            ("glue/rte", "RTE/train.tsv", lambda text: "", "train.tsv is empty"),
            ("conll2003", "eng.train", lambda text: text + "\nEU I-ORG\n", "4 columns expected"),
            (
                "squad/v1.1",
                "dev-v1.1.json",
                lambda text: text.replace("dev-1", "dev-0"),
                "question 'dev-0': its id stands twice",
            ),
        ],
    )
    def test_what_the_files_say(self, refused, labelled, tmp_path, task, file, edit, complaint):
        path = tmp_path / "data" / file
        shutil.copytree(labelled, tmp_path / "data")
        path.write_text(edit(path.read_text()))
        said = refused(task=[task], data={"path": str(tmp_path / "data")})
        assert complaint in said
        assert str(path) in said

    @pytest.mark.slow
    def test_diagnostics_that_are_not_there_cost_no_training(self, tmp_path, labelled, launch, write_finetune_recipe):
        shutil.copytree(labelled, tmp_path / "data", ignore=shutil.ignore_patterns("AX", "test_matched.tsv"))
        data = {"path": str(tmp_path / "data")}
        write_finetune_recipe(tmp_path, task=["glue/mnli"], data=data, plan=ONE_PASS, predict_test=True)
        ended = launch(tmp_path, "recipe.yaml")
        assert ended.status == 0, ended.said
        assert "glue/ax is not predicted: glue/ax has no test split" in ended.said
        assert f"glue/mnli has no test rows to predict in {tmp_path / 'data'}" in ended.said
        assert results(tmp_path)["glue/mnli"]


class TestRealFiles:
    @pytest.mark.slow
    def test_a_published_encoder_on_wnli(self, data, tmp_path, launch, write_finetune_recipe):
        """71 dev rows; half precision on disk. Nobody beats the majority of 56.3 % on WNLI, so it is not asked for."""
        data = data.resolve()
        write_finetune_recipe(
            tmp_path, model=str(data / "checkpoints/all-MiniLM-L6-v2"), task=["glue/wnli"], label="",
            data={"path": str(data / "glue")}, plan={"num_train_epochs": 0.1}, optimizer={"learning_rate": 5e-5},
        )  # fmt: skip
        ended = launch(tmp_path, "recipe.yaml")
        assert ended.status == 0, ended.said
        line = results(tmp_path)["glue/wnli"]
        assert (line["label"], line["sizes"]) == ("all-MiniLM-L6-v2", {"train": 635, "dev": 71})
        assert line["majority"]["dev"]["accuracy"] == pytest.approx(40 / 71)
        assert (line["metrics"]["dev"]["accuracy"] * 71) % 1 == pytest.approx(0, abs=1e-6)
        weights = load_file(job(tmp_path, "glue/wnli") / "model/model.safetensors")
        assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
