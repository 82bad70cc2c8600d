"""Are SQuAD's questions read and checked, and is an answer found again in its windows?"""

import json

import pytest

from finetune.task import DataSource, find_task

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


def test_a_row_is_a_question(load):
    rows = load(squad(("q1", [answer(), answer("The cat", 0)]), ("q2", [answer("mat", 19)])))
    assert rows["train"][0] == {
        "id": "q1", "question": "Who?", "context": CONTEXT,
        "answers": {"text": ["cat", "The cat"], "answer_start": [4, 0]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("train", "error"),
    [
        (squad(("q1", [answer()]), ("q1", [answer()])), "the id 'q1' stands twice"),
        (squad(("q1", [answer("cat", 5)])), "question 'q1': the answer 'cat' is not at 5 in its context: 'at ' is"),
        (squad(("q1", [answer("cat", -19)])), "the answer 'cat' is not at -19"),
        (squad(("q1", [answer("", 4)])), "the answer '' is not at 4"),
        (squad(("q1", [])), r"question 'q1' has no answer; SQuAD v1\.1 has none such"),
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
