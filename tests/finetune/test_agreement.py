"""Are fine-tuning processes that do not mean the same refused, whether they share batches or jobs?"""

import json
import os
import shutil
import time

import pytest
from safetensors.torch import load_file, save_file

import engine.run.agreement
from finetune.run import main
from tests.engine.test_agreement import assert_refused, differing

QUICK = {"num_train_epochs": 1, "global_batch_size": 16, "per_device_train_batch_size": 8}


@pytest.fixture
def two_copies(tmp_path, labelled, small_model):
    """The same data and model in two folders, as two machines have them."""
    for name in ("one", "two"):
        shutil.copytree(labelled, tmp_path / name / "data")
        shutil.copytree(small_model, tmp_path / name / "given")
    return tmp_path


def told_apart(folder, launch_together, *argv, **environment):
    program = differing(main, *argv, CLOZE_DATA=str(folder / "two"), **environment)
    return launch_together(program, folder, "recipe.yaml", CLOZE_DATA=str(folder / "one"))


def change_a_row(folder):
    path = folder / "two/data/RTE/train.tsv"
    path.write_text(path.read_text().replace("not_entailment", "entailment", 1))


def change_a_weight(folder):
    path = folder / "two/given/model.safetensors"
    weights = load_file(path)
    weights["bert.encoder.layer.0.output.dense.weight"][0, 0] += 1
    save_file(weights, path, metadata={"format": "pt"})


def change_the_config(folder):
    path = folder / "two/given/config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "hidden_dropout_prob": 0.5}))


def change_the_tokenizer(folder):
    path = folder / "two/given/tokenizer.json"
    content = json.loads(path.read_text())
    words = content["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (change_a_row, "rows.glue/rte.train is "),
        (change_a_weight, "model.weights.bert.encoder.layer.0.output.dense.weight is "),
        (change_the_config, "model.config.hidden_dropout_prob is "),
        (change_the_tokenizer, "tokenizer is "),
    ],
)
def test_other_files_in_the_same_place(two_copies, write_finetune_recipe, launch_together, change, complaint):
    write_finetune_recipe(two_copies, plan=QUICK, model="given", data={"path": "data"})
    change(two_copies)
    assert_refused(told_apart(two_copies, launch_together), two_copies, complaint)


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--optimizer.learning_rate", "0.5"], "optimizer.learning_rate is 0.005 on process 0, 0.5 on process 1"),
        (["--seeds", "3"], "seeds is [0] on process 0, [3] on process 1"),
    ],
)
def test_another_recipe(tmp_path, write_finetune_recipe, launch_together, argv, complaint):
    write_finetune_recipe(tmp_path, plan=QUICK)
    assert_refused(launch_together(differing(main, *argv), tmp_path, "recipe.yaml"), tmp_path, complaint)


class TestJobsOfTheirOwn:
    """The one that comes second is refused; the first one knows of no other, and goes on."""

    @pytest.mark.parametrize(
        ("change", "argv", "complaint"),
        [
            (lambda folder: None, ["--optimizer.learning_rate", "0.5"], "optimizer.learning_rate is "),
            pytest.param(change_a_row, [], "rows.glue/rte.train is ", marks=pytest.mark.slow),
            pytest.param(change_a_weight, [], "model.given.model.safetensors is ", marks=pytest.mark.slow),
            pytest.param(change_the_tokenizer, [], "model.given.tokenizer.json is ", marks=pytest.mark.slow),
        ],
    )
    def test_one_of_them_is_refused(self, two_copies, write_finetune_recipe, launch_together, change, argv, complaint):
        write_finetune_recipe(two_copies, plan=QUICK, model="given", data={"path": "data"}, seeds=[0, 1], share="jobs")
        change(two_copies)
        ended = told_apart(two_copies, launch_together, *argv)
        assert sorted(one.status for one in ended) == [0, 2], "\n".join(one.said for one in ended)
        (refused,) = [one.said.splitlines()[-1] for one in ended if one.status == 2]
        assert refused.startswith("error: other processes are at work in runs/small and do not agree with this one: ")
        assert complaint in refused
        lines = [json.loads(line) for line in (two_copies / "runs/small/results.jsonl").read_text().splitlines()]
        assert [line["seed"] for line in lines] == [0, 1]
        assert len({line["worker"] for line in lines}) == 1

    def test_once_all_have_ended_another_word_may_be_given(self, tmp_path):
        child = os.fork()
        if child == 0:
            engine.run.agreement.Apart(tmp_path).agree(data="one", seed=0)
            time.sleep(60)
            os._exit(0)
        while not (tmp_path / ".agreed.json").exists():
            time.sleep(0.01)
        here = engine.run.agreement.Apart(tmp_path)
        here.agree(data="one", other=3)
        with pytest.raises(ValueError, match="data is one there and two here"):
            here.agree(data="two")
        here._at_work.close()
        os.kill(child, 9)
        os.waitpid(child, 0)
        engine.run.agreement.Apart(tmp_path).agree(data="two")
