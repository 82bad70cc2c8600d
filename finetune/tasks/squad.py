"""What is SQuAD v1.1, and how are its questions read and checked?

Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text". Every answer is a piece of its
paragraph, and that is checked: a wrong position would train the model on a wrong span without a word.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value

from finetune.origin import find_files, hub_rows, read_text, said, table, unknown_source
from finetune.task import DataSource, HubData, Rows, Task

NAME = "squad/v1.1"
FILES = {"train": "train-v1.1.json", "dev": "dev-v1.1.json"}
HUB = HubData("rajpurkar/squad", "plain_text")
HUB_SPLITS = {"train": "train", "dev": "validation"}
FEATURES = Features(
    {
        "id": Value("string"),
        "question": Value("string"),
        "context": Value("string"),
        "answers": {"text": List(Value("string")), "answer_start": List(Value("int32"))},
    }
)


def load(source: DataSource) -> Rows:
    """Split name → rows with "id", "question", "context" and "answers".

    Raises FileNotFoundError for a missing file, and ValueError, naming file and question, for a file of another layout,
    an id that stands twice, a question without an answer, or an answer that is not where it is said to be.
    """
    if source.source == "hub":
        rows = hub_rows(NAME, source, HUB, HUB_SPLITS)
        return {split: checked(part, part.info.description, part.info.description) for split, part in rows.items()}
    if source.source == "folder":
        paths = find_files(NAME, source, FILES, set(FILES))
        return {split: checked(questions(path), str(path), said(source, path)) for split, path in paths.items()}
    raise unknown_source(NAME, source)


def questions(path: Path) -> Iterator[dict[str, Any]]:
    """The questions of an official file, a row each."""
    try:
        layout = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not JSON ({error.msg})") from error
    place = "the file"
    try:
        for a, article in enumerate(layout["data"]):
            place = f"data[{a}]"
            for p, paragraph in enumerate(article["paragraphs"]):
                place = f"data[{a}].paragraphs[{p}]"
                for asked in paragraph["qas"]:
                    yield row_of(asked, paragraph["context"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: {place} has not SQuAD's layout ({type(error).__name__}: {error})") from error


def row_of(asked: dict[str, Any], context: str) -> dict[str, Any]:
    """One question as a row."""
    answers = {key: [answer[key] for answer in asked["answers"]] for key in ("text", "answer_start")}
    return {"id": asked["id"], "question": asked["question"], "context": context, "answers": answers}


def checked(rows: Iterable[dict[str, Any]], where: str, description: str) -> Dataset:
    """The rows as a table, each of them looked at."""
    columns: dict[str, list[Any]] = {name: [] for name in FEATURES}
    seen: set[str] = set()
    for row in rows:
        if row["id"] in seen:
            raise ValueError(f"{where}: the id {row['id']!r} stands twice; every question needs its own")
        seen.add(row["id"])
        check_answers(row, where)
        for name, column in columns.items():
            column.append(row[name])
    if not seen:
        raise ValueError(f"{where} holds no questions")
    return table(columns, FEATURES, description)


def check_answers(row: dict[str, Any], where: str) -> None:
    """Every answer is the piece of the context that begins at its position."""
    if not row["answers"]["text"]:
        raise ValueError(f"{where}: question {row['id']!r} has no answer; SQuAD v1.1 has none such, v2.0 has")
    for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True):
        found = row["context"][start : start + len(text)] if start >= 0 else ""
        if found != text or not text:
            raise ValueError(
                f"{where}: question {row['id']!r}: the answer {text!r} is not at {start} in its context: {found!r} is"
            )


TASKS = {
    "v1.1": Task(
        name=NAME,
        head="span",
        labels=(),
        columns=("question", "context"),
        metric="squad_scores",
        headline="f1",
        load=load,
        test_splits=(),  # its answers were never published
    )
}
