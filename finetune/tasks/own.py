"""What do the user's own files ask?  Labels, scores, choices or tags, in columns that the recipe names.

    task: [own/classification]
    data: {source: folder, path: reviews, files: {train: a.csv, dev: b.csv}, columns: {text: review, label: stars}}

own/classification   text, text_pair (may be left out), label    accuracy, macro F1
own/regression       text, text_pair (may be left out), label    Spearman and Pearson correlation
own/choice           text (may be left out), choices, label      accuracy; choices: several columns, or one list
own/entities         words, tags                                 entity F1; IOB1, IOB2 or IOBES tags
own/tags             words, tags                                 accuracy a word; any tags

Files are .csv, .tsv, .jsonl and .parquet; for tags also files with a word a line, CoNLL-U's too, with numbers for the
columns. Labels are those of the training file, and stand in the model's config; the tags of entities are O and B- and
I- of every type. Rows may have unlike numbers of choices. Without a dev file `data.hold_out` says which share of the
training rows is held out, by their texts, so that equal texts never stand on both sides; no label loses its last row.
"""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, List, Value

from engine.run.recipe import data_path
from finetune.tasks.fields import choices_of, is_empty, is_utf8, label_of, shown, text_of, words_of
from finetune.tasks.files import Row, opened
from finetune.tasks.held_out import held_out
from finetune.tasks.ner import iob2
from finetune.tasks.rows import said, table, unknown_source
from finetune.tasks.task import DataSource, Head, Rows, Task

LARGEST = 1_000_000  # characters of one field
LONGEST_NUMBER = 10  # digits of a choice's number: int() refuses thousands in words of its own
LABELS_SHOWN = 20  # in a message
LARGEST_SCORE = float(np.finfo(np.float32).max)  # that a network can hold
MISSING = ("none", "null", "na", "n/a", "<na>")  # labels, where all the others are numbers
Parsed = dict[str, Any]  # our column → its value, for one row
Placed = tuple[str, Parsed]  # where it stands in its file, and what it holds


@dataclass(frozen=True)
class Kind:
    """One kind of question: which columns it has, which of them may be missing, and how one row is read."""

    name: str
    head: Head
    columns: tuple[str, ...]  # the texts
    optional: tuple[str, ...]
    answer: str  # what the recipe calls the column of answers
    read_answer: Callable[[Any, Parsed], Any]  # from the field and the row's other fields
    metric: str
    headline: str


def load(kind: Kind, source: DataSource) -> Rows:
    """Split name → rows with "id", the texts and "label", which a test file may lack.

    Raises FileNotFoundError for a missing file, and ValueError, naming file and row, for a bad one.
    """
    if source.source != "folder":
        raise unknown_source(f"own/{kind.name}", source)
    check_source(kind, source)
    parsed: dict[str, list[Placed]] = {}
    described: dict[str, str] = {}
    for split in ("train", "dev", "test"):
        if split in source.files:
            parsed[split], left_out = read(kind, source, split)
            described[split] = said(source, file_of(source, split)) + left_out
    if "dev" not in parsed:
        described["dev"] = f"{described['train']}, {source.hold_out:.0%} held out by text"
        parsed["train"], parsed["dev"], num_kept = cut(kind, parsed["train"], source.hold_out)
        described["train"] += f", {num_kept} rows not held out for their labels' sake" if num_kept else ""
    labels = labels_of(kind, parsed)
    splits = [split for split in ("train", "dev", "test") if split in parsed]
    return {split: as_table(kind, parsed[split], labels, described[split]) for split in splits}


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


def read(kind: Kind, source: DataSource, split: str) -> tuple[list[Placed], str]:
    """The rows of a file under our names, and, in words, what of it was left out."""
    path = file_of(source, split)
    inputs = opened(str(path), by_number(kind, source))
    rows: list[Placed] = []
    broken: list[str] = []

    def refuse(where: str, trouble: object) -> None:
        broken.append(f"{where}: {trouble}")
        if not source.skip_broken_rows:
            raise ValueError(f"{broken[0]} (data.skip_broken_rows: true would leave such rows out)")

    for row in inputs.rows:
        try:
            rows.append((row.where, parsed(kind, source, row, needs_answer=split != "test")))
        except ValueError as error:
            refuse(row.where, error)
    if marks := missing_among_numbers(kind, rows):
        for where, fields in rows:
            if fields.get("label") in marks:
                refuse(where, f"the label {fields['label']!r} among numbers says that there is none")
        rows = [placed for placed in rows if placed[1].get("label") not in marks]
    if not rows:
        raise ValueError(f"{broken[0]}: no other row is left" if broken else f"{path} holds no rows")
    if broken:
        print(f"{broken[0]}: {len(broken)} such rows left out")
    number = f"{len(broken)} broken rows left out" if broken else ""
    return rows, "".join(f", {words}" for words in (inputs.left_out, number) if words)


def by_number(kind: Kind, source: DataSource) -> bool:
    """Whether the columns of words are named by their numbers."""
    return kind.head == "tagging" and all(isinstance(column, int | float) for column in source.columns.values())


def parsed(kind: Kind, source: DataSource, row: Row, needs_answer: bool) -> Parsed:
    """One row's fields under our names. Errors: ValueError that says what is wrong."""
    if row.trouble:
        raise ValueError(row.trouble)
    named = [name for name in kind.columns if name in source.columns]
    found = {name: in_column(READERS[name], row, source.columns[name]) for name in named}
    column = source.columns[kind.answer]
    if needs_answer or not is_empty(row.fields.get(str(column))):
        found["label"] = in_column(lambda value: kind.read_answer(value, found), row, column)
    return found


def in_column(reader: Callable[[Any], Any], row: Row, column: Any) -> Any:
    """What `reader` makes of a field, whose column is named if it makes nothing of it."""
    value = fetched(row, column)
    try:
        return reader(value)
    except ValueError as error:
        names = ", ".join(map(str, column)) if isinstance(column, list) else column
        raise ValueError(f"{error} (column {names})") from None


def fetched(row: Row, column: Any) -> Any:
    """A field, or several of them, of which some may be empty, where the recipe names a list of columns."""
    if isinstance(column, list):
        return [field(row, str(name)) for name in column]
    name = str(int(column)) if isinstance(column, float) and column.is_integer() else str(column)
    value = field(row, name)
    if is_empty(value):
        raise ValueError(f"{name} is empty")
    return value


def field(row: Row, name: str) -> Any:
    if name not in row.fields:
        near = difflib.get_close_matches(name, row.fields, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no column {name!r}{hint} (there are {', '.join(row.fields)})")
    return row.fields[name]


def missing_among_numbers(kind: Kind, rows: Sequence[Placed]) -> set[str]:
    """The labels that say that there is none, in a file where every other label is a number."""
    if kind.head != "classification":
        return set()
    found = {row["label"] for _, row in rows if "label" in row}
    marks = {label for label in found if label.lower() in MISSING}
    return marks if found - marks and all(map(is_number, found - marks)) else set()


def a_text(value: Any) -> str:
    text = text_of(value).replace("\0", "")
    if len(text) > LARGEST:
        raise ValueError(f"a text of {len(text):,} characters; more than {LARGEST:,} are taken for a mistake")
    if not is_utf8(text):
        raise ValueError("the text is not UTF-8")
    if not text.strip():
        raise ValueError("the text is empty")
    return text


def some_choices(value: Any) -> list[str]:
    return [a_text(choice) for choice in choices_of(value)]


def some_words(value: Any) -> list[str]:
    return [a_text(word) for word in words_of(value)]


def a_label(value: Any, found: Parsed) -> str:
    label = a_text(label_of(value)).strip()
    if label.lower() == "nan":
        raise ValueError(f"the label is {label}, as an empty field is written; a class needs another name")
    return label


def a_score(value: Any, found: Parsed) -> float:
    try:
        score = float(text_of(value))
    except ValueError:
        raise ValueError(f"the score {value!r} is no number") from None
    if not abs(score) <= LARGEST_SCORE:
        raise ValueError(f"the score {value!r} is not finite")
    return score


def a_choice(value: Any, found: Parsed) -> int:
    last = len(found["choices"]) - 1
    number = label_of(value).removesuffix(".0")  # tables with a missing number have all their numbers so
    if not (number.isascii() and number.isdecimal() and len(number) < LONGEST_NUMBER) or int(number) > last:
        raise ValueError(f"the label {shown(value)} is no choice; allowed: 0 to {last}")
    return int(number)


def word_tags(value: Any, found: Parsed) -> list[str]:
    tags = [a_text(tag).strip() for tag in words_of(value)]
    if len(tags) != len(found["words"]):
        raise ValueError(f"{len(tags)} tags for {len(found['words'])} words")
    return tags


def entity_tags(value: Any, found: Parsed) -> list[str]:
    """Tags as IOB2: of IOBES, E- goes on and S- begins."""
    begins = {"E": "I", "L": "I", "S": "B", "U": "B"}
    tags = word_tags(value, found)
    plain = [begins.get(tag[:1], tag[:1]) + tag[1:] if tag[1:2] == "-" else tag for tag in tags]
    strange = [place for place, tag in enumerate(plain) if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) < 3)]
    if strange:
        place = strange[0]
        raise ValueError(
            f"tag {shown(plain[place])} is no entity tag (B-X, I-X, O), of word {place + 1}, "
            f"{shown(found['words'][place])}; for other tags there is own/tags"
        )
    return iob2(plain)


READERS: dict[str, Callable[[Any], Any]] = {
    "text": a_text, "text_pair": a_text, "choices": some_choices, "words": some_words,
}  # fmt: skip


def cut(kind: Kind, rows: Sequence[Placed], share: float) -> tuple[list[Placed], list[Placed], int]:
    """(train, dev, the number of rows that stay in train for their labels)."""
    texts = [[row.get(name) for name in kind.columns] for _, row in rows]
    try:
        return held_out(rows, texts, [names_in(kind, row["label"]) for _, row in rows], share)
    except ValueError as error:
        raise ValueError(f"own/{kind.name}: {error}") from None


def names_in(kind: Kind, answer: Any) -> set[str]:
    """What a row's answer teaches: its label, its tags, or the types of its entities."""
    if kind.head == "classification":
        return {answer}
    if kind.head == "tagging":
        return {tag[2:] for tag in answer if tag != "O"} if kind.name == "entities" else set(answer)
    return set()


def labels_of(kind: Kind, rows: dict[str, list[Placed]]) -> list[str]:
    """The labels of the training rows in order: numbers by size, then names by the alphabet; O before other tags.

    Of choices, as many as a row of any split offers.
    """
    found = set().union(*(names_in(kind, row["label"]) for _, row in rows["train"]))
    if kind.head == "classification":
        if len(found) < 2:
            raise ValueError(f"own/{kind.name}: every training row has the label {found.pop()!r}: nothing to learn")
        return sorted(found, key=by_size)
    if kind.name == "entities":
        if not found:
            raise ValueError(f"own/{kind.name}: no training row has an entity, every tag is O: nothing to learn")
        return ["O", *(f"{prefix}-{name}" for prefix in "BI" for name in sorted(found))]
    if kind.head == "tagging":
        return sorted(found, key=lambda tag: (tag != "O", tag))
    if kind.head == "choice":
        return [str(n) for n in range(max(len(row["choices"]) for part in rows.values() for _, row in part))]
    return []


def by_size(label: str) -> tuple[bool, float, str]:
    """The order of labels, the same in every process: also 1.1 and 1.10, which are equal as numbers, have theirs."""
    return (False, float(label), label) if is_number(label) else (True, 0.0, label)


def is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def as_table(kind: Kind, rows: Sequence[Placed], labels: list[str], description: str) -> Dataset:
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
    given = answer if kind.head == "tagging" else [answer]
    if strange := [label for label in given if label not in codes]:
        others = f" and {len(codes) - LABELS_SHOWN:,} more" if len(codes) > LABELS_SHOWN else ""
        known = f"{', '.join(list(codes)[:LABELS_SHOWN])}{others}"
        raise ValueError(f"{where}: the label {shown(strange[0])} is not in the training rows; those are {known}")
    found = [codes[label] for label in given]
    return found if kind.head == "tagging" else found[0]


TEXT = ("text", "text_pair")
KINDS = (
    Kind("classification", "classification", TEXT, ("text_pair",), "label", a_label,
         "glue_scores/accuracy_and_macro_f1", "accuracy"),
    Kind("regression", "regression", TEXT, ("text_pair",), "label", a_score, "glue_scores/correlations", "spearmanr"),
    Kind("choice", "choice", ("text", "choices"), ("text",), "label", a_choice, "glue_scores/accuracy", "accuracy"),
    Kind("entities", "tagging", ("words",), (), "tags", entity_tags, "entity_scores", "f1"),
    Kind("tags", "tagging", ("words",), (), "tags", word_tags, "tag_scores", "accuracy"),
)  # fmt: skip
TASKS = {
    kind.name: Task(f"own/{kind.name}", kind.head, (), (), kind.metric, kind.headline, partial(load, kind))
    for kind in KINDS
}
