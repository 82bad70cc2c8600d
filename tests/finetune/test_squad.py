"""Are SQuAD's questions read and checked, and is an answer found again in its windows?"""

import json
import random

import pytest
from datasets import Dataset
from transformers import AutoConfig

from finetune.tasks.metrics import score
from finetune.tasks.task import DataSource, find_task

CONTEXT = "The cat sat on the mat."


def squad(*questions, context=CONTEXT):
    qas = [{"id": id_, "question": "Who?", "answers": answers} for id_, answers in questions]
    return {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": qas}]}]}


def answer(text="cat", start=4):
    return {"text": text, "answer_start": start}


@pytest.fixture
def load(tmp_path):
    def read(train):
        text = train if isinstance(train, str) else json.dumps(train)
        (tmp_path / "train-v1.1.json").write_text(text)
        (tmp_path / "dev-v1.1.json").write_text(json.dumps(squad(("dev", [answer()]))))
        return find_task("squad/v1.1").load(DataSource("folder", str(tmp_path)))

    return read


def test_real_files(data):
    files = {"train": "train-v1.1.part.json", "dev": "dev-v1.1.part.json"}
    rows = find_task("squad/v1.1").load(DataSource("folder", str(data / "squad"), files=files))
    assert {split: len(part) for split, part in rows.items()} == {"train": 4010, "dev": 4066}
    assert sum(len(answers["text"]) > 1 for answers in rows["dev"]["answers"]) == 2910
    assert rows["dev"][0]["answers"]["text"][0] == "France"


def test_real_questions_without_an_answer(data):
    files = {"train": "dev-v2.0.part.json", "dev": "dev-v2.0.part.json"}
    rows = find_task("squad/v2.0").load(DataSource("folder", str(data / "squad"), files=files))["dev"]
    without = sum(not answers["text"] for answers in rows["answers"])
    assert (len(rows), without) == (6078, 3168)


def test_broken_questions_are_left_out_when_asked_and_counted(tmp_path):
    broken = squad(("q1", [answer()]), ("q1", [answer()]), ("q2", [answer("dog", 4)]), ("q3", []))
    for split in ("train", "dev"):
        (tmp_path / f"{split}-v1.1.json").write_text(json.dumps(broken))
    with pytest.warns(UserWarning, match="3 such questions left out"):
        rows = find_task("squad/v1.1").load(DataSource("folder", str(tmp_path), skip_broken_rows=True))
    assert rows["train"]["id"] == ["q1"]
    assert "3 broken questions left out" in rows["train"].info.description


def test_a_row_is_a_question(load):
    rows = load(squad(("q1", [answer(), answer("The cat", 0)]), ("q2", [answer("mat", 19)])))
    assert rows["train"][0] == {
        "id": "q1", "question": "Who?", "context": CONTEXT,
        "answers": {"text": ["cat", "The cat"], "answer_start": [4, 0]},
    }  # fmt: skip


def asked(**changes):
    """A file with one question, of which some fields are changed, or taken away (None)."""
    layout = squad(("q1", [answer()]))
    qas = layout["data"][0]["paragraphs"][0]["qas"]
    qas[0] = {name: value for name, value in (qas[0] | changes).items() if value is not None}
    return layout


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (
            {"answers": [{"text": "cat", "answer_start": start}]},
            f"question 'q1': answer_start is {shown}; expected a whole",
        )
        for start, shown in (("4", "'4'"), (4.0, r"4\.0"), (True, "True"), ([4], r"\[4\]"), (None, "None"))
    ]
    + [
        ({"answers": [{"text": "cat"}]}, "question 'q1': answer_start is None"),
        ({"answers": [{"answer_start": 4}]}, "question 'q1': the text of an answer is None"),
        ({"answers": [{"text": 5, "answer_start": 4}]}, "question 'q1': the text of an answer is 5"),
        ({"answers": {"text": "cat", "answer_start": 4}}, "question 'q1': answers is {.*expected a list of answers"),
        ({"answers": ["cat"]}, r"question 'q1': answers is \['cat'\]; expected a list"),
        ({"answers": None}, "question 'q1': answers is None; expected a list"),
        ({"question": 5}, "question 'q1': question is 5; expected a text"),
        ({"id": 5}, r"data\[0\]\.paragraphs\[0\]\.qas\[0\]: id is 5; expected a text"),
        ({"id": None}, r"data\[0\]\.paragraphs\[0\]\.qas\[0\]: id is None; expected a text"),
        ({"is_impossible": "false"}, "question 'q1': is_impossible is 'false'; expected true or false"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named_with_its_question(load, tmp_path, changes, error):
    layout = asked(**changes)
    with pytest.raises(ValueError, match=r"train-v1\.1\.json: " + error):
        load(layout)
    layout["data"][0]["paragraphs"][0]["qas"].append(asked(id="q2")["data"][0]["paragraphs"][0]["qas"][0])
    (tmp_path / "train-v1.1.json").write_text(json.dumps(layout))
    with pytest.warns(UserWarning, match="1 such questions left out"):
        rows = find_task("squad/v1.1").load(DataSource("folder", str(tmp_path), skip_broken_rows=True))
    assert rows["train"]["id"] == ["q2"]


@pytest.mark.parametrize(
    ("train", "error"),
    [
        (squad(("q1", [answer()]), ("q1", [answer()])), "question 'q1': its id stands twice"),
        (squad(("q1", [answer("cat", 5)])), "question 'q1': the answer 'cat' is not at 5 in its context: 'at ' is"),
        (squad(("q1", [answer("cat", -19)])), "the answer 'cat' is not at -19"),
        (squad(("q1", [answer("", 4)])), "the answer '' is not at 4"),
        (squad(("q1", [])), r"question 'q1': it has no answer; SQuAD v1\.1 has none such"),
        (squad(), "holds no questions"),
        ({"data": [{"title": "t"}]}, r"data\[0\] has not SQuAD's layout \(KeyError: 'paragraphs'\)"),
        ([], "the file has not SQuAD's layout"),
        ('{"data": [\n}', ":2: not JSON"),
        ("", "is empty"),
    ],
)
def test_a_bad_file_is_named(load, train, error):
    with pytest.raises(ValueError, match=r"train-v1\.1\.json.*" + error):
        load(train)


# Version 2.0, from the file to the official predictions


def write_v2(path, split, number):
    """Where?  The place after "in", if there is one."""
    chance = random.Random(split)
    paragraphs = []
    for row in range(number):
        words = chance.choices(["the", "old", "cat", "sat", "near", "it", "was", "red"], k=chance.randint(4, 9))
        place = chance.choice(["paris", "rome", "oslo"])
        known = chance.random() < 0.5
        at = chance.randint(0, len(words))
        context = " ".join([*words[:at], *(("in", place) if known else ("near",)), *words[at:]]) + " ."
        answers = [{"text": place, "answer_start": context.index(place)}] if known else []
        asked = {"id": f"{split}-{row}", "question": "where is it ?", "answers": answers, "is_impossible": not known}
        paragraphs.append({"context": context, "qas": [asked | ({} if known else {"plausible_answers": [answer()]})]})
    path.write_text(json.dumps({"version": "v2.0", "data": [{"title": "places", "paragraphs": paragraphs}]}))


@pytest.fixture(scope="module")
def learnt(tmp_path_factory, launch, write_finetune_recipe):
    folder = tmp_path_factory.mktemp("v2")
    for split, number in (("train", 160), ("dev", 37)):
        write_v2(folder / f"{split}-v2.0.json", split, number)
    write_finetune_recipe(folder, task=["squad/v2.0"], data={"path": str(folder)}, plan={"num_train_epochs": 12})
    ended = launch(folder, "recipe.yaml")
    assert ended.status == 0, ended.said
    return folder / "runs/small/squad-v2.0/seed-0", folder


@pytest.mark.slow
def test_it_learns_where_no_answer_is(learnt):
    job, _ = learnt
    line = json.loads((job / "finished.json").read_text())
    scores = line["metrics"]["dev"]
    assert scores["NoAns_f1"] > 0.8 < scores["HasAns_f1"]
    assert scores["exact_match"] > line["majority"]["dev"]["exact_match"] + 0.3


@pytest.mark.slow
def test_the_threshold_is_the_best_on_dev_and_is_saved_with_the_model(learnt):
    job, _ = learnt
    threshold = AutoConfig.from_pretrained(job / "model").null_threshold
    odds = json.loads((job / "null_odds.json").read_text())
    answers = json.loads((job / "predictions.json").read_text())
    assert all((answers[id_] == "") == (value > threshold) for id_, value in odds.items())
    told = json.loads((job / "eval.json").read_text())
    assert told["best_f1_thresh"] == threshold
    assert told["f1"] == told["best_f1"] == pytest.approx(100 * headline(job))
    assert (told["total"], told["HasAns_total"] + told["NoAns_total"]) == (37, 37)
    assert {"exact", "HasAns_exact", "NoAns_f1", "best_exact", "best_exact_thresh"} <= set(told)


def headline(job):
    return json.loads((job / "finished.json").read_text())["headline"]["value"]


@pytest.mark.slow
def test_no_threshold_stays_when_the_model_learns_to_answer_always(learnt, tmp_path, launch, write_finetune_recipe):
    job, _ = learnt
    for split in ("train", "dev"):
        (tmp_path / f"{split}-v1.1.json").write_text(json.dumps(squad(("q", [answer()]))))
    changes = {"data": {"path": str(tmp_path)}, "plan": {"num_train_epochs": 1}, "model": str(job / "model")}
    write_finetune_recipe(tmp_path, task=["squad/v1.1"], **changes)
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    config = json.loads((tmp_path / "runs/small/squad-v1.1/seed-0/model/config.json").read_text())
    assert "null_threshold" not in config


def test_the_predictions_are_the_official_ones(learnt):
    job, _ = learnt
    ids = [f"dev-{number}" for number in range(37)]
    answers = json.loads((job / "predictions.json").read_text())
    best = json.loads((job / "nbest_predictions.json").read_text())
    assert list(answers) == list(best) == ids
    for spans in best.values():
        assert sum(span["probability"] for span in spans) == pytest.approx(1, abs=1e-4)
        scores = [span["start_logit"] + span["end_logit"] for span in spans]
        assert scores == sorted(scores, reverse=True)
        assert any(span["text"] == "" for span in spans)


def test_what_a_file_says_twice_must_agree(tmp_path):
    for impossible, given, error in (
        (True, [answer()], "is_impossible is true, and it has 1 answers"),
        (False, [], "is_impossible is false, and it has 0 answers"),
    ):
        asked = {"id": "q7", "question": "Who?", "answers": given, "is_impossible": impossible}
        layout = {"data": [{"paragraphs": [{"context": CONTEXT, "qas": [asked]}]}]}
        for split in ("train", "dev"):
            (tmp_path / f"{split}-v2.0.json").write_text(json.dumps(layout))
        with pytest.raises(ValueError, match=rf"train-v2\.0\.json: question 'q7': {error}"):
            find_task("squad/v2.0").load(DataSource("folder", str(tmp_path)))


def test_an_answer_that_is_an_article_is_an_answer_still():
    """By the official script a question has an answer if its file gives one, whatever normalising leaves of it."""
    rows = Dataset.from_dict({"id": ["a"], "answers": [{"text": ["The"], "answer_start": [0]}]})
    found = score(find_task("squad/v2.0"), {"a": "cat"}, rows)
    assert found == {"exact_match": 0.0, "f1": 0.0, "HasAns_exact": 0.0, "HasAns_f1": 0.0}


def test_two_readings_of_a_v2_metric():
    """By the official script: an empty prediction is right where there is no answer, and else wrong."""
    rows = Dataset.from_dict(
        {"id": ["a", "b", "c", "d"], "answers": [
            {"text": ["the cat", "cat"], "answer_start": [0, 0]}, {"text": [], "answer_start": []},
            {"text": [], "answer_start": []}, {"text": ["big dog"], "answer_start": [0]},
        ]}
    )  # fmt: skip
    found = score(find_task("squad/v2.0"), {"a": "Cat!", "b": "", "c": "dog", "d": "a dog"}, rows)
    assert found == {
        "exact_match": 0.5, "f1": pytest.approx((1 + 1 + 0 + 2 / 3) / 4), "HasAns_exact": 0.5,
        "HasAns_f1": pytest.approx((1 + 2 / 3) / 2), "NoAns_exact": 0.5, "NoAns_f1": 0.5,
    }  # fmt: skip
