"""What are the ten GLUE tasks, and how are their rows read and checked?

Wang et al. 2018, "GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language Understanding". The official
files are tab-separated without any quoting (a bare `"` is a letter), CoLA's train and dev have no header, MRPC's begin
with a byte-order mark. The server keeps the labels of the test splits, so these have none here.
"""

import csv
import hashlib
import io
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Features, Value

from finetune.questions.label import Label
from finetune.questions.score import Score
from finetune.tasks.rows import describe_file, find_files, load_hub_rows, make_table, read_text, unknown_source
from finetune.tasks.task import DataSource, HubData, Rows, Task

REPO = "nyu-mll/glue"
PAIR = ("sentence1", "sentence2")  # our names for the two texts of a pair, whatever the files call them
HUB_SPLITS = {
    "train": "train",
    "dev": "validation",
    "dev_matched": "validation_matched",
    "dev_mismatched": "validation_mismatched",
    "test": "test",
    "test_matched": "test_matched",
    "test_mismatched": "test_mismatched",
}
LARGEST_SCORE = 5.0  # of STS-B, for two sentences that mean the same; 0 is the smallest


@dataclass(frozen=True)
class Sheet:
    """How the rows of one task are written, in the official files and on the Hub."""

    name: str  # "rte", as on the Hub
    folder: str  # "RTE", as in the download
    texts: tuple[str, ...]  # columns of the files
    label: str  # column of the files
    written: tuple[str, ...]  # the labels as the files write them; () if they are numbers
    labels: tuple[str, ...]  # their names, in the same order, which is the Hub's
    hub_texts: tuple[str, ...] = PAIR
    header: tuple[str, ...] = ()  # the columns of a train or dev file that does not name them
    splits: tuple[str, ...] = ("train", "dev", "test")
    only_file: str = ""  # of a task with one split, where its name is not SPLIT.tsv

    @property
    def task(self) -> str:
        return f"glue/{self.name}"

    @property
    def columns(self) -> tuple[str, ...]:
        return PAIR if len(self.texts) == 2 else ("sentence",)

    def features(self, split: str) -> Features:
        texts = {column: Value("string") for column in ("id", *self.columns)}
        label = ClassLabel(names=list(self.labels)) if self.labels else Value("float32")
        return Features(texts if is_test(split) else texts | {"label": label})


def load(sheet: Sheet, source: DataSource) -> Rows:
    """Split name → rows with "id", the texts and, unless it is a test split, "label".

    Raises ValueError for a bad row, naming file and line, and FileNotFoundError for a missing train or dev file. A
    missing test file is a missing split: only a submission needs it.
    """
    if source.source == "hub":
        return load_hub(sheet, source)
    if source.source == "folder":
        return load_folder(sheet, source)
    raise unknown_source(sheet.task, source)


def load_folder(sheet: Sheet, source: DataSource) -> Rows:
    """Read `FOLDER/SPLIT.tsv`; where train is missing and the recipe says so, cut dev in two."""
    official = {split: f"{sheet.folder}/{sheet.only_file or split + '.tsv'}" for split in sheet.splits}
    needed = {split for split in sheet.splits if not is_test(split)} or set(sheet.splits)
    cuttable = "question" in sheet.texts
    advice = ", or train on half of dev with data.cut_dev_by: question" if cuttable else ""
    if cuttable and source.cut_dev_by:
        needed -= {"train"}
    paths = find_files(sheet.task, source, official, needed, advice)
    rows = {split: read_split(sheet, source, split, path) for split, path in paths.items()}
    if "train" in sheet.splits and "train" not in rows:
        rows["train"], rows["dev"] = cut_in_two(rows["dev"], sheet.columns[sheet.texts.index("question")])
    return {split: rows[split] for split in sheet.splits if split in rows}


def read_split(sheet: Sheet, source: DataSource, split: str, path: Path) -> Dataset:
    """One official file, every row of it checked."""
    names, lines = read_tsv(path, () if is_test(split) else sheet.header)
    lines, num_broken = drop_broken_rows(path, len(names), lines, source.skip_broken_rows)
    fields = dict(zip(names, zip(*lines.values(), strict=True), strict=True))
    key = next((name for name in ("index", "id") if name in fields), None)
    columns: dict[str, list[Any]] = {"id": list(fields[key]) if key else [str(row) for row in range(len(lines))]}
    for ours, theirs in zip(sheet.columns, sheet.texts, strict=True):
        columns[ours] = list(find_column(path, fields, theirs))
    if not is_test(split):
        written = find_column(path, fields, sheet.label)
        columns["label"] = read_labels(sheet, zip(lines, written, strict=True), lambda line: f"{path}:{line}")
    broken = f", {num_broken} broken rows left out" if num_broken else ""
    return make_table(columns, sheet.features(split), describe_file(source, path) + broken)


def load_hub(sheet: Sheet, source: DataSource) -> Rows:
    """Read the Hub's copy; its label is −1 in the test splits, and may be that nowhere else."""
    splits = {split: HUB_SPLITS[split] for split in sheet.splits}
    return {
        split: read_hub_split(sheet, split, rows)
        for split, rows in load_hub_rows(sheet.task, source, HubData(REPO, sheet.name), splits).items()
    }


def read_hub_split(sheet: Sheet, split: str, rows: Dataset) -> Dataset:
    where = rows.info.description
    columns: dict[str, list[Any]] = {"id": [str(index) for index in rows["idx"]]}
    for ours, theirs in zip(sheet.columns, sheet.hub_texts, strict=True):
        columns[ours] = rows[theirs][:]
    if not is_test(split):
        codes = dict(enumerate(sheet.written))
        written = ((row, codes.get(label, str(label))) for row, label in enumerate(rows["label"]))
        columns["label"] = read_labels(sheet, written, lambda row: f"{where}, row {row}")
    return make_table(columns, sheet.features(split), where)


def cut_in_two(dev: Dataset, column: str) -> tuple[Dataset, Dataset]:
    """(train, dev): the rows whose text in this column has an even SHA-256, and the others.

    Equal texts go to the same side, so no question is both trained on and evaluated on.
    """
    even = [hashlib.sha256(text.encode()).digest()[-1] % 2 == 0 for text in dev[column]]
    halves = []
    for side, name in ((True, "even"), (False, "odd")):
        rows = dev[[row for row, is_even in enumerate(even) if is_even == side]]
        halves.append(make_table(rows, dev.features, f"{dev.info.description}, questions of {name} hash only"))
    return halves[0], halves[1]


def read_tsv(path: Path, header: tuple[str, ...]) -> tuple[list[str], dict[int, list[str]]]:
    """The column names and, by line number, the fields of each row. A file without a header is given one."""
    reader = csv.reader(io.StringIO(read_text(path), newline="\n"), delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        lines = dict(enumerate(reader, 1))  # nothing is quoted, so a row is a line
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: {error}") from error
    names = list(header) or lines.pop(1)
    if not lines:
        raise ValueError(f"{path} has a header and no rows")
    return names, lines


def drop_broken_rows(
    path: Path, num_fields: int, lines: dict[int, list[str]], skip: bool
) -> tuple[dict[int, list[str]], int]:
    """The rows with as many fields as there are columns, and the number of others, which is an error unless skipped."""
    broken = [line for line, row in lines.items() if len(row) != num_fields]
    if not broken:
        return lines, 0
    found = f"{path}:{broken[0]}: {num_fields} tab-separated fields expected, {len(lines[broken[0]])} found"
    if not skip:
        raise ValueError(f"{found} ({len(broken)} such rows; data.skip_broken_rows: true would leave them out)")
    warnings.warn(f"{found}: {len(broken)} such rows left out of {len(lines)}", stacklevel=2)
    return {line: row for line, row in lines.items() if len(row) == num_fields}, len(broken)


def find_column(path: Path, fields: dict[str, tuple[str, ...]], name: str) -> tuple[str, ...]:
    if name not in fields:
        raise ValueError(f"{path}:1: no column {name!r}; the header has {', '.join(map(repr, fields))}")
    return fields[name]


def read_labels(sheet: Sheet, written: Iterable[tuple[int, str]], place: Callable[[int], str]) -> list[float]:
    """The labels as numbers: positions in `sheet.labels`, or the score itself. `place` says where a bad one stands."""
    codes = {name: code for code, name in enumerate(sheet.written)}
    labels: list[float] = []
    for row, text in written:
        label = codes.get(text) if codes else parse_score(text)
        if label is None:
            allowed = ", ".join(map(repr, codes)) if codes else f"a number from 0 to {LARGEST_SCORE:g}"
            hidden = "; a split with hidden labels (-1) can only be a test split" * (text == "-1")
            raise ValueError(f"{place(row)}: label {text!r} of {sheet.task}; allowed: {allowed}{hidden}")
        labels.append(label)
    return labels


def parse_score(text: str) -> float | None:
    try:
        score = float(text)
    except ValueError:
        return None
    return score if math.isfinite(score) and 0 <= score <= LARGEST_SCORE else None


def is_test(split: str) -> bool:
    return split.startswith("test")


BINARY = ("0", "1")
NLI = ("entailment", "neutral", "contradiction")
ENTAILMENT = ("entailment", "not_entailment")

COLA = Sheet(
    "cola", "CoLA", ("sentence",), "label", BINARY, ("unacceptable", "acceptable"), ("sentence",),
    header=("source", "label", "star", "sentence"),
)  # fmt: skip
SST2 = Sheet("sst2", "SST-2", ("sentence",), "label", BINARY, ("negative", "positive"), ("sentence",))
MRPC = Sheet("mrpc", "MRPC", ("#1 String", "#2 String"), "Quality", BINARY, ("not_equivalent", "equivalent"))
STSB = Sheet("stsb", "STS-B", PAIR, "score", (), ())
QQP = Sheet(
    "qqp", "QQP", ("question1", "question2"), "is_duplicate", BINARY, ("not_duplicate", "duplicate"),
    ("question1", "question2"),
)  # fmt: skip
MNLI = Sheet(
    "mnli", "MNLI", PAIR, "gold_label", NLI, NLI, ("premise", "hypothesis"),
    splits=("train", "dev_matched", "dev_mismatched", "test_matched", "test_mismatched"),
)  # fmt: skip
QNLI = Sheet(
    "qnli", "QNLI", ("question", "sentence"), "label", ENTAILMENT, ENTAILMENT, ("question", "sentence"),
)  # fmt: skip
RTE = Sheet("rte", "RTE", PAIR, "label", ENTAILMENT, ENTAILMENT)
WNLI = Sheet("wnli", "WNLI", PAIR, "label", BINARY, ("not_entailment", "entailment"))
AX = Sheet(
    "ax", "AX", PAIR, "label", NLI, NLI, ("premise", "hypothesis"), splits=("test",), only_file="diagnostic.tsv",
)  # fmt: skip


def make_task(sheet: Sheet, metric: str, headline: str, **special: Any) -> Task:
    question = Label() if sheet.labels else Score()
    special["language"] = "en"
    return Task(sheet.task, question, sheet.labels, sheet.columns, metric, headline, partial(load, sheet), **special)


MNLI_DEV, MNLI_TEST = ("dev_matched", "dev_mismatched"), ("test_matched", "test_mismatched")

# The metrics are the benchmark's; the headline is the one of the published table (Devlin et al. 2019, table 1).
TASKS = {
    "cola": make_task(COLA, "matthews", "matthews_correlation"),
    "sst2": make_task(SST2, "accuracy", "accuracy"),
    "mrpc": make_task(MRPC, "f1_and_accuracy", "f1"),
    "stsb": make_task(STSB, "correlations", "spearmanr"),
    "qqp": make_task(QQP, "f1_and_accuracy", "f1"),
    "mnli": make_task(MNLI, "accuracy", "accuracy", dev_splits=MNLI_DEV, test_splits=MNLI_TEST),
    "qnli": make_task(QNLI, "accuracy", "accuracy"),
    "rte": make_task(RTE, "accuracy", "accuracy"),
    "wnli": make_task(WNLI, "accuracy", "accuracy"),
    # Diagnostics: nothing to train on, so MNLI's model predicts them.
    "ax": make_task(AX, "matthews", "matthews_correlation", train_split="", dev_splits=(), trained_as="glue/mnli"),
}
