"""What do the user's own files ask?  Labels, scores, choices or tags, in columns that the recipe names.

    task: [own/classification]
    data: {source: folder, path: reviews, files: {train: a.csv, dev: b.csv}, columns: {text: review, label: stars}}

own/classification   text, text_pair (may be left out), label    accuracy, macro F1
own/regression       text, text_pair (may be left out), label    Spearman and Pearson correlation
own/choice           text (may be left out), choices, label      accuracy; choices: several columns, or one list
own/entities         words, tags                                 entity F1; IOB1, IOB2 or IOBES tags
own/tags             words, tags                                 accuracy a word; any tags

Files are .csv, .tsv, .jsonl and .parquet; for tags also files in CoNLL's manner, a word a line, with numbers for the
columns. Labels are those of the training file, and stand in the model's config. Without a dev file `data.hold_out` says
which share of the training rows is held out, by their texts, so that equal texts never stand on both sides.
"""

import difflib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Features, List, Value

from engine.recipe import data_path
from engine.records import json_value
from finetune.inputs import Row, opened
from finetune.origin import read_text, said, table, unknown_source
from finetune.task import DataSource, Head, Rows, Task
from finetune.tasks.ner import iob2

LARGEST = 1_000_000  # characters of one field
Parsed = dict[str, Any]  # our column → its value, for one row


@dataclass(frozen=True)
class Kind:
    """One kind of question: which columns it has, which of them may be missing, and how one row is read."""

    name: str
    head: Head
    columns: tuple[str, ...]  # the texts
    optional: tuple[str, ...]
    answer: str  # what the recipe calls the column of answers
    metric: str
    headline: str


def load(kind: Kind, source: DataSource) -> Rows:
    """Split name → rows with "id", the texts and "label", which a test file may lack.

    Raises FileNotFoundError for a missing file, and ValueError, naming file and row, for a bad one.
    """
    if source.source != "folder":
        raise unknown_source(f"own/{kind.name}", source)
    check_source(kind, source)
    parsed = {split: list(read(kind, source, split)) for split in ("train", "dev", "test") if split in source.files}
    described = {split: said(source, file_of(source, split)) for split in parsed}
    if "dev" not in parsed:
        parsed["train"], parsed["dev"] = held_out(kind, parsed["train"], source.hold_out)
        described["dev"] = f"{described['train']}, {source.hold_out:.0%} held out by text"
    parsed = {split: parsed[split] for split in ("train", "dev", "test") if split in parsed}
    labels = labels_of(kind, [row["label"] for _, row in parsed["train"]])
    return {split: as_table(kind, rows, labels, described[split], split) for split, rows in parsed.items()}


def check_source(kind: Kind, source: DataSource) -> None:
    """Refuse a `data:` section that does not say what is needed. Errors: ValueError."""
    allowed = (*kind.columns, kind.answer)
    for name in source.columns:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"own/{kind.name}: data.columns names {name!r}{hint} (it takes {', '.join(allowed)})")
    if missing := [name for name in allowed if name not in source.columns and name not in kind.optional]:
        raise ValueError(f"own/{kind.name}: data.columns does not say which column is {missing[0]!r}")
    if "train" not in source.files:
        raise ValueError(f"own/{kind.name}: data.files must name the train file")
    if ("dev" in source.files) == bool(source.hold_out):
        raise ValueError(
            f"own/{kind.name}: name a dev file in data.files, or a share of the training rows in data.hold_out, such "
            "as 0.1; one of the two"
        )


def file_of(source: DataSource, split: str) -> Path:
    path = data_path(source.path) / source.files[split]
    if not path.is_file():
        raise FileNotFoundError(f"no {split} file at {path.absolute()}")
    return path


def read(kind: Kind, source: DataSource, split: str) -> Iterator[tuple[str, Parsed]]:
    """The rows of a file: where each stands, and its fields under our names."""
    path = file_of(source, split)
    rows = conll_rows(path) if in_conll_manner(kind, source) else opened(str(path)).rows
    broken: list[str] = []
    for row in rows:
        try:
            yield row.where, parsed(kind, source, row, needs_answer=split != "test")
        except ValueError as error:
            broken.append(f"{row.where}: {error}")
            if not source.skip_broken_rows:
                raise ValueError(f"{broken[0]} (data.skip_broken_rows: true would leave such rows out)") from None
    if broken:
        print(f"{broken[0]}: {len(broken)} such rows left out")


def in_conll_manner(kind: Kind, source: DataSource) -> bool:
    """Whether the columns of words are named by their numbers."""
    return kind.head == "tagging" and all(isinstance(column, int | float) for column in source.columns.values())


def conll_rows(path: Path) -> Iterator[Row]:
    """Sentences of a file with a word a line and empty lines between them; a column is a list, named by its number."""
    lines: list[list[str]] = []
    begin = 1
    for number, line in enumerate([*read_text(path).split("\n"), ""], 1):
        fields = line.split("\t") if "\t" in line else line.split()
        if fields and not line.startswith("-DOCSTART-"):
            if lines and len(fields) != len(lines[0]):
                raise ValueError(f"{path}:{number}: {len(fields)} columns; the lines before have {len(lines[0])}")
            begin = begin if lines else number
            lines.append(fields)
        elif lines:
            columns = {str(place): [fields[place] for fields in lines] for place in range(len(lines[0]))}
            yield Row(begin, f"{path}:{begin}", columns)
            lines = []


def parsed(kind: Kind, source: DataSource, row: Row, needs_answer: bool) -> Parsed:
    """One row's fields under our names. Errors: ValueError that says what is wrong."""
    if row.trouble:
        raise ValueError(row.trouble)
    found = {name: READERS[name](fetched(row, source.columns[name])) for name in kind.columns if name in source.columns}
    column = source.columns[kind.answer]
    if needs_answer or present(row, column):
        found["label"] = ANSWERS[kind.head](fetched(row, column), found)
    return found


def present(row: Row, column: Any) -> bool:
    return str(column) in row.fields and row.fields[str(column)] not in (None, "")


def fetched(row: Row, column: Any) -> Any:
    """A field, or several of them where the recipe names a list of columns."""
    if isinstance(column, list):
        return [fetched(row, name) for name in column]
    name = str(int(column)) if isinstance(column, float) else str(column)
    if name not in row.fields:
        near = difflib.get_close_matches(name, row.fields, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no column {name!r}{hint} (there are {', '.join(row.fields)})")
    if row.fields[name] in (None, "", []):
        raise ValueError(f"{name} is empty")
    return row.fields[name]


def a_text(value: Any) -> str:
    text = str(value).replace("\0", "")
    if len(text) > LARGEST:
        raise ValueError(f"a text of {len(text):,} characters; more than {LARGEST:,} are taken for a mistake")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("the text is not UTF-8")
    if not text.strip():
        raise ValueError("the text is empty")
    return text


def a_list(value: Any) -> list[str]:
    """A list as JSON has it, or words parted by blanks."""
    if isinstance(value, str):
        value = json_value(value) if value.startswith("[") else value.split()
    return [a_text(item) for item in value]


def a_label(value: Any, found: Parsed) -> str:
    return a_text(value).strip()


def a_score(value: Any, found: Parsed) -> float:
    try:
        score = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"the score {value!r} is no number") from None
    if score != score or score in (float("inf"), float("-inf")):
        raise ValueError(f"the score {value!r} is not finite")
    return score


def a_choice(value: Any, found: Parsed) -> int:
    last = len(found["choices"]) - 1
    if not str(value).isdigit() or int(value) > last:
        raise ValueError(f"the label {value!r} is no choice; allowed: 0 to {last}")
    return int(value)


def word_tags(value: Any, found: Parsed) -> list[str]:
    tags = a_list(value)
    if len(tags) != len(found["words"]):
        raise ValueError(f"{len(tags)} tags for {len(found['words'])} words")
    return tags


READERS: dict[str, Callable[[Any], Any]] = {"text": a_text, "text_pair": a_text, "choices": a_list, "words": a_list}
ANSWERS: dict[Head, Callable[[Any, Parsed], Any]] = {
    "classification": a_label,
    "regression": a_score,
    "choice": a_choice,
    "tagging": word_tags,
}


def held_out(
    kind: Kind, rows: Sequence[tuple[str, Parsed]], share: float
) -> tuple[list[tuple[str, Parsed]], list[tuple[str, Parsed]]]:
    """(train, dev), by a hash of the texts: the same rows each time, and equal texts on one side."""

    def draw(row: Parsed) -> float:
        texts = json.dumps([row.get(name) for name in kind.columns], ensure_ascii=False)
        return int(hashlib.sha256(texts.encode()).hexdigest()[:8], 16) / 2**32

    sides = [draw(row) < share for _, row in rows]
    dev = [row for row, held in zip(rows, sides, strict=True) if held]
    train = [row for row, held in zip(rows, sides, strict=True) if not held]
    if not dev or not train:
        raise ValueError(f"own/{kind.name}: data.hold_out {share} leaves {len(train)} rows to train on and {len(dev)}")
    return train, dev


def labels_of(kind: Kind, answers: Sequence[Any]) -> list[str]:
    """The labels of the training rows in order: numbers by size, names by the alphabet; O before other tags."""
    if kind.head == "classification":
        found = set(answers)
        if len(found) < 2:
            raise ValueError(f"own/{kind.name}: every training row has the label {found.pop()!r}: nothing to learn")
        return sorted(found, key=lambda label: (0, float(label), "") if is_number(label) else (1, 0.0, label))
    if kind.head == "tagging":
        tags = {tag for row in answers for tag in tags_of(kind, row)}
        return sorted(tags, key=lambda tag: (tag != "O", tag))
    if kind.head == "choice":
        return [str(number) for number in range(max(answers) + 1)]
    return []


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def tags_of(kind: Kind, tags: Sequence[str]) -> list[str]:
    """Entity tags as IOB2: of IOBES, E- goes on and S- begins; other tags as they are."""
    if kind.name != "entities":
        return list(tags)
    begins = {"E": "I", "L": "I", "S": "B", "U": "B"}
    plain = [begins.get(tag[:1], tag[:1]) + tag[1:] if tag[1:2] == "-" else tag for tag in tags]
    if strange := [tag for tag in plain if tag != "O" and tag[:2] not in ("B-", "I-")]:
        raise ValueError(f"tag {strange[0]!r} is no entity tag (B-X, I-X, O); for other tags there is own/tags")
    return iob2(plain)


def as_table(
    kind: Kind, rows: Sequence[tuple[str, Parsed]], labels: list[str], description: str, split: str
) -> Dataset:
    """The rows with their labels as numbers."""
    names = [name for name in kind.columns if name in rows[0][1]]
    columns: dict[str, list[Any]] = {"id": [str(number) for number in range(len(rows))]}
    columns |= {name: [row[name] for _, row in rows] for name in names}
    features = {"id": Value("string")} | {name: FEATURES[name] for name in names}
    if all("label" in row for _, row in rows):
        codes = {label: code for code, label in enumerate(labels)}
        columns["label"] = [coded(kind, row["label"], codes, where) for where, row in rows]
        plain = Value("float32") if kind.head == "regression" else ClassLabel(names=labels)
        features["label"] = List(plain) if kind.head == "tagging" else plain
    return table(columns, Features(features), description)


FEATURES = {
    "text": Value("string"),
    "text_pair": Value("string"),
    "choices": List(Value("string")),
    "words": List(Value("string")),
}


def coded(kind: Kind, answer: Any, codes: dict[str, int], where: str) -> Any:
    """An answer as a number, or as numbers. Errors: ValueError for a label that the training rows have not."""
    if kind.head in ("regression", "choice"):
        return answer
    given = tags_of(kind, answer) if kind.head == "tagging" else [answer]
    if strange := [label for label in given if label not in codes]:
        raise ValueError(f"{where}: the label {strange[0]!r} is not in the training rows; those are {', '.join(codes)}")
    found = [codes[label] for label in given]
    return found if kind.head == "tagging" else found[0]


TEXT = ("text", "text_pair")
KINDS = (
    Kind("classification", "classification", TEXT, ("text_pair",), "label", "glue_scores/accuracy_and_macro_f1",
         "accuracy"),
    Kind("regression", "regression", TEXT, ("text_pair",), "label", "glue_scores/correlations", "spearmanr"),
    Kind("choice", "choice", ("text", "choices"), ("text",), "label", "glue_scores/accuracy", "accuracy"),
    Kind("entities", "tagging", ("words",), (), "tags", "entity_scores", "f1"),
    Kind("tags", "tagging", ("words",), (), "tags", "tag_scores", "accuracy"),
)  # fmt: skip
TASKS = {
    kind.name: Task(f"own/{kind.name}", kind.head, (), (), kind.metric, kind.headline, partial(load, kind))
    for kind in KINDS
}
