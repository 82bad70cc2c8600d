"""What rows does a file of inputs hold?  They are read one by one, so that a file of any size takes little memory.

    .csv       columns by its header, parted by , ; | or tabs, whichever fits; quoted where a field holds that, a quote
               or a line break (RFC 4180)
    .tsv       columns by its header; no quoting, a bare " is a letter, as in the files of GLUE
    .jsonl     an object a line
    .parquet   columns by name
    .txt       a text a line, the column `text`
    .conll     a word a line, as `finetune.tasks.word_lines` reads it: the columns `words`, `0`, `1` …, each a list;
    also
               .conllu, .iob, .iob2, .bio, and any file whose words are asked for by the number of their column
    -          standard input: JSONL if it begins with {, else a text a line

All text is UTF-8, with or without a byte-order mark, or UTF-16 with one. Rows are numbered from 0. A file with a word a
line is read at once.
"""

import csv
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import pyarrow
from pyarrow.parquet import ParquetFile

from engine.run.records import json_object
from finetune.tasks.rows import encoding_of, read_text
from finetune.tasks.word_lines import ragged, read_sentences

csv.field_size_limit(1_000_000)  # characters of a field: a quote that is never closed takes no more of a file
DELIMITERS = ",;\t|"
ROWS_TO_LOOK_AT = 100  # for the delimiter
ROWS_PER_READ = 1000  # of a parquet file
STDIN = "-"


@dataclass(frozen=True)
class Row:
    """One row: where it stands, its fields by column, and, if it cannot be read, why."""

    number: int
    where: str
    fields: dict[str, Any] = field(default_factory=dict)
    trouble: str = ""


@dataclass(frozen=True)
class Inputs:
    """A file's columns, its rows as they are read, and, in words, what of it is no row."""

    name: str
    columns: tuple[str, ...]
    rows: Iterator[Row]
    left_out: str = ""


def opened(name: str, by_number: bool = False) -> Inputs:
    """Open a file, or standard input (`-`); `by_number`: as one with a word a line, unless its format names columns.

    Errors: FileNotFoundError; ValueError for another format, a header with one name twice, or a file without rows.
    """
    if name == STDIN:
        stream = TextIOWrapper(sys.stdin.buffer, "utf-8-sig", "surrogateescape", "\n")
        return word_lines(stream.read(), "standard input") if by_number else lines_of(stream, "standard input")
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"no file of inputs at {path}")
    if by_number and path.suffix not in NAMED:
        return from_word_lines(path)
    if path.suffix not in FORMATS:
        raise ValueError(
            f"{path}: a file of inputs ends in {', '.join(FORMATS)}; or - for standard input. A file with a word a "
            "line may end in anything where words are asked for by the number of their column, such as 0"
        )
    return FORMATS[path.suffix](path)


def text_file(path: Path, newline: str = "\n") -> TextIO:
    """A file of text; what is not UTF-8 becomes lone surrogates, which only the row that has them is refused for.

    newline: what ends a line, as `open` takes it; "" is any of \\n, \\r and \\r\\n, which stay as they are.
    """
    if encoding_of(path) == "utf-16":
        return StringIO(read_text(path), newline=newline)
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def delimiter_of(path: Path) -> str:
    """What parts the header of a CSV file, and most of its first rows alike.

    Errors: ValueError where two do so equally well.
    """
    fitting = {mark: rows_that_fit(path, mark) for mark in DELIMITERS}
    best = max(DELIMITERS, key=lambda mark: fitting[mark])
    rivals = [mark for mark in DELIMITERS if fitting[mark] == fitting[best]]
    if fitting[best] > 0 and len(rivals) > 1:
        raise ValueError(
            f"{path}:1: {' and '.join(map(repr, rivals))} both part the header and the rows; put names that hold one "
            'of them into quotes (")'
        )
    return best


def rows_that_fit(path: Path, mark: str) -> int:
    """How many of the first rows have as many fields as the header; −1 where that is one field."""
    with text_file(path, newline="") as file:
        header, *rows = [fields for _, fields in itertools.islice(csv_fields(file, mark), 1 + ROWS_TO_LOOK_AT)] or [[]]
    if isinstance(header, str) or len(header) < 2:
        return -1
    return sum(isinstance(fields, list) and len(fields) == len(header) for fields in rows)


def from_csv(path: Path) -> Inputs:
    """Values parted by commas, or by another mark that fits."""
    lines = csv_fields(text_file(path, newline=""), delimiter_of(path))
    line, header = next(lines, (1, []))
    if isinstance(header, str):
        raise ValueError(f"{path}:{line}: {header}")
    return with_header(path, header, lines)


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


def from_tsv(path: Path) -> Inputs:
    """Tab-separated values."""
    written = ((number, line.rstrip("\r\n")) for number, line in enumerate(text_file(path), 1))
    lines = ((number, line.split("\t")) for number, line in written if line)
    _, header = next(lines, (1, []))
    return with_header(path, header, lines)


def with_header(path: Path, header: list[str], lines: Iterator[tuple[int, Any]]) -> Inputs:
    """Rows whose fields are named by a header; empty lines are passed over."""
    refuse_one_name_twice(header, f"{path}:1: the header names")

    def rows() -> Iterator[Row]:
        written = ((line, fields) for line, fields in lines if fields)
        for number, (line, fields) in enumerate(written):
            where = f"{path}:{line}"
            if isinstance(fields, str):
                yield Row(number, where, trouble=fields)
            elif len(fields) != len(header):
                yield Row(number, where, trouble=unlike_header(fields, header))
            else:
                yield Row(number, where, dict(zip(header, fields, strict=True)))

    return Inputs(str(path), tuple(header), some(rows(), str(path)))


def refuse_one_name_twice(names: Sequence[str], who: str) -> None:
    """Refuse columns of one name, of which only one would be read. Errors: ValueError."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{who} the column {twice[0]!r} twice")


def unlike_header(fields: list[str], header: list[str]) -> str:
    """What is wrong with a row that has more or fewer fields than its header."""
    named = f"the header names {len(header)} ({', '.join(header)})"
    quote = "; a field that holds the mark between fields must be in quotes" if len(fields) > len(header) else ""
    return f"{len(fields)} fields, but {named}{quote}"


def from_jsonl(path: Path) -> Inputs:
    """An object a line."""
    return objects(text_file(path), str(path))


def objects(lines: Iterator[str], name: str) -> Inputs:
    """JSON objects; the columns are those of the first whole one. Empty lines are passed over."""

    def rows() -> Iterator[Row]:
        written = ((line, text) for line, text in enumerate(lines, 1) if text.strip())
        for number, (line, text) in enumerate(written):
            where = f"{name}:{line}"
            try:
                yield Row(number, where, json_object(text))
            except ValueError as error:
                yield Row(number, where, trouble=str(error))

    read = rows()
    looked: list[Row] = []
    for row in read:
        looked.append(row)
        if not row.trouble:
            break
    if looked and looked[-1].trouble:
        raise ValueError(f"{looked[0].where}: {looked[0].trouble}; no row of the file can be read")
    return Inputs(name, tuple(looked[-1].fields) if looked else (), some(itertools.chain(looked, read), name))


def from_parquet(path: Path) -> Inputs:
    """A parquet file, some rows at a time."""
    try:
        file = ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path}: not a parquet file ({error})") from None
    refuse_one_name_twice(file.schema_arrow.names, f"{path} has")

    def rows() -> Iterator[Row]:
        number = 0
        try:
            for batch in file.iter_batches(ROWS_PER_READ):
                for place in range(len(batch)):
                    yield in_parquet(batch, place, number, f"{path}, row {number}")
                    number += 1
        except (OSError, pyarrow.ArrowException) as error:
            damage = " ".join(str(error).split())
            yield Row(number, f"{path}, row {number}", trouble=f"the file is damaged from here on: {damage}")

    return Inputs(str(path), tuple(file.schema_arrow.names), some(rows(), str(path)))


def in_parquet(batch: pyarrow.RecordBatch, place: int, number: int, where: str) -> Row:
    """A row of a table; its bytes are read as UTF-8, and text is not always that."""
    fields: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            fields[name] = as_text(column[place].as_py())
        except UnicodeDecodeError as error:
            return Row(number, where, trouble=f"{name!r} is not UTF-8 at byte {error.start}")
    return Row(number, where, fields)


def as_text(value: Any) -> Any:
    """A value with all bytes in it decoded. Errors: UnicodeDecodeError."""
    if isinstance(value, list):
        return [as_text(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value


def from_text(path: Path) -> Inputs:
    """A text a line, empty ones too."""
    return texts(text_file(path), str(path))


def texts(lines: Iterator[str], name: str) -> Inputs:
    """A text a line, whose end is no part of it."""
    rows = (Row(number, f"{name}:{number + 1}", {"text": line.rstrip("\r\n")}) for number, line in enumerate(lines))
    return Inputs(name, ("text",), some(rows, name))


def from_word_lines(path: Path) -> Inputs:
    """Sentences of a file with a word a line."""
    return word_lines(read_text(path), str(path))


def word_lines(text: str, name: str) -> Inputs:
    """A row a sentence: the list of its words, and of what stands in each column, by its number."""
    read = read_sentences(text)

    def rows() -> Iterator[Row]:
        for number, sentence in enumerate(read.found):
            line, trouble = ragged(sentence)
            if trouble:
                yield Row(number, f"{name}:{line}", trouble=trouble)
                continue
            fields = [fields for _, fields in sentence.lines]
            columns = {str(place): list(column) for place, column in enumerate(zip(*fields, strict=True))}
            yield Row(number, f"{name}:{sentence.lines[0][0]}", {"words": columns[str(read.words)], **columns})

    first = len(read.found[0].lines[0][1]) if read.found else 0
    names = ("words", *map(str, range(first)))
    return Inputs(name, names, some(rows(), name), read.left_out)


def lines_of(stream: TextIO, name: str) -> Inputs:
    """JSONL or texts, as the first line says."""
    first = next(stream, "")
    lines = itertools.chain([first] if first else [], stream)
    return objects(lines, name) if first.startswith("{") else texts(lines, name)


def some(rows: Iterator[Row], name: str) -> Iterator[Row]:
    """The rows, of which there must be one."""
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{name} holds no rows")
    return itertools.chain([first], rows)


FORMATS: dict[str, Callable[[Path], Inputs]] = {
    ".csv": from_csv,
    ".tsv": from_tsv,
    ".jsonl": from_jsonl,
    ".parquet": from_parquet,
    ".txt": from_text,
    **dict.fromkeys((".conll", ".conllu", ".iob", ".iob2", ".bio"), from_word_lines),
}
NAMED = (".jsonl", ".parquet")  # their columns have names, which may be numbers
