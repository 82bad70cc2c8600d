"""Which documents do rows hold?  A row of JSON Lines, of a Parquet file or of a data set on the Hub is a document."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from corpus.text.document import Document, Tally, refuse
from corpus.text.lines import lines
from corpus.text.source import Part, Source, file_of, hub_data
from engine.run.records import json_object

# Rows: a row is a document.  A reader of rows yields (where it stands, for messages; its name, for ids; the row)

Rows = Iterator[tuple[str, Any, Mapping[str, Any]]]
MOST_ROWS = 1024  # of a table that are in memory at a time
MANY_KEYS = 20  # that a message names


def wikipedia(part: Part, tally: Tally) -> Iterator[Document]:
    return of_rows(((where, row.get("id"), row) for where, _, row in json_rows(part, tally)), part.source, tally)


def jsonl(part: Part, tally: Tally) -> Iterator[Document]:
    return of_rows(json_rows(part, tally), part.source, tally)


def parquet(part: Part, tally: Tally) -> Iterator[Document]:
    return of_rows(parquet_rows(part, tally), part.source, tally)


def hub(part: Part, tally: Tally) -> Iterator[Document]:
    return of_rows(hub_rows(part), part.source, tally)


def of_rows(rows: Rows, source: Source, tally: Tally) -> Iterator[Document]:
    for where, name, row in rows:
        try:
            if name is None:
                raise Unreadable("rows without id", lack(row, "id"))
            text = text_of(row, source)
        except Unreadable as trouble:
            refuse(f"{where}: {trouble}", trouble.reason, source.on_error, tally)
        else:
            yield of_text(f"{source.kind}:{name}", text, source)


def of_text(name: str, text: str, source: Source) -> Document:
    """A text as it is, or its lines as paragraphs."""
    if source.whitespace == "keep":
        return Document(name, (text,), "whole")
    return Document(name, tuple(text.split("\n")), "lines" if source.sentences == "line" else "sentences")


class Unreadable(Exception):
    """A row that gives no document; `reason` is what such rows are counted under."""

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(what)
        self.reason = reason


def text_of(row: Mapping[str, Any], source: Source) -> str:
    """The text of a row; bytes are read as UTF-8. Errors: Unreadable."""
    field = source.field
    text = row.get(field)
    if isinstance(text, str | bytes | memoryview) and len(text) > source.max_bytes:
        raise Unreadable(over(source), too_large(source))
    if isinstance(text, bytes | memoryview):
        try:
            text = str(text, "utf-8")
        except UnicodeDecodeError as error:
            what = f"byte {error.start} of {field!r} (0x{error.object[error.start]:02x}) is not UTF-8"
            raise Unreadable("rows not UTF-8", what) from None
    if not isinstance(text, str):
        raise Unreadable(f"rows without {field}", lack(row, field))
    if half := half_character(text):
        raise Unreadable("rows with half a character", f"{field!r} holds {half}, half a character")
    return text


def over(source: Source) -> str:
    return f"rows over {source.max_mb} MB"


def too_large(source: Source) -> str:
    return f"{source.field!r} is larger than {source.max_mb} MB; if it is meant, raise max_mb of this source"


def lack(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    kinds = {type(None): "null", list: "a list", dict: "an object"}
    kind = kinds.get(type(value)) or f"{value!r:.40}"
    what = f"{key!r} is {kind}, not text" if key in row else f"no key {key!r}"
    shown = (key[:40] if key.isprintable() else repr(key)[:40] for key in islice(row, MANY_KEYS))
    keys = ", ".join(shown) + (" ..." if len(row) > MANY_KEYS else "")
    return f"{what}; the row has {keys or 'no keys'}"


def json_rows(part: Part, tally: Tally) -> Rows:
    path, on_error = file_of(part), part.source.on_error
    for number, line in lines(path, on_error, tally, part.source.max_mb):
        if not line.strip():
            continue
        try:
            row = json_object(line)
        except ValueError as error:
            hint = "; WikiExtractor writes JSON when it is called with --json" if line.startswith("<doc ") else ""
            refuse(f"{path}:{number}: {error}{hint}", "rows not JSON", on_error, tally)
        else:
            yield f"{path}:{number}", f"{part.name}:{number}", row


def parquet_rows(part: Part, tally: Tally) -> Rows:
    path, field, on_error = file_of(part), part.source.field, part.source.on_error
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20) as file:
            columns = file.schema_arrow.names
            if field not in columns:
                raise ValueError(f"{path}: no column {field!r}; its columns are {', '.join(columns)}")
            number = sum(file.metadata.row_group(group).num_rows for group in range(part.row_group))
            for group in range(part.row_group, file.num_row_groups):
                num_rows = file.metadata.row_group(group).num_rows
                if (
                    num_rows and size_of(file, group, field) > num_rows * part.source.max_bytes
                ):  # known before it is unpacked
                    where = f"{path}: row {number}" + (f" to {number + num_rows - 1}" if num_rows > 1 else "")
                    refuse(f"{where}: {too_large(part.source)}", over(part.source), on_error, tally)
                    tally[over(part.source)] += num_rows - 1
                    number += num_rows
                    continue
                for column in columns_of(file, group, part.source):
                    for value in values_of(column):
                        yield f"{path}: row {number}", f"{part.name}:{number}", {field: value}
                        number += 1
    except (OSError, pyarrow.ArrowException) as error:
        refuse(f"{path}: not a whole Parquet file: {' '.join(str(error).split())}", "damaged files", on_error, tally)


def size_of(file: pyarrow.parquet.ParquetFile, group: int, field: str) -> int:
    """Bytes of a column in a row group, unpacked, as the file says."""
    about = file.metadata.row_group(group)
    columns = (about.column(place) for place in range(about.num_columns))
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema.split(".")[0] == field)


def columns_of(file: pyarrow.parquet.ParquetFile, group: int, source: Source) -> Iterator[pyarrow.Array]:
    """The column of texts of a row group, some rows at a time.

    A file may hold a text once and say that many rows have it, each perhaps as large as the column: so the larger the
    column, the fewer rows are unpacked together.
    """
    size = max(1, size_of(file, group, source.field))
    at_a_time = min(MOST_ROWS, max(1, 8 * source.max_bytes // size))
    for batch in file.iter_batches(at_a_time, row_groups=[group], columns=[source.field]):
        yield batch.column(0)


def values_of(column: pyarrow.Array) -> Iterator[Any]:
    """Python values; of text the bytes, not copied, for a file may hold what is not UTF-8 in a column of text."""
    if is_text(column.type):
        column = column.cast(pyarrow.large_binary() if pyarrow.types.is_large_string(column.type) else pyarrow.binary())
    for value in column:
        is_there = value.is_valid and isinstance(value, pyarrow.BinaryScalar | pyarrow.LargeBinaryScalar)
        yield memoryview(value.as_buffer()) if is_there else value.as_py()


def is_text(kind: pyarrow.DataType) -> bool:
    return pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)


def without_row_groups(part: Part, skip: int) -> tuple[Part, int]:
    """The part less its row groups that hold only documents to be skipped, and how many to skip are left.

    Row groups in which something could be refused are not passed over: what is refused is no document.
    """
    group = part.row_group
    try:
        with pyarrow.parquet.ParquetFile(file_of(part), buffer_size=1 << 20) as file:
            while group < file.num_row_groups:
                texts = (num_texts(column, part.source) for column in columns_of(file, group, part.source))
                if (num_documents := sum(texts)) > skip:
                    break
                group, skip = group + 1, skip - num_documents
    except (OSError, LookupError, pyarrow.ArrowException):
        pass  # what is wrong with the file, `parquet_rows` says
    return replace(part, row_group=group), skip


def num_texts(column: pyarrow.Array, source: Source) -> int:
    """How many rows of a column have text. Errors: LookupError or ArrowInvalid if a row could be refused."""
    if (
        not is_text(column.type)
        or (pyarrow.compute.max(pyarrow.compute.binary_length(column)).as_py() or 0) > source.max_bytes
    ):
        raise LookupError
    column.validate(full=True)
    return pyarrow.compute.sum(pyarrow.compute.match_substring_regex(column, VISIBLE)).as_py() or 0


# A character that `cleaned` leaves.  By itself the engine of this pattern knows only the blanks of ASCII.
BLANKS = "".join(f"\\x{{{code:x}}}" for code in range(0x3001) if chr(code).isspace())
VISIBLE = f"[^\\x{{0}}{BLANKS}]"


def hub_rows(part: Part) -> Rows:
    data, source = hub_data(part.source), part.source
    name = f"{source.path}:{source.config or 'default'}:{source.split}"
    for number, row in enumerate(data.shard(data.num_shards, part.shard)):
        yield f"{name}: shard {part.shard}, row {number}", f"{name}:{part.shard}:{number}", row


def half_character(text: str) -> str | None:
    """The first lone surrogate, which a badly cut JSON escape leaves behind and no tokenizer accepts; or None."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return ascii(text[error.start])
    return None
