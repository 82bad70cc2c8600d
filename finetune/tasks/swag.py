"""What is SWAG, and how are its rows read and checked?

Zellers et al. 2018, "SWAG: A Large-Scale Adversarial Dataset for Grounded Commonsense Inference": a sentence, the
beginning of the next one, and four ways in which it may continue.
"""

from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Features, List, Value

from finetune.questions.choice import Choice
from finetune.tasks.fields import is_utf8
from finetune.tasks.files import read_csv
from finetune.tasks.rows import describe_file, find_files, load_hub_rows, make_table, unknown_source
from finetune.tasks.task import DataSource, HubData, Rows, Task

NAME = "swag"
FILES = {"train": "train.csv", "dev": "val.csv", "test": "test.csv"}
HUB = HubData("allenai/swag", "regular", revision="refs/convert/parquet")  # main is a loading script
HUB_SPLITS = {"train": "train", "dev": "validation"}
ENDINGS = ("ending0", "ending1", "ending2", "ending3")
CHOICES = ClassLabel(names=["0", "1", "2", "3"])
TEXTS = {"id": Value("string"), "text": Value("string"), "choices": List(Value("string"))}


def load(source: DataSource) -> Rows:
    """Split name → rows with "id", "text", four "choices" and, unless it is the test split, "label".

    Raises FileNotFoundError for a missing train or dev file, and ValueError, naming file and row, for a bad one.
    """
    if source.source == "hub":
        found = load_hub_rows(NAME, source, HUB, HUB_SPLITS)
        return {
            split: check_rows([(f"{part.info.description}, row {n}", row) for n, row in enumerate(part)], split,
                           part.info.description) for split, part in found.items()
        }  # fmt: skip
    if source.source == "folder":
        paths = find_files(NAME, source, FILES, {"train", "dev"})
        return {split: read_file(path, split, describe_file(source, path)) for split, path in paths.items()}
    raise unknown_source(NAME, source)


def read_file(path: Path, split: str, description: str) -> Dataset:
    inputs = read_csv(path)
    needed = ("sent1", "sent2", *ENDINGS, *(() if split == "test" else ("label",)))
    if missing := [name for name in needed if name not in inputs.columns]:
        raise ValueError(f"{path}:1: no column {missing[0]!r}; the header has {', '.join(map(repr, inputs.columns))}")
    rows = []
    for row in inputs.rows:
        if row.trouble:
            raise ValueError(f"{row.where}: {row.trouble}")
        rows.append((row.where, row.fields))
    return check_rows(rows, split, description)


def check_rows(rows: list[tuple[str, dict[str, Any]]], split: str, description: str) -> Dataset:
    """The rows as a table, each of them looked at. A choice is the beginning with one of its endings."""
    columns: dict[str, list[Any]] = {"id": [], "text": [], "choices": [], "label": []}
    for number, (where, fields) in enumerate(rows):
        if broken := [name for name in ("sent1", "sent2", *ENDINGS) if not is_utf8(fields[name])]:
            raise ValueError(f"{where}: {broken[0]} is not UTF-8")
        columns["id"].append(str(number))
        columns["text"].append(fields["sent1"])
        columns["choices"].append([f"{fields['sent2']} {fields[ending]}".strip() for ending in ENDINGS])
        if split != "test":
            if str(fields["label"]) not in CHOICES.names:
                raise ValueError(f"{where}: label {fields['label']!r} of swag; allowed: 0, 1, 2, 3")
            columns["label"].append(int(fields["label"]))
    if split == "test":
        del columns["label"]
    return make_table(columns, Features(TEXTS | ({} if split == "test" else {"label": CHOICES})), description)


TASKS = {
    NAME: Task(
        name=NAME,
        question=Choice(),
        labels=(),
        columns=("text", "choices"),
        metric="accuracy",
        headline="accuracy",
        load=load,
        language="en",
    )
}
