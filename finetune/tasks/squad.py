"""What is SQuAD, and how are its questions read and checked?

Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text" (v1.1); Rajpurkar et al. 2018,
"Know What You Don't Know: Unanswerable Questions for SQuAD" (v2.0), where a question may have no answer. Every answer
is a piece of its paragraph, and that is checked: a wrong position would train the model on a wrong span without a word.
"""

import json
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value

from finetune.questions.span import SpanQuestion
from finetune.tasks.fields import is_utf8, show_value
from finetune.tasks.rows import describe_file, find_files, load_hub_rows, make_table, read_text, unknown_source
from finetune.tasks.task import DataSource, HubData, Rows, Task

HUB_SPLITS = {"train": "train", "dev": "validation"}
ANSWER = ("text", "answer_start")
FEATURES = Features(
    {
        "id": Value("string"),
        "question": Value("string"),
        "context": Value("string"),
        "answers": {"text": List(Value("string")), "answer_start": List(Value("int32"))},
    }
)


@dataclass(frozen=True)
class Version:
    """One of the two SQuADs."""

    number: str
    hub: HubData
    unanswerable: bool

    @property
    def task(self) -> str:
        return f"squad/v{self.number}"

    @property
    def files(self) -> dict[str, str]:
        return {split: f"{split}-v{self.number}.json" for split in HUB_SPLITS}


V1 = Version("1.1", HubData("rajpurkar/squad", "plain_text"), unanswerable=False)
V2 = Version("2.0", HubData("rajpurkar/squad_v2", "squad_v2"), unanswerable=True)


def load(version: Version, source: DataSource) -> Rows:
    """Split name → rows with "id", "question", "context" and "answers", which are empty where there is none.

    Raises FileNotFoundError for a missing file, and ValueError, naming file and question, for a file of another layout,
    an id that stands twice, a v1.1 question without an answer, or an answer that is not at its place; with
    data.skip_broken_rows such questions are left out, and counted.
    """
    if source.source == "hub":
        rows = load_hub_rows(version.task, source, version.hub, HUB_SPLITS)
        where = {split: part.info.description for split, part in rows.items()}
        return {split: check_rows(part, where[split], where[split], version, source) for split, part in rows.items()}
    if source.source == "folder":
        paths = find_files(version.task, source, version.files, set(version.files))
        return {
            split: check_rows(read_questions(path), str(path), describe_file(source, path), version, source)
            for split, path in paths.items()
        }
    raise unknown_source(version.task, source)


def read_questions(path: Path) -> Iterator[dict[str, Any]]:
    text = read_text(path)
    try:
        layout = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not JSON ({error.msg})") from error
    except (ValueError, RecursionError):
        problem = "it is nested too deeply, or a whole number has thousands of digits"
        raise ValueError(f"{path}: not JSON that can be read: {problem}") from None
    place = "the file"
    try:
        for a, article in enumerate(layout["data"]):
            place = f"data[{a}]"
            for p, paragraph in enumerate(article["paragraphs"]):
                place = f"data[{a}].paragraphs[{p}]"
                for q, asked in enumerate(paragraph["qas"]):
                    place = f"data[{a}].paragraphs[{p}].qas[{q}]"
                    yield make_row(asked, paragraph["context"], place)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: {place} has not SQuAD's layout ({type(error).__name__}: {error})") from error


def make_row(asked: dict[str, Any], context: Any, place: str) -> dict[str, Any]:
    """One question as a row; what it lacks is None. What v2.0 calls plausible answers are none."""
    answers = asked.get("answers")
    if isinstance(answers, list) and all(isinstance(answer, dict) for answer in answers):
        answers = {key: [answer.get(key) for answer in answers] for key in ANSWER}
    names = ("id", "question", "is_impossible")
    return {name: asked.get(name) for name in names} | {"context": context, "answers": answers, "place": place}


def check_rows(
    rows: Iterable[dict[str, Any]], where: str, description: str, version: Version, source: DataSource
) -> Dataset:
    """The rows as a table, each of them looked at."""
    columns: dict[str, list[Any]] = {name: [] for name in FEATURES}
    seen: set[str] = set()
    broken: list[str] = []
    for row in rows:
        problem = find_misshapen(row) or find_fault(row, version)
        if not problem and row["id"] in seen:
            problem = "its id stands twice; every question needs its own"
        if problem:
            name = f"question {row['id']!r}" if isinstance(row["id"], str) else row.get("place", "a question")
            broken.append(f"{where}: {name}: {problem}")
            if not source.skip_broken_rows:
                raise ValueError(f"{broken[0]} (data.skip_broken_rows: true would leave such questions out)")
            continue
        seen.add(row["id"])
        for name, column in columns.items():
            column.append(row[name])
    if not seen:
        raise ValueError(f"{where} holds no questions")
    if broken:
        warnings.warn(f"{broken[0]}: {len(broken)} such questions left out", stacklevel=2)
    left_out = f", {len(broken)} broken questions left out" if broken else ""
    return make_table(columns, FEATURES, description + left_out)


def find_misshapen(row: dict[str, Any]) -> str:
    """Which field of a question is not of its kind."""
    for name in ("id", "question", "context"):
        if not isinstance(row[name], str):
            return f"{name} is {show_value(row[name])}; expected a text"
        if not is_utf8(row[name]):
            return f"{name} is not UTF-8"
    answers = row["answers"]
    if not isinstance(answers, dict) or not all(isinstance(answers.get(key), list) for key in ANSWER):
        return f"answers is {show_value(answers)}; expected a list of answers, each with {' and '.join(ANSWER)}"
    if len(answers["text"]) != len(answers["answer_start"]):
        return f"answers has {len(answers['text'])} text and {len(answers['answer_start'])} answer_start"
    for text in answers["text"]:
        if not isinstance(text, str):
            return f"the text of an answer is {show_value(text)}; expected a text"
    for start in answers["answer_start"]:
        if type(start) is not int:  # true is an int, too
            return f"answer_start is {show_value(start)}; expected a whole number, the answer's first character"
    if row.get("is_impossible") not in (None, True, False):
        return f"is_impossible is {show_value(row['is_impossible'])}; expected true or false"
    return ""


def find_fault(row: dict[str, Any], version: Version) -> str:
    """What is wrong with a question's answers: each is the piece of the context that begins at its position."""
    if not row["answers"]["text"] and not version.unanswerable:
        return "it has no answer; SQuAD v1.1 has none such, v2.0 has: task squad/v2.0"
    if row.get("is_impossible") == bool(row["answers"]["text"]):  # v1.1's files and the Hub's do not say it
        return f"is_impossible is {str(row['is_impossible']).lower()}, and it has {len(row['answers']['text'])} answers"
    for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True):
        found = row["context"][start : start + len(text)] if start >= 0 else ""
        if found != text or not text:
            return f"the answer {text!r} is not at {start} in its context: {found!r} is"
    return ""


def make_task(version: Version) -> Task:
    return Task(
        name=version.task,
        question=SpanQuestion(),
        labels=(),
        columns=("question", "context"),
        metric=f"squad_v{version.number}",
        headline="f1",
        load=partial(load, version),
        test_splits=(),  # its answers were never published
        unanswerable=version.unanswerable,
        language="en",
    )


TASKS = {f"v{version.number}": make_task(version) for version in (V1, V2)}
