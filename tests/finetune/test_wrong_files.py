"""Does a file that is not what is wanted get one line that says what to do, and does that work?"""

import re
import shlex
import subprocess
import sys

import pytest

from corpus.text.document import Tally
from corpus.text.readers import documents
from corpus.text.source import Source
from engine.run.recipe import read
from finetune.recipe import FinetuneRecipe
from finetune.tasks.task import DataSource, find_task, open_task

ROWS = [("a good day", 1), ("a bad day", 0), ("good", 1), ("bad, very bad", 0)] * 3
COLUMNS = {"text": "text", "label": "label"}


def table(mark: str) -> str:
    quoted = (f'"{text}"' if mark in text else text for text, _ in ROWS)
    return f"text{mark}label\n" + "".join(
        f"{text}{mark}{label}\n" for text, (_, label) in zip(quoted, ROWS, strict=True)
    )


def open_rows(task: str = "own/classification", **source):
    return open_task(find_task(task), DataSource("folder", columns=COLUMNS, hold_out=0.3, **source))[1]


def test_a_file_where_a_folder_is_wanted(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text(table(","))
    with pytest.raises(ValueError, match=r"data\.path is the file .*: say --data\.path") as error:
        open_rows(path=str(path), files={"train": "train.csv"})
    advice = shlex.split(str(error.value).rpartition("say ")[2])
    recipe = read(FinetuneRecipe, ["recipes/finetune/own-classification.yaml", *advice])
    assert len(open_task(find_task("own/classification"), recipe.data)[1]["train"]) > 0


def test_a_file_of_another_name(tmp_path):
    (tmp_path / "reviews.csv").write_text(table(","))
    with pytest.raises(FileNotFoundError, match=r"there are reviews\.csv: name yours with --data\.files\.train FILE"):
        open_rows(path=str(tmp_path), files={"train": "train.csv"})


def test_semicolons_are_read_in_a_csv_and_refused_in_a_tsv(tmp_path):
    (tmp_path / "train.tsv").write_text(table(";"))
    with pytest.raises(
        ValueError, match=r"train\.tsv:1: a \.tsv has tabs between its columns, and this header has ';'"
    ):
        open_rows(path=str(tmp_path), files={"train": "train.tsv"})
    (tmp_path / "train.tsv").rename(tmp_path / "train.csv")
    rows = open_rows(path=str(tmp_path), files={"train": "train.csv"})
    assert {"bad, very bad", "good"} <= {*rows["train"]["text"], *rows["dev"]["text"]}


def test_utf_16_without_a_mark_and_the_command_that_mends_it(tmp_path):
    path = tmp_path / "train.csv"
    path.write_bytes(table(",").encode("utf-16-le"))
    with pytest.raises(ValueError, match="write it anew with") as error:
        open_rows(path=str(tmp_path), files={"train": "train.csv"})
    run_iconv(str(error.value), path)
    assert len(open_rows(path=str(tmp_path), files={"train": "train.csv"})["train"]) > 0


def test_a_corpus_in_utf_16(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("The first day. The second day.\n", encoding="utf-16")
    source = Source("text", str(path))
    with pytest.raises(ValueError, match="it is UTF-16: write it anew with") as error:
        list(documents(source, Tally()))
    run_iconv(str(error.value), path)
    assert next(documents(source, Tally())).paragraphs == ("The first day. The second day.",)


def run_iconv(said, path):
    command = re.search(r"write it anew with  (iconv -f \S+ -t UTF-8) FILE > NEW", said)[1]
    path.write_bytes(subprocess.run([*command.split(), path], capture_output=True, check=True).stdout)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_as_a_corpus_and_the_command_that_makes_json_lines_of_it(tmp_path, mark):
    path = tmp_path / ("texts.tsv" if mark == "\t" else "texts.csv")
    path.write_text(table(mark))
    for place in (path, tmp_path):
        with pytest.raises((ValueError, FileNotFoundError), match='python -c "import pandas') as error:
            list(documents(Source("jsonl", str(place)), Tally()))
    command = shlex.split(re.search(r"say  (python -c .*?\)\")  and name that file", str(error.value))[1])
    subprocess.run([sys.executable, *command[1:]], check=True)
    read_back = documents(Source("jsonl", str(path.with_suffix(".jsonl"))), Tally())
    assert [document.paragraphs[0] for document in read_back] == [text for text, _ in ROWS]


def test_numbers_written_as_text(tmp_path):
    (tmp_path / "train.csv").write_text('text,label\na,"3,5"\nb,"1,0"\n')
    with pytest.raises(ValueError, match=r"the score '3,5' is no number; a number has a decimal point: 3\.5"):
        open_rows("own/regression", path=str(tmp_path), files={"train": "train.csv"})
    (tmp_path / "train.csv").write_text("text,label\na,3.5\nb,1.0\n")
    (tmp_path / "dev.csv").write_text("text,label\na,2.5\n")
    source = {"path": str(tmp_path), "files": {"train": "train.csv", "dev": "dev.csv"}, "columns": COLUMNS}
    with pytest.raises(ValueError, match="if they are scores, say --task own/regression"):
        open_task(find_task("own/classification"), DataSource("folder", **source))
    rows = open_task(find_task("own/regression"), DataSource("folder", **source))[1]
    assert rows["dev"]["label"][:] == [2.5]
