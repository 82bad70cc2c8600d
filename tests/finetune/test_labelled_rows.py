"""Do labels, choices and fields of own rows mean the same in every process, in training and in prediction?"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch
from transformers import AutoConfig, AutoModelForMultipleChoice

from finetune.ask.playground.models import load_models
from finetune.ask.predict import main as predict
from finetune.ask.predict_split import encode
from finetune.batches import make_batch, pad_examples
from finetune.questions import QUESTIONS
from finetune.tasks.task import DataSource, find_task, open_task
from tokenizer.load import load_tokenizer

SUFFIXES = ("csv", "tsv", "jsonl", "parquet")


def write(path, rows):
    """One file in the format of its name; None, in CSV and TSV, is an empty field."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)


@pytest.fixture
def load(tmp_path):
    """`load(kind, train, dev)`: rows with the columns text, words, choices, label and tags become a task and rows."""

    def read(kind, train, dev=None, suffix="jsonl", **more):
        files = {"train": f"train.{suffix}"} | ({"dev": f"dev.{suffix}"} if dev else {})
        for split, rows in (("train", train), ("dev", dev)):
            if isinstance(rows, list):
                write(tmp_path / f"{split}.{suffix}", rows)
        columns = {
            "choice": {"text": "text", "choices": "choices", "label": "label"},
            "entities": {"words": "words", "tags": "tags"},
            "tags": {"words": "words", "tags": "tags"},
        }.get(kind, {"text": "text", "label": "label"})
        fields = {"files": files, "columns": columns} | more
        return open_task(find_task(f"own/{kind}"), DataSource("folder", str(tmp_path), **fields))

    return read


def labelled(*labels, number=1):
    return [{"text": f"a text {n} {label}", "label": label} for n in range(number) for label in labels]


class TestOrder:
    NAMES = ("1.10", "1.1", "2", "2.0", "10", "02", "1e3", "inf", "b", "-1", "1_0", "B", "Infinity", "a")

    def test_labels_equal_as_numbers_have_an_order(self, load):
        task, _ = load("classification", labelled(*self.NAMES), labelled(*self.NAMES))
        expected = ("-1", "1.1", "1.10", "02", "2", "2.0", "10", "1_0", "1e3", "B", "Infinity", "a", "b", "inf")
        assert task.labels == expected
        turned = tuple(reversed(self.NAMES))
        assert load("classification", labelled(*turned), labelled(*turned))[0].labels == expected

    @pytest.mark.slow
    def test_processes_agree_whatever_their_hash_seeds(self, tmp_path):
        """All that is read off the rows: labels, tags, what is held out, and the report's counts."""
        write(tmp_path / "rows.jsonl", labelled(*self.NAMES, number=5))
        tags = ["B-b", "B-a", "O", "I-c", "B-d", "I-A"]
        write(tmp_path / "words.jsonl", [{"words": [f"w{n}", "x"], "tags": [tags[n % 6], "O"]} for n in range(60)])
        code = (
            "import os, sys; from finetune.tasks.data_report import repeat_lines; "
            "from finetune.tasks.task import *\n"
            "for kind, file, columns in (('classification', 'rows', ['text', 'label']), ('tags', 'words', ['words', "
            "'tags']), ('entities', 'words', ['words', 'tags'])):\n"
            "    source = DataSource('folder', sys.argv[1], files={'train': file + '.jsonl'}, hold_out=0.3, "
            "columns={name: name for name in columns})\n"
            "    task, rows = open_task(find_task('own/' + kind), source)\n"
            "    print(task.labels, [part.to_list() for part in rows.values()], repeat_lines(task, rows))\n"
            "print('seed', os.environ['PYTHONHASHSEED'], hash('a'), file=sys.stderr)"
        )
        launched = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(tmp_path)], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                cwd=Path(__file__).parents[2], env=os.environ | {"PYTHONHASHSEED": seed},
            )
            for seed in ("1", "2")
        ]  # fmt: skip
        (one, hash_one), (other, hash_other) = (process.communicate() for process in launched)
        assert [process.returncode for process in launched] == [0, 0], hash_one
        assert hash_one != hash_other
        assert one == other
        assert len(one.splitlines()) == 3


class TestLabels:
    def test_every_label_keeps_a_row_in_train(self, load):
        rare = [f"rare{n}" for n in range(20)]
        train = labelled("a", "b", number=50) + labelled(*rare)
        for share in (0.1, 0.5, 0.9):
            task, rows = load("classification", train, hold_out=share)
            assert task.labels == ("a", "b", *sorted(rare))
            assert {task.labels[label] for label in rows["train"]["label"]} == set(task.labels)
            assert not set(rows["train"]["text"]) & set(rows["dev"]["text"])
            assert len(rows["dev"]) == pytest.approx(100 * share, abs=15)
        assert "rows not held out for their labels' sake" in rows["train"].info.description

    def test_every_type_and_tag_keeps_a_row_in_train(self, load):
        train = [{"words": [f"w{n}"], "tags": ["B-a"]} for n in range(20)] + [{"words": ["x"], "tags": ["B-b"]}]
        for kind in ("entities", "tags"):
            for share in (0.2, 0.9):
                task, rows = load(kind, train, hold_out=share)
                there = {task.labels[tag] for tags in rows["train"]["label"] for tag in tags}
                assert there == {"B-a", "B-b"}
                assert len(rows["dev"]) > 0

    def test_few_rows_are_held_out_too(self, load):
        _, rows = load("classification", labelled("a", "b", number=2), hold_out=0.01)
        assert (len(rows["train"]), len(rows["dev"])) == (3, 1)
        with pytest.raises(ValueError, match=r"leaves no row for dev: each text is the only one of its label"):
            load("classification", labelled("a", "b"), hold_out=0.5)
        with pytest.raises(ValueError, match=r"hold_out is 1\.5; it is a share"):
            load("classification", labelled("a", "b"), hold_out=1.5)

    def test_entities_may_begin_and_go_on_where_train_shows_just_one(self, load):
        train = [{"words": ["Ann", "runs"], "tags": ["B-PER", "O"]}]
        dev = [{"words": ["Ann", "Lee"], "tags": ["B-PER", "I-PER"]}, {"words": ["Rome"], "tags": ["I-PER"]}]
        task, rows = load("entities", train, dev)
        assert task.labels == ("O", "B-PER", "I-PER")
        assert rows["dev"]["label"][:] == [[1, 2], [1]]
        task, rows = load("entities", [{"words": ["Ann"], "tags": ["B-PER"]}], [{"words": ["a"], "tags": ["O"]}])
        assert (task.labels, rows["dev"]["label"][:]) == (("O", "B-PER", "I-PER"), [[0]])
        with pytest.raises(ValueError, match=r"dev\.jsonl:1: the label 'B-LOC' is not in the training rows"):
            load("entities", train, [{"words": ["Rome"], "tags": ["B-LOC"]}])
        with pytest.raises(ValueError, match=r"train\.jsonl:1: tag 'B-' is no entity tag"):
            load("entities", [{"words": ["Rome"], "tags": ["B-"]}], dev)

    def test_true_and_false_are_labels(self, load):
        assert load("classification", labelled(True, False), labelled(True))[0].labels == ("False", "True")


class TestEmptyFields:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("column", ["text", "label"])
    def test_they_are_refused_with_file_and_row(self, load, suffix, column):
        train = labelled(0.0, 1.0, number=3)
        for empty in (None, float("nan")) if suffix in ("jsonl", "parquet") else (None, ""):
            if column == "text" and suffix == "parquet" and empty is not None:
                continue  # a column of texts has no NaN there
            train[2][column] = empty
            place = {"parquet": "parquet, row 2", "jsonl": "jsonl:3"}.get(suffix, f"{suffix}:4")
            with pytest.raises(ValueError, match=rf"train\.{place}: {column} is empty \(data\.skip_broken_rows"):
                load("classification", train, labelled(0.0), suffix)
            task, rows = load("classification", train, labelled(0.0), suffix, skip_broken_rows=True)
            assert task.labels == ("0.0", "1.0")
            assert len(rows["train"]) == 5
            assert rows["train"].info.description.endswith(", 1 broken rows left out")

    @pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
    @pytest.mark.parametrize("mark", ["NaN", "nan", "None", "null", "NA", "N/A"])
    def test_their_names_among_numbers_are_no_labels(self, load, suffix, mark):
        train = labelled("0.0", "1.0", mark, number=3)
        where = r"jsonl:3" if suffix == "jsonl" else rf"{suffix}:4"
        with pytest.raises(ValueError, match=rf"train\.{where}: the label .*{mark}.* \(data\.skip_broken_rows"):
            load("classification", train, labelled("0.0"), suffix)
        task, rows = load("classification", train, labelled("0.0"), suffix, skip_broken_rows=True)
        assert (task.labels, len(rows["train"])) == (("0.0", "1.0"), 6)

    def test_among_names_they_are_names(self, load):
        train = labelled("None", "NA", "DE", "null")
        assert load("classification", train, train, "csv")[0].labels == ("DE", "NA", "None", "null")

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_as_texts_and_words_they_stay(self, load, suffix):
        names = ["NA", "null", "nan", "None", "N/A", "NaN", "5", "1.10", "007", "true"]
        train = [{"text": name, "label": "ab"[n % 2]} for n, name in enumerate(names)]
        assert load("classification", train, train, suffix)[1]["train"]["text"][:] == names
        words = [{"words": " ".join(names), "tags": " ".join(["B-X"] * 10)}]
        assert load("entities", words, words, suffix)[1]["train"]["words"][:] == [names]

    def test_numbers_are_their_texts_and_anything_else_is_refused(self, load):
        train = labelled("a", "b")
        train[0]["text"] = 5
        assert load("classification", train, labelled("a"))[1]["train"]["text"][0] == "5"
        for value, shown in ((["a"], r"\['a'\]"), ({"a": 1}, r"{'a': 1}"), (True, "True")):
            train[1]["text"] = value
            with pytest.raises(ValueError, match=rf"train\.jsonl:2: found {shown}; expected a text"):
                load("classification", train, labelled("a"))
        words = [{"words": ["a", None], "tags": ["O", "B-X"]}]
        with pytest.raises(ValueError, match=r"train\.jsonl:1: found None; expected a text"):
            load("entities", words, words)

    def test_texts_in_bytes_are_read(self, load, tmp_path):
        rows = labelled("a", "b", number=2)
        texts = [row["text"].encode() for row in rows]
        columns = {"text": pyarrow.array(texts, pyarrow.binary()), "label": [row["label"] for row in rows]}
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")
        _, found = load("classification", None, rows, "parquet")
        assert found["train"]["text"][:] == found["dev"]["text"][:]
        columns["text"] = pyarrow.array([*texts[:3], b"\xff"], pyarrow.binary())
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")
        with pytest.raises(ValueError, match=r"train\.parquet, row 3: .text. is not UTF-8 at byte 0"):
            load("classification", None, rows, "parquet")

    def test_a_score_that_the_network_cannot_hold_is_refused(self, load):
        for score in (10**400, 1e300, True, "1e39"):
            with pytest.raises(ValueError, match=r"train\.jsonl:1: the score .* is (no number|not finite)"):
                load("regression", [{"text": "a", "label": score}], labelled("1"))


class TestTables:
    ROWS = (("text", "label"), ("Well, it was so", "a"), ('the "old" one', "b"), ("line\nbreak; and | so", "a"))

    @pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_the_delimiter_and_the_encoding_of_a_csv_are_found(self, load, tmp_path, mark, encoding):
        with (tmp_path / "train.csv").open("w", newline="", encoding=encoding) as file:
            csv.writer(file, delimiter=mark).writerows(self.ROWS)
        task, rows = load("classification", None, labelled("a"), "csv")
        assert task.labels == ("a", "b")
        assert list(zip(rows["train"]["text"], "aba", strict=True)) == list(self.ROWS[1:])

    @pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
    def test_other_files_in_utf_16_are_read_too(self, load, tmp_path, suffix):
        rows = labelled("ä", "b")
        write(tmp_path / f"train.{suffix}", rows)
        text = (tmp_path / f"train.{suffix}").read_text(encoding="utf-8")
        (tmp_path / f"train.{suffix}").write_text(text, encoding="utf-16")
        assert load("classification", None, labelled("b"), suffix)[0].labels == ("b", "ä")
        (tmp_path / f"train.{suffix}").write_text(text, encoding="utf-16-le")
        with pytest.raises(ValueError, match=rf"train\.{suffix} is UTF-16 without a byte-order mark.* write it anew"):
            load("classification", None, labelled("b"), suffix)

    def test_a_header_that_two_marks_part_is_not_guessed_at(self, load, tmp_path):
        (tmp_path / "train.csv").write_text("text,one;label,two\nyes,no;a,b\n")
        with pytest.raises(ValueError, match=r"train\.csv:1: ',' and ';' both part the header and the rows; put names"):
            load("classification", None, labelled("a"), "csv")
        (tmp_path / "train.csv").write_text('"text,one";"label,two"\nyes, no;a\nso, so;b\nso, no;a\n')
        columns = {"text": "text,one", "label": "label,two"}
        assert load("classification", None, None, "csv", columns=columns, hold_out=0.5)[0].labels == ("a", "b")

    def test_a_row_unlike_its_header_is_told_in_numbers_that_make_sense(self, load, tmp_path):
        (tmp_path / "train.csv").write_text("text,label\na,b,c\n")
        said = r"train\.csv:2: 3 fields, but the header names 2 \(text, label\); a field that holds the mark"
        with pytest.raises(ValueError, match=said):
            load("classification", None, labelled("a"), "csv")

    def test_a_field_may_be_long(self, load):
        long = "word " * 40_000
        train = [*labelled("a", "b"), {"text": long, "label": "a"}]
        assert load("classification", train, train, "csv")[1]["train"]["text"][2] == long


def choosing(*numbers):
    """Rows with so many choices each; the right one is `so`, whose place goes round."""
    rows = []
    for n, number in enumerate(numbers):
        choices = ["the cat", "a dog", "it was"][: number - 1]
        choices.insert(n % number, "so")
        rows.append({"text": ["old", "new", "red"][n % 3], "choices": choices, "label": n % number})
    return rows


class TestChoices:
    def test_the_answers_are_what_is_offered(self, load):
        train = [{"text": "a", "choices": ["x", "y", "z"], "label": 0}] * 3
        task, rows = load("choice", train, [{"text": "b", "choices": ["x", "y", "z", "w"], "label": 3}])
        assert task.labels == ("0", "1", "2", "3")
        assert rows["dev"]["label"][:] == [3]

    @pytest.mark.parametrize(
        ("choices", "label", "said"),
        [
            (["x", "y"], 2, "the label 2 is no choice; allowed: 0 to 1"),
            (["x", "y"], -1, "the label -1 is no choice"),
            (["x", "y"], "²", "the label '²' is no choice"),
            (["x"], 0, "1 choices; there must be two or more"),
            (["x", "", "z"], 0, "choice 1 is empty, and another one follows it"),
            ("x y", 0, "found 'x y'; expected a list of texts"),
            (["x", "y", None], 2, "the label 2 is no choice; allowed: 0 to 1"),
        ],
    )
    def test_a_row_that_offers_no_choice_is_refused(self, load, choices, label, said):
        with pytest.raises(ValueError, match=rf"train\.jsonl:2: .*{said}"):
            load("choice", [*choosing(3), {"text": "a", "choices": choices, "label": label}], choosing(3))

    def test_columns_at_the_end_may_be_empty(self, load, tmp_path):
        (tmp_path / "train.csv").write_text("text,one,two,three,label\na,x,y,,1.0\nb,x,y,z,2.0\n")
        columns = {"text": "text", "choices": ["one", "two", "three"], "label": "label"}
        files = {"train": "train.csv", "dev": "train.csv"}
        _, rows = load("choice", None, None, "csv", columns=columns, files=files)
        assert rows["train"]["choices"][:] == [["x", "y"], ["x", "y", "z"]]
        assert rows["train"]["label"][:] == [1, 2]

    def test_company_changes_neither_loss_nor_answer(self, load, small_model):
        task, rows = load("choice", choosing(2, 4, 3), choosing(2))
        head, tokenizer = QUESTIONS["choice"], load_tokenizer(str(small_model))
        torch.manual_seed(0)
        model = AutoModelForMultipleChoice.from_config(AutoConfig.from_pretrained(small_model)).eval()
        encoded = encode(task, rows["train"], tokenizer, 48)

        def batch(index):
            x = pad_examples(encoded.columns, index, tokenizer.pad_token_id, longest=48)
            y = head.target(encoded.columns, index, x["input_ids"].shape[-1])
            return make_batch(x, y, head.counts(x, y))

        with torch.inference_mode():
            alone = [batch([row]) for row in range(3)]
            assert [one.x["input_ids"].shape[1] for one in alone] == [2, 4, 3]
            losses = [head.loss(model, one)["loss"].item() for one in alone]
            together = head.loss(model, batch([0, 1, 2]))["loss"].item()
            assert together == pytest.approx(sum(losses), rel=1e-5)
            for one, loss in zip(alone, losses, strict=True):  # transformers' own
                assert loss == pytest.approx(model(**one.x, labels=one.y["label"]).loss.item(), rel=1e-5)
            found = encoded.decode(head.predict(model, batch([0, 1, 2])))
            for row, one in enumerate(alone):
                shares = model(**one.x).logits[0].softmax(-1).tolist()
                shares += [0.0] * (4 - len(shares))
                assert found.probabilities[row].tolist() == pytest.approx(shares, abs=1e-5)

    @pytest.mark.slow
    def test_rows_with_two_and_three_are_learnt_and_answered(
        self, tmp_path, launch, write_finetune_recipe, launch_program
    ):
        write(tmp_path / "train.jsonl", choosing(*[2, 3, 3, 2, 4] * 30))
        write(tmp_path / "dev.jsonl", choosing(*[3, 2] * 9))
        columns = {"text": "text", "choices": "choices", "label": "label"}
        data = {"path": str(tmp_path), "files": {"train": "train.jsonl", "dev": "dev.jsonl"}, "columns": columns}
        write_finetune_recipe(tmp_path, task=["own/choice"], data=data, plan={"num_train_epochs": 6})
        ended = launch(tmp_path, "recipe.yaml")
        assert ended.status == 0, ended.said
        job = tmp_path / "runs/small/own-choice/seed-0"
        assert json.loads((job / "finished.json").read_text())["headline"]["value"] > 0.9
        ended = launch_program(predict, tmp_path, str(job / "model"), "dev.jsonl", "--out", "answers.jsonl")
        assert ended.status == 0, ended.said
        told = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
        assert [len(line["probabilities"]) for line in told] == [3, 2] * 9
        of_run = [json.loads(line) for line in (job / "own-choice-dev.jsonl").read_text().splitlines()]
        assert [line["prediction"] for line in told] == [line["prediction"] for line in of_run]
        (guest,) = load_models([str(job / "model")])
        for number in (2, 4):
            (row,) = choosing(number)
            assert len(guest.answer({"text": row["text"], "choices": row["choices"]})["probabilities"]) == number
