"""Is a row that no parser survives named by file and place, and left out where that is asked for?"""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from finetune.ask.predict import Example, Examples
from finetune.questions import QUESTIONS
from finetune.tasks.files import open_file
from finetune.tasks.task import DataSource, find_task

BAD_LINES = [
    ('{"text": "a", "x": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
    ('{"text": "a", "n": ' + "9" * 5000 + "}", "thousands of digits"),
    ('{"text": "a", "text": "b"}', "the key 'text' is given twice"),
    ('{"text": "a\\ud800"}', "is not UTF-8 at character 1"),
    ("[1]", "not an object"),
    ('{"text": "cut', "not JSON"),
]


def examples(path: Path, skip: bool, id_column: str = "") -> Examples:
    return Examples(open_file(str(path)).rows, QUESTIONS["classification"], {"text": "text"}, id_column, skip)


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=[message for _, message in BAD_LINES])
def test_a_bad_line_is_named_or_left_out_where_answers_are_asked_for(tmp_path, line, message):
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "One."}\n' + line + '\n{"text": "Three."}\n')
    with pytest.raises(ValueError, match=rf"in\.jsonl:2: .*{message}.*--skip_broken True"):
        list(examples(path, skip=False))
    found = examples(path, skip=True)
    assert list(found) == [Example(0, {"text": "One."}), Example(2, {"text": "Three."})]
    assert "1 broken rows left out, the first: " in found.report


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=[message for _, message in BAD_LINES])
def test_a_bad_line_is_named_or_left_out_where_rows_are_learnt(tmp_path, line, message):
    good = [json.dumps({"text": f"Number {n}.", "label": "ab"[n % 2]}) for n in range(4)]
    (tmp_path / "train.jsonl").write_text("\n".join([good[0], line.replace("}", ', "label": "a"}', 1), *good[1:]]))
    (tmp_path / "dev.jsonl").write_text("\n".join(good))
    asked = {
        "source": "folder",
        "path": str(tmp_path),
        "files": {"train": "train.jsonl", "dev": "dev.jsonl"},
        "columns": {"text": "text", "label": "label"},
    }
    with pytest.raises(ValueError, match=r"train\.jsonl:2: .*data.skip_broken_rows: true"):
        find_task("own/classification").load(DataSource(**asked))
    rows = find_task("own/classification").load(DataSource(**asked, skip_broken_rows=True))
    assert rows["train"]["text"][:] == [f"Number {n}." for n in range(4)]


@pytest.mark.parametrize("is_text", [True, False])
def test_a_column_of_bytes_is_read_as_utf8_row_by_row(tmp_path, is_text):
    column = pyarrow.array(["Ä one.".encode(), b"caf\xe9", b"Three."])
    if is_text:
        column = pyarrow.Array.from_buffers(pyarrow.string(), 3, column.buffers())
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / "in.parquet")
    with pytest.raises(ValueError, match=r"in\.parquet, row 1: 'text' is not UTF-8 at byte 3; --skip_broken True"):
        list(examples(tmp_path / "in.parquet", skip=False))
    found = list(examples(tmp_path / "in.parquet", skip=True))
    assert found == [Example(0, {"text": "Ä one."}), Example(2, {"text": "Three."})]


def test_rows_before_the_damage_of_a_table_are_kept(tmp_path):
    path = tmp_path / "in.parquet"
    texts = [f"Row {number} is {number * 7919 % 10007}." for number in range(4000)]
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), path, row_group_size=1000, compression="gzip")
    place = pyarrow.parquet.ParquetFile(path).metadata.row_group(2).column(0).dictionary_page_offset
    damaged = bytearray(path.read_bytes())
    damaged[place : place + 400] = bytes(400)
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"in\.parquet, row 2000: the file is damaged from here on: .*--skip_broken"):
        list(examples(path, skip=False))
    assert [example.fields["text"] for example in examples(path, skip=True)] == texts[:2000]


def test_an_id_that_an_answer_cannot_repeat_is_refused(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"id": "a\\ud800", "text": "One."}\n{"id": NaN, "text": "Two."}\n{"id": "c", "text": "Three."}\n')
    with pytest.raises(ValueError, match=r"in\.jsonl:1: 'id' is 'a\\ud800', which JSON in UTF-8 cannot say"):
        list(examples(path, skip=False, id_column="id"))
    assert list(examples(path, skip=True, id_column="id")) == [Example("c", {"text": "Three."})]
