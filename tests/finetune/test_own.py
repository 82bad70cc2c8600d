"""Do the user's own files become labels, scores, choices and tags, and is what is wrong in them shown?"""

import csv
import json
import random

import pyarrow
import pyarrow.parquet
import pytest
from transformers import AutoModelForMultipleChoice, pipeline

from finetune.tasks.task import DataSource, find_task, open_task

WORDS = {"0": "bad", "5": "good", "10": "high"}
FILLERS = ["the", "cat", "dog", "sat", "on", "old", "red"]


def rows(split, number):
    """A word decides."""
    chance = random.Random(split)
    found = []
    for _ in range(number):
        label = chance.choice(list(WORDS))
        words = chance.choices(FILLERS, k=chance.randint(2, 7))
        words.insert(chance.randint(0, len(words)), WORDS[label])
        choices = chance.sample(["so", "maybe", "never"], 3)
        tags = ["S-GOOD" if word == "good" else "O" for word in words]
        found.append({
            "review": " ".join(words), "reply": 'it was, "so" old', "stars": label, "first": choices[0],
            "second": choices[1], "third": choices[2], "right": choices.index("so"), "words": words, "tags": tags,
        })  # fmt: skip
    return found


def write(path, found):
    """One file in the format of its name."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in found))
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(found), path)
    elif path.suffix == ".conll":
        path.write_text("\n\n".join("\n".join(map("\t".join, zip(r["words"], r["tags"], strict=True))) for r in found))
    else:
        flat = [{**row, "words": " ".join(row["words"]), "tags": " ".join(row["tags"])} for row in found]
        with path.open("w", newline="") as file:
            if path.suffix == ".csv":
                writer = csv.DictWriter(file, flat[0])
                writer.writeheader()
                writer.writerows(flat)
            else:
                file.write("\n".join("\t".join(map(str, row)) for row in [list(flat[0]), *(r.values() for r in flat)]))


COLUMNS = {
    "classification": {"text": "review", "text_pair": "reply", "label": "stars"},
    "regression": {"text": "review", "label": "stars"},
    "choice": {"choices": ["first", "second", "third"], "label": "right"},
    "entities": {"words": "words", "tags": "tags"},
    "tags": {"words": "words", "tags": "tags"},
}


@pytest.fixture
def load(tmp_path):
    def read(kind="classification", suffix="jsonl", **changes):
        for split, number in (("train", 30), ("dev", 7)):
            path = tmp_path / f"{split}.{suffix}"
            if not path.exists():
                write(path, rows(split, number))
        files = {split: f"{split}.{suffix}" for split in ("train", "dev")}
        fields = {"files": files, "columns": COLUMNS[kind]} | changes
        return open_task(find_task(f"own/{kind}"), DataSource("folder", str(tmp_path), **fields))

    return read


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("kind", COLUMNS)
def test_every_kind_is_read_from_every_format(load, kind, suffix):
    task, found = load(kind, suffix)
    _, expected = load(kind, "jsonl")
    assert {split: len(part) for split, part in found.items()} == {"train": 30, "dev": 7}
    assert found["dev"].to_list() == expected["dev"].to_list()
    assert task.columns == tuple(name for name in ("text", "text_pair", "choices", "words") if name in COLUMNS[kind])


def test_labels_are_found_and_numbers_stand_by_size(load):
    task, found = load()
    assert task.labels == ("0", "5", "10")
    assert found["train"][0]["text_pair"] == 'it was, "so" old'


def test_tags_become_iob2(load, tmp_path):
    task, found = load("entities", "conll", columns={"words": 0, "tags": 1})
    assert task.labels == ("O", "B-GOOD", "I-GOOD")
    assert found["train"].to_list() == load("entities")[1]["train"].to_list()


def test_a_held_out_share_is_the_same_each_time_and_shares_no_text(load, tmp_path):
    write(tmp_path / "train.jsonl", rows("train", 200) * 2)
    settings = {"files": {"train": "train.jsonl"}, "hold_out": 0.2}
    _, found = load(**settings)
    assert 0.1 < len(found["dev"]) / 400 < 0.3
    assert not set(found["dev"]["text"]) & set(found["train"]["text"])
    assert load(**settings)[1]["dev"]["text"][:] == found["dev"]["text"][:]


@pytest.mark.parametrize(
    ("kind", "change", "complaint"),
    [
        ("classification", {"review": ""}, "train.jsonl:3: review is empty"),
        ("classification", {"review": "x" * 1_000_001}, "train.jsonl:3: a text of 1,000,001 characters"),
        ("classification", {"stars": None}, "train.jsonl:3: stars is empty"),
        ("regression", {"stars": "many"}, "train.jsonl:3: the score 'many' is no number"),
        ("regression", {"stars": "nan"}, "the score 'nan' is not finite"),
        ("choice", {"right": 3}, "train.jsonl:3: the label 3 is no choice; allowed: 0 to 2"),
        ("entities", {"tags": ["O"]}, "train.jsonl:3: 1 tags for"),
        ("entities", {"tags": ["X"] * 3, "words": ["a", "b", "c"]}, "tag 'X' is no entity tag"),
    ],
)
def test_what_is_wrong_in_a_row_is_shown_with_its_place(load, tmp_path, kind, change, complaint):
    found = rows("train", 30)
    found[2] |= change
    write(tmp_path / "train.jsonl", found)
    with pytest.raises(ValueError, match=r"own|train|tag") as refused:
        load(kind)
    assert complaint in str(refused.value)


def test_a_label_that_train_has_not_is_named(load, tmp_path):
    found = rows("dev", 7)
    found[4]["stars"] = "7"
    write(tmp_path / "dev.jsonl", found)
    with pytest.raises(
        ValueError, match=r"dev\.jsonl:5: the label '7' is not in the training rows; those are 0, 5, 10"
    ):
        load()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"columns": {"text": "revue", "label": "stars"}}, r"no column 'revue'; did you mean 'review'\?"),
        ({"columns": {"txt": "review", "label": "stars"}}, r"data.columns names 'txt'; did you mean 'text'\?"),
        ({"columns": {"text": "review"}}, "data.columns does not say which column is 'label'"),
        ({"files": {"dev": "dev.jsonl"}}, "data.files must name the train file"),
        ({"files": {"train": "train.jsonl"}}, "name a dev file in data.files, or a share"),
    ],
)
def test_what_the_recipe_does_not_say(load, changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        load(**changes)


def test_broken_rows_are_left_out_when_asked(load, tmp_path, capsys):
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows("train", 5)) + "{\n")
    with pytest.raises(ValueError, match=r"train\.jsonl:6: not JSON"):
        load()
    _, found = load(skip_broken_rows=True)
    assert len(found["train"]) == 5
    assert "1 such rows left out" in capsys.readouterr().out


@pytest.fixture(scope="module")
def learnt(tmp_path_factory, launch, write_finetune_recipe):
    """A model for each kind."""
    folder = tmp_path_factory.mktemp("own")
    for split, number in (("train", 120), ("dev", 31)):
        write(folder / f"{split}.jsonl", rows(split, number))
    for kind in ("classification", "choice", "entities"):
        files = {split: f"{split}.jsonl" for split in ("train", "dev")}
        data = {"path": str(folder), "files": files, "columns": COLUMNS[kind]}
        write_finetune_recipe(folder, name=kind, task=[f"own/{kind}"], data=data, plan={"num_train_epochs": 8})
        ended = launch(folder, "recipe.yaml")
        assert ended.status == 0, ended.said
    return folder


def model(folder, kind):
    return folder / f"runs/{kind}/own-{kind}/seed-0/model"


@pytest.mark.slow
def test_what_decides_is_learnt(learnt):
    for kind in ("classification", "choice", "entities"):
        line = json.loads((model(learnt, kind).parent / "finished.json").read_text())
        assert line["headline"]["value"] > 0.8, kind


@pytest.mark.slow
def test_the_pipeline_answers_with_the_files_labels(learnt):
    judge = pipeline("text-classification", str(model(learnt, "classification")))
    answer = judge({"text": "the dog sat good", "text_pair": 'it was, "so" old'})
    assert answer["label"] == "5"
    find = pipeline("token-classification", str(model(learnt, "entities")), aggregation_strategy="simple")
    assert [entity["entity_group"] for entity in find("the good cat")] == ["GOOD"]


@pytest.mark.slow
def test_a_model_of_choices_opens(learnt):
    assert AutoModelForMultipleChoice.from_pretrained(model(learnt, "choice")).classifier.out_features == 1


@pytest.mark.slow
def test_a_decoder_has_no_head_for_choices(learnt, launch, small_gpt):
    folder = learnt
    data = {"path": str(folder), "files": {"train": "train.jsonl", "dev": "dev.jsonl"}, "columns": COLUMNS["choice"]}
    recipe = {"name": "gpt", "model": str(small_gpt), "task": ["own/choice"], "data": {"source": "folder", **data},
              "max_seq_length": 48, "optimizer": {"learning_rate": 1e-3}, "schedule": {"warmup_ratio": 0.1},
              "plan": {"num_train_epochs": 1, "global_batch_size": 16, "per_device_train_batch_size": 16}}  # fmt: skip
    (folder / "gpt.yaml").write_text(json.dumps(recipe))
    ended = launch(folder, "gpt.yaml")
    assert ended.status == 2
    assert "transformers has no MultipleChoice class for a gpt2 model" in ended.said.splitlines()[-1]
