"""What rows does a file of inputs hold?  They are read one by one, so that a file of any size takes little memory.

    .csv       columns by its header, parted by , ; | or tabs, whichever fits; quoted where a field holds that, a quote
               or a line break (RFC 4180)
    .tsv       columns by its header; no quoting, a bare " is a letter, as in the files of GLUE
    .jsonl     an object a line
    .parquet   columns by name
    .txt       a text a line, the column `text`
    .conll     a word a line, as `finetune.tasks.word_lines` reads it: the columns `words`, `0`, `1` …, each a list;
               also .conllu, .iob, .iob2, .bio, and any file whose words are asked for by the number of their column
    -          standard input: JSONL if it begins with {, else a text a line

All text is UTF-8, with or without a byte-order mark, or UTF-16 with one. Rows are numbered from 0. A file with a word a
line is read at once.
"""

import csv
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import pyarrow
from pyarrow.parquet import ParquetFile

from engine.run.records import json_object
from finetune.tasks.rows import find_encoding, read_text
from finetune.tasks.word_lines import find_ragged_line, read_sentences

csv.field_size_limit(1_000_000)  # characters of a field: a quote that is never closed takes no more of a file
DELIMITERS = ",;\t|"
ROWS_TO_LOOK_AT = 100  # for the delimiter
ROWS_PER_READ = 1000  # of a parquet file
STDIN = "-"


Record = tuple[str, dict[str, Any] | str]  # where a row stands; its fields by column, or why it cannot be read


@dataclass(frozen=True)
class Row:
    """One row: its number, where it stands, its fields by column, and, if it cannot be read, why."""

    number: int
    where: str
    fields: dict[str, Any]
    trouble: str = ""


@dataclass(frozen=True)
class Inputs:
    """A file's columns, its rows as they are read, and, in words, what of it is no row."""

    name: str
    columns: tuple[str, ...]
    rows: Iterator[Row]
    left_out: str = ""


def open_file(name: str, by_number: bool = False) -> Inputs:
    """Open a file, or standard input (`-`); `by_number`: as one with a word a line, unless its format names columns.

    Errors: FileNotFoundError; ValueError for another format, a header with one name twice, or a file without rows.
    """
    if name == STDIN:
        return read_stdin(by_number)
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"no file of inputs at {path}")
    if by_number and path.suffix not in NAMED:
        return read_words(read_text(path), str(path))
    if path.suffix not in FORMATS:
        raise ValueError(
            f"{path}: a file of inputs ends in {', '.join(FORMATS)}; or - for standard input. A file with a word a "
            "line may end in anything where words are asked for by the number of their column, such as 0"
        )
    return FORMATS[path.suffix](path)


def read_stdin(by_number: bool) -> Inputs:
    """Sentences with a word a line, or JSONL or texts, as the first line says."""
    stream, name = TextIOWrapper(sys.stdin.buffer, "utf-8-sig", "surrogateescape", "\n"), "standard input"
    if by_number:
        return read_words(stream.read(), name)
    first = next(stream, "")
    lines = itertools.chain([first] if first else [], stream)
    return read_objects(lines, name) if first.startswith("{") else read_texts(lines, name)


def make_inputs(name: str, columns: Iterable[str], records: Iterator[Record], left_out: str = "") -> Inputs:
    """Number the rows, of which there must be one. Errors: ValueError."""
    rows = (
        Row(number, where, {}, found) if isinstance(found, str) else Row(number, where, found)
        for number, (where, found) in enumerate(records)
    )
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{name} holds no rows")
    return Inputs(name, tuple(columns), itertools.chain([first], rows), left_out)


# Tables of text


def open_text(path: Path, newline: str = "\n") -> TextIO:
    """A file of text; what is not UTF-8 becomes lone surrogates, which only the row that has them is refused for.

    newline: what ends a line, as `open` takes it; "" is any of \\n, \\r and \\r\\n, which stay as they are.
    """
    if find_encoding(path) == "utf-16":
        return StringIO(read_text(path), newline=newline)
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def find_delimiter(path: Path) -> str:
    """What parts the header of a CSV file, and most of its first rows alike.

    Errors: ValueError where two do so equally well.
    """
    fitting = {mark: count_fitting_rows(path, mark) for mark in DELIMITERS}
    best = max(DELIMITERS, key=lambda mark: fitting[mark])
    rivals = [mark for mark in DELIMITERS if fitting[mark] == fitting[best]]
    if fitting[best] > 0 and len(rivals) > 1:
        raise ValueError(
            f"{path}:1: {' and '.join(map(repr, rivals))} both part the header and the rows; put names that hold one "
            'of them into quotes (")'
        )
    return best


def count_fitting_rows(path: Path, mark: str) -> int:
    """How many of the first rows have as many fields as the header; −1 where that is one field."""
    with open_text(path, newline="") as file:
        header, *rows = [fields for _, fields in itertools.islice(csv_fields(file, mark), 1 + ROWS_TO_LOOK_AT)] or [[]]
    if isinstance(header, str) or len(header) < 2:
        return -1
    return sum(isinstance(fields, list) and len(fields) == len(header) for fields in rows)


def read_csv(path: Path) -> Inputs:
    lines = csv_fields(open_text(path, newline=""), find_delimiter(path))
    line, header = next(lines, (1, []))
    if isinstance(header, str):
        raise ValueError(f"{path}:{line}: {header}")
    return name_fields(path, header, lines)


def csv_fields(file: TextIO, mark: str) -> Iterator[tuple[int, list[str] | str]]:
    """The line where each row begins, and its fields, or what is wrong with it; empty lines are passed over."""
    reader = csv.reader(file, delimiter=mark, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, CSV_TROUBLES.get(str(error).split(" (")[0], str(error))
        else:
            if fields:
                yield line, fields


CSV_TROUBLES = {
    "unexpected end of data": 'a quote (") is opened here and never closed',
    "field larger than field limit": 'a field of more than a million characters; is a quote (") not closed?',
}


def read_tsv(path: Path) -> Inputs:
    written = ((number, line.rstrip("\r\n")) for number, line in enumerate(open_text(path), 1))
    lines = ((number, line.split("\t")) for number, line in written if line)
    _, header = next(lines, (1, []))
    if len(header) == 1 and (mark := next((mark for mark in DELIMITERS if mark in header[0]), "")):
        raise ValueError(
            f"{path}:1: a .tsv has tabs between its columns, and this header has {mark!r}; name the file .csv: what "
            "parts its columns is found by itself"
        )
    return name_fields(path, header, lines)


def name_fields(path: Path, header: list[str], lines: Iterator[tuple[int, Any]]) -> Inputs:
    """Rows whose fields are named by a header."""
    refuse_one_name_twice(header, f"{path}:1: the header names")
    records = (
        (f"{path}:{line}", fields if isinstance(fields, str) else match_header(fields, header))
        for line, fields in lines
    )
    return make_inputs(str(path), header, records)


def match_header(fields: list[str], header: list[str]) -> dict[str, Any] | str:
    if len(fields) == len(header):
        return dict(zip(header, fields, strict=True))
    quote = "; a field that holds the mark between fields must be in quotes" if len(fields) > len(header) else ""
    return f"{len(fields)} fields, but the header names {len(header)} ({', '.join(header)}){quote}"


def refuse_one_name_twice(names: Sequence[str], who: str) -> None:
    """Refuse columns of one name, of which only one would be read. Errors: ValueError."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{who} the column {twice[0]!r} twice")


# Objects, texts, parquet, a word a line


def read_objects(lines: Iterator[str], name: str) -> Inputs:
    """JSON objects; the columns are those of the first whole one. Empty lines are passed over."""
    records = ((f"{name}:{line}", read_object(text)) for line, text in enumerate(lines, 1) if text.strip())
    looked: list[Record] = []
    for record in records:
        looked.append(record)
        if not isinstance(record[1], str):
            return make_inputs(name, record[1], itertools.chain(looked, records))
    if looked:
        raise ValueError(f"{looked[0][0]}: {looked[0][1]}; no row of the file can be read")
    return make_inputs(name, (), records)


def read_object(text: str) -> dict[str, Any] | str:
    try:
        return json_object(text)
    except ValueError as error:
        return str(error)


def read_texts(lines: Iterator[str], name: str) -> Inputs:
    """A text a line, whose end is no part of it; empty ones too."""
    records = ((f"{name}:{number}", {"text": line.rstrip("\r\n")}) for number, line in enumerate(lines, 1))
    return make_inputs(name, ("text",), records)


def read_parquet(path: Path) -> Inputs:
    """A parquet file, some rows at a time."""
    try:
        file = ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path}: not a parquet file ({error})") from None
    refuse_one_name_twice(file.schema_arrow.names, f"{path} has")

    def records() -> Iterator[Record]:
        number = 0
        try:
            for batch in file.iter_batches(ROWS_PER_READ):
                for place in range(len(batch)):
                    yield f"{path}, row {number}", read_parquet_row(batch, place)
                    number += 1
        except (OSError, pyarrow.ArrowException) as error:
            damage = " ".join(str(error).split())
            yield f"{path}, row {number}", f"the file is damaged from here on: {damage}"

    return make_inputs(str(path), file.schema_arrow.names, records())


def read_parquet_row(batch: pyarrow.RecordBatch, place: int) -> dict[str, Any] | str:
    """A row of a table; its bytes are read as UTF-8, and text is not always that."""
    fields: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            fields[name] = decode_bytes(column[place].as_py())
        except UnicodeDecodeError as error:
            return f"{name!r} is not UTF-8 at byte {error.start}"
    return fields


def decode_bytes(value: Any) -> Any:
    """A value with all bytes in it decoded. Errors: UnicodeDecodeError."""
    if isinstance(value, list):
        return [decode_bytes(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value


def read_words(text: str, name: str) -> Inputs:
    """A row a sentence: the list of its words, and of what stands in each column, by its number."""
    read = read_sentences(text)

    def records() -> Iterator[Record]:
        for sentence in read.found:
            line, trouble = find_ragged_line(sentence)
            if trouble:
                yield f"{name}:{line}", trouble
                continue
            fields = [fields for _, fields in sentence.lines]
            columns = {str(place): list(column) for place, column in enumerate(zip(*fields, strict=True))}
            yield f"{name}:{sentence.lines[0][0]}", {"words": columns[str(read.words)], **columns}

    num_columns = len(read.found[0].lines[0][1]) if read.found else 0
    return make_inputs(name, ("words", *map(str, range(num_columns))), records(), read.left_out)


FORMATS: dict[str, Callable[[Path], Inputs]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": lambda path: read_objects(open_text(path), str(path)),
    ".parquet": read_parquet,
    ".txt": lambda path: read_texts(open_text(path), str(path)),
    **dict.fromkeys(
        (".conll", ".conllu", ".iob", ".iob2", ".bio"), lambda path: read_words(read_text(path), str(path))
    ),
}
NAMED = (".jsonl", ".parquet")  # their columns have names, which may be numbers
