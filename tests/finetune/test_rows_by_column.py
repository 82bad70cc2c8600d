"""What is wrong with a row is said with its file, line and column; the same for every format."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow.parquet import write_table

from finetune.tasks.files import open_file
from finetune.tasks.task import DataSource, Rows, find_task, open_task

COLUMNS = {"text": "review", "label": "stars"}
ROWS = "".join(f"word {number},{'ab'[number % 2]}\n" for number in range(8))


def load(path: Path, task: str = "own/classification", columns: dict[str, Any] = COLUMNS) -> Rows:
    source = DataSource("folder", str(path.parent), files={"train": path.name}, columns=columns, hold_out=0.3)
    return open_task(find_task(task), source)[1]


def texts(rows: Rows) -> list[str]:
    return sorted(text for part in rows.values() for text in part["text"])


class TestCsv:
    @pytest.mark.parametrize(
        "written",
        [
            f"\n\nreview,stars\n\n{ROWS}\n",  # empty lines before the header
            f"\n\nreview;stars\n{ROWS}".replace(",", ";"),
            f"review,stars\n{ROWS}".replace("\n", "\r"),
            f"review,stars\n{ROWS}".replace("\n", "\r\n"),
        ],
    )
    def test_empty_lines_and_line_ends_of_any_kind_change_nothing(self, tmp_path, written):
        path = tmp_path / "rows.csv"
        path.write_bytes(written.encode())
        assert texts(load(path)) == [f"word {number}" for number in range(8)]

    def test_a_line_end_within_quotes_is_kept_as_it_stands(self, tmp_path):
        path = tmp_path / "rows.csv"
        path.write_bytes(b'review,stars\r\n"one\r\ntwo",a\r\n"three\nfour",b\r\nx,a\r\ny,b\r\n')
        assert texts(load(path))[:2] == ["one\r\ntwo", "three\nfour"]

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ('"never closed,a\n', r'rows\.csv:2: a quote \("\) is opened here and never closed'),
            (f"{'x' * 1_000_001},a\n", r"rows\.csv:2: a field of more than a million characters"),
        ],
    )
    def test_what_is_wrong_with_a_field_is_said_in_words(self, tmp_path, row, message):
        path = tmp_path / "rows.csv"
        path.write_text(f"review,stars\n{row}{ROWS}")
        with pytest.raises(ValueError, match=message):
            load(path)


class TestColumnsAreNamed:
    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ({"review": " ", "stars": "a"}, r"rows\.jsonl:1: the text is empty \(column review\)"),
            ({"review": "x", "stars": " "}, r"rows\.jsonl:1: the text is empty \(column stars\)"),
            ({"review": "x", "stars": ["a"]}, r"rows\.jsonl:1: found \['a'\]; expected a text \(column stars\)"),
            ({"review": True, "stars": "a"}, r"rows\.jsonl:1: found True; expected a text \(column review\)"),
        ],
    )
    def test_in_which_field_it_is(self, tmp_path, row, message):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in (row, {"review": "y", "stars": "b"})))
        with pytest.raises(ValueError, match=message):
            load(path)

    def test_the_number_of_a_choice_with_thousands_of_digits(self, tmp_path):
        path = tmp_path / "rows.jsonl"
        path.write_text(json.dumps({"choices": ["a", "b"], "label": "1" * 5000}) + "\n")
        with pytest.raises(
            ValueError, match=r"rows\.jsonl:1: the label '1{59} … is no choice; allowed: 0 to 1 \(column"
        ):
            load(path, "own/choice", {"choices": "choices", "label": "label"})

    def test_a_comment_within_a_sentence_is_blamed_itself(self, tmp_path):
        path = tmp_path / "rows.conll"
        path.write_text("Ann B-PER\nsees O\n# comment\nRome B-LOC\n\n")
        with pytest.raises(ValueError, match=r"tag 'comment' is no entity tag \(B-X, I-X, O\), of word 3, '#'"):
            load(path, "own/entities", {"words": 0, "tags": 1})

    def test_a_column_number_that_is_none(self, tmp_path):
        path = tmp_path / "rows.conll"
        path.write_text("Ann B-PER\nsees O\n\n")
        with pytest.raises(ValueError, match=r"no column '1\.5'"):
            load(path, "own/entities", {"words": 0, "tags": 1.5})

    def test_two_parquet_columns_of_one_name(self, tmp_path):
        path = tmp_path / "rows.parquet"
        write_table(pyarrow.Table.from_arrays([pyarrow.array(["x", "y"])] * 2, names=["review", "review"]), path)
        with pytest.raises(ValueError, match=r"rows\.parquet has the column 'review' twice"):
            open_file(str(path))

    def test_a_file_of_which_no_row_can_be_read(self, tmp_path):
        path = tmp_path / "rows.jsonl"
        path.write_text("[1]\n[2]\n")
        with pytest.raises(
            ValueError, match=r"rows\.jsonl:1: a JSON array, not an object .*; no row of the file can be"
        ):
            open_file(str(path))


class TestOfficialFiles:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"answers": {"text": ["b", "b"], "answer_start": [2]}}, "answers has 2 text and 1 answer_start"),
            ({"question": "which \ud800?"}, "question is not UTF-8"),
        ],
    )
    def test_squad_names_the_question(self, tmp_path, change, message):
        asked = {"id": "q1", "question": "which?", "answers": [{"text": "b", "answer_start": 2}], **change}
        layout = json.dumps({"data": [{"paragraphs": [{"context": "a b c", "qas": [asked]}]}]})
        for split in ("train", "dev"):
            (tmp_path / f"{split}-v1.1.json").write_text(layout)
        with pytest.raises(ValueError, match=rf"train-v1\.1\.json: question 'q1': {message}"):
            open_task(find_task("squad/v1.1"), DataSource("folder", str(tmp_path)))

    def test_swag_names_the_line_and_the_column(self, tmp_path):
        head = "sent1,sent2,ending0,ending1,ending2,ending3,label\n"
        for name in ("train.csv", "val.csv"):
            (tmp_path / name).write_bytes(f"{head}a,b,c,d,e,f,0\n".encode() + "caf\xe9,b,c,d,e,f,0\n".encode("latin-1"))
        with pytest.raises(ValueError, match=r"train\.csv:3: sent1 is not UTF-8"):
            open_task(find_task("swag"), DataSource("folder", str(tmp_path)))
