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
I- of every type. Without a dev file `data.hold_out` says which share of the training rows is held out, by their texts,
so that equal texts never stand on both sides; no label loses its last row.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Value

from engine.run.nearest import suggest
from finetune.questions import KINDS
from finetune.questions.own_answers import OwnAnswers
from finetune.tasks.fields import Fields, is_empty, is_number, show_value
from finetune.tasks.files import FORMATS, Row, open_file
from finetune.tasks.held_out import hold_out
from finetune.tasks.rows import describe_file, find_folder, make_table, unknown_source
from finetune.tasks.task import DataSource, Rows, Task

LABELS_SHOWN, FILES_SHOWN = 20, 8  # in a message
Placed = tuple[str, Fields]  # where a row stands in its file, and what it holds, by our columns


def load(own: OwnAnswers, source: DataSource) -> Rows:
    """Split name → rows with "id", the texts and "label", which a test file may lack.

    Raises FileNotFoundError for a missing file, and ValueError, naming file and row, for a bad one.
    """
    if source.source != "folder":
        raise unknown_source(f"own/{own.name}", source)
    check_source(own, source)
    rows: dict[str, list[Placed]] = {}
    described: dict[str, str] = {}
    for split in ("train", "dev", "test"):
        if split in source.files:
            rows[split], left_out = read_split(own, source, split)
            described[split] = describe_file(source, find_file(own, source, split)) + left_out
    try:
        if "dev" not in rows:
            described["dev"] = f"{described['train']}, {source.hold_out:.0%} held out by text"
            rows["train"], rows["dev"], num_kept = cut_dev(own, rows["train"], source.hold_out)
            described["train"] += f", {num_kept} rows not held out for their labels' sake" if num_kept else ""
        found = set().union(*(own.labels_in(row["label"]) for _, row in rows["train"]))
        labels = own.list_labels(found, [row for part in rows.values() for _, row in part])
    except ValueError as error:
        raise ValueError(f"own/{own.name}: {error}") from None
    splits = [split for split in ("train", "dev", "test") if split in rows]
    return {split: encode_rows(own, rows[split], labels, described[split]) for split in splits}


def check_source(own: OwnAnswers, source: DataSource) -> None:
    """Refuse a `data:` section that does not say what is needed. Errors: ValueError."""
    allowed = (*own.columns, own.answer)
    needed = [*(name for name, column in own.columns.items() if not column.is_optional), own.answer]
    for name in source.columns:
        if name not in allowed:
            raise ValueError(
                f"own/{own.name}: data.columns names {name!r}{suggest(name, allowed)} (it takes {', '.join(allowed)})"
            )
    if missing := [name for name in needed if name not in source.columns]:
        raise ValueError(f"own/{own.name}: data.columns does not say which column is {missing[0]!r}")
    if "train" not in source.files:
        raise ValueError(f"own/{own.name}: data.files must name the train file")
    if ("dev" in source.files) == bool(source.hold_out):
        raise ValueError(
            f"own/{own.name}: name a dev file in data.files, or a share of the training rows in data.hold_out, such "
            "as 0.1; one of the two"
        )


def find_file(own: OwnAnswers, source: DataSource, split: str) -> Path:
    folder = find_folder(f"own/{own.name}", source)
    path = folder / source.files[split]
    if not path.is_file():
        there = ", ".join(sorted(found.name for found in folder.iterdir() if found.suffix in FORMATS)[:FILES_SHOWN])
        hint = f"; there are {there}: name yours with --data.files.{split} FILE" if there else ""
        raise FileNotFoundError(f"own/{own.name}: no {split} file at {path.absolute()}{hint}")
    return path


def read_split(own: OwnAnswers, source: DataSource, split: str) -> tuple[list[Placed], str]:
    """The rows of a file under our names, and, in words, what of it was left out."""
    path = find_file(own, source, split)
    by_number = own.is_by_word and all(isinstance(column, int | float) for column in source.columns.values())
    inputs = open_file(str(path), by_number)
    rows: list[Placed] = []
    broken: list[str] = []

    def refuse(where: str, trouble: object) -> None:
        broken.append(f"{where}: {trouble}")
        if not source.skip_broken_rows:
            raise ValueError(f"{broken[0]} (data.skip_broken_rows: true would leave such rows out)")

    for row in inputs.rows:
        try:
            rows.append((row.where, read_row(own, source, row, needs_answer=split != "test")))
        except ValueError as error:
            refuse(row.where, error)
    if marks := own.find_missing([fields["label"] for _, fields in rows if "label" in fields]):
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


def read_row(own: OwnAnswers, source: DataSource, row: Row, needs_answer: bool) -> Fields:
    """One row's fields under our names. Errors: ValueError that says what is wrong."""
    if row.trouble:
        raise ValueError(row.trouble)
    named = [name for name in own.columns if name in source.columns]
    found = {name: read_column(own.columns[name].read, row, source.columns[name]) for name in named}
    column = source.columns[own.answer]
    if needs_answer or not is_empty(row.fields.get(str(column))):
        found["label"] = read_column(lambda value: own.read(value, found), row, column)
    return found


def read_column(reader: Callable[[Any], Any], row: Row, column: Any) -> Any:
    """What `reader` makes of a field, or of several, of which some may be empty, where a list of columns is named."""
    names = [str(name) for name in column] if isinstance(column, list) else [name_column(column)]
    values = [find_field(row, name) for name in names]
    if not isinstance(column, list) and is_empty(values[0]):
        raise ValueError(f"{names[0]} is empty")
    try:
        return reader(values if isinstance(column, list) else values[0])
    except ValueError as error:
        raise ValueError(f"{error} (column {', '.join(names)})") from None


def name_column(column: Any) -> str:
    return str(int(column) if isinstance(column, float) and column.is_integer() else column)


def find_field(row: Row, name: str) -> Any:
    if name not in row.fields:
        raise ValueError(f"no column {name!r}{suggest(name, row.fields)} (there are {', '.join(row.fields)})")
    return row.fields[name]


def cut_dev(own: OwnAnswers, rows: Sequence[Placed], share: float) -> tuple[list[Placed], list[Placed], int]:
    """(train, dev, the number of rows that stay in train for their labels)."""
    texts = [[row.get(name) for name in own.columns] for _, row in rows]
    return hold_out(rows, texts, [own.labels_in(row["label"]) for _, row in rows], share)


def encode_rows(own: OwnAnswers, rows: Sequence[Placed], labels: list[str], description: str) -> Dataset:
    """The rows with their labels as numbers. Errors: ValueError for a label that the training rows have not."""
    names = [name for name in own.columns if name in rows[0][1]]
    columns: dict[str, list[Any]] = {"id": [str(number) for number in range(len(rows))]}
    columns |= {name: [row[name] for _, row in rows] for name in names}
    features = {"id": Value("string")} | {name: own.columns[name].feature for name in names}
    if all("label" in row for _, row in rows):
        codes = {label: code for code, label in enumerate(labels)}
        columns["label"] = [own.encode(row["label"], partial(find_code, codes, where)) for where, row in rows]
        features["label"] = own.feature(labels)
    return make_table(columns, Features(features), description)


def find_code(codes: dict[str, int], where: str, label: str) -> int:
    if label not in codes:
        others = f" and {len(codes) - LABELS_SHOWN:,} more" if len(codes) > LABELS_SHOWN else ""
        known = f"{', '.join(list(codes)[:LABELS_SHOWN])}{others}"
        hint = "; if they are scores, say --task own/regression" if all(map(is_number, (label, *codes))) else ""
        raise ValueError(f"{where}: the label {show_value(label)} is not in the training rows; those are {known}{hint}")
    return codes[label]


TASKS = {
    own.name: Task(f"own/{own.name}", question, (), (), own.metric, own.headline, partial(load, own))
    for question in KINDS
    for own in question.own
}
