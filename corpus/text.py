"""Which documents does a source hold?  Files, folders and Hub data sets, streamed in bounded memory.

What a document and a paragraph are depends on the kind of source:

    wikipedia   a JSON Lines row {"id", "text"}          each line (the layout of WikiExtractor)
    jsonl       a row's `field`                          each line
    parquet     a row's `field`                          each line
    hub         a row's `field`                          each line
    text        a .txt file                              lines up to a blank line
    books       a .txt file, less its title and author   lines up to a blank line
    docstrings  the docstrings of a Python module        as corpus.docstrings has them
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import datasets
import pyarrow
import pyarrow.parquet

from corpus.document import Document, OnError, Tally, refuse
from corpus.lines import lines
from engine.recipe import data_path

Kind = Literal["wikipedia", "books", "docstrings", "text", "jsonl", "parquet", "hub"]
PACKINGS = ("", ".gz", ".zst")
SUFFIXES = {
    "wikipedia": tuple(".jsonl" + packing for packing in PACKINGS),
    "jsonl": tuple(suffix + packing for suffix in (".jsonl", ".json") for packing in PACKINGS),
    "text": tuple(".txt" + packing for packing in PACKINGS),
    "books": tuple(".txt" + packing for packing in PACKINGS),
    "parquet": (".parquet",),
}


@dataclass(frozen=True)
class Source:
    """One place where text comes from.  `config`, `split` and `revision` are for the Hub alone."""

    kind: Kind
    path: str = ""  # a file, a folder (searched through) or a glob; for the Hub, the data set's name
    field: str = "text"
    config: str | None = None
    split: str = "train"
    revision: str | None = None  # None = the newest; the commit read is recorded either way
    on_error: OnError = "raise"  # "skip" leaves bad lines, rows and files out, and counts them


def documents(source: Source, tally: Tally) -> Iterator[Document]:
    """Every document of the source that has text, in a fixed order; `tally` counts what was left out, by reason.

    Raises FileNotFoundError if nothing is at the path, and ValueError for damaged input (unless `on_error` is "skip")
    and for a source without a single document.
    """
    empty = True
    for document in READERS[source.kind](source, tally):
        document = cleaned(document, tally)
        if document.paragraphs:
            empty = False
            yield document
        else:
            tally["empty documents"] += 1
    if empty:
        left_out = ", ".join(f"{count} {reason}" for reason, count in tally.items()) or "nothing"
        raise ValueError(f"{source.path}: no document with text in this {source.kind} source (left out: {left_out})")


def fingerprint(source: Source) -> str:
    """SHA-256 (hex) of what the source holds and how it is read: the files' names and bytes, or the Hub's commit."""
    how = json.dumps([source.kind, source.field, source.config, source.split, source.on_error])
    return hashlib.sha256(f"{how}\n{CONTENTS.get(source.kind, of_files)(source)}".encode()).hexdigest()


def pinned(source: Source) -> Source:
    """The source at a Hub commit (40 hex digits), so that what is stamped is what is read; any other as it is."""
    if source.kind != "hub" or re.fullmatch("[0-9a-f]{40}", source.revision or ""):
        return source
    builder = datasets.load_dataset_builder(source.path, source.config, revision=source.revision)
    return replace(source, revision=builder.hash)


def cleaned(document: Document, tally: Tally) -> Document:
    """The document without NUL characters, blanks around its paragraphs, and paragraphs of blanks alone."""
    nuls = sum(paragraph.count("\0") for paragraph in document.paragraphs)
    if nuls:
        tally["NUL characters"] += nuls
    stripped = (paragraph.replace("\0", "").strip() for paragraph in document.paragraphs)
    return replace(document, paragraphs=tuple(paragraph for paragraph in stripped if paragraph))


# Files of text: a file is a document


def text_files(source: Source, tally: Tally) -> Iterator[Document]:
    for name, path in files(source):
        text = [line for _, line in lines(path, source.on_error, tally)]
        yield Document(f"text:{name}", blocks(text))


def books(source: Source, tally: Tally) -> Iterator[Document]:
    for name, path in files(source):
        text = [line for _, line in lines(path, source.on_error, tally)]
        yield Document(f"books:{name}", blocks(without_title(text)))


def without_title(text: list[str]) -> list[str]:
    """Less a title and an author: two short first lines that end no sentence, and a blank line below them."""
    head = [line.strip() for line in text[:2]]
    is_title = text[2:3] == [""] and all(0 < len(line) <= 100 and line[-1] not in ".!?" for line in head)
    return text[2:] if is_title else text


def blocks(text: Iterable[str]) -> tuple[str, ...]:
    """Paragraphs parted by blank lines; the lines of one are joined, for they were broken to fit a page."""
    runs = groupby(text, key=lambda line: bool(line.strip()))
    return tuple(" ".join(line.strip() for line in run) for is_text, run in runs if is_text)


# Rows: a row is a document.  A reader of rows yields (where it stands, for messages; its name, for ids; the row)

Rows = Iterator[tuple[str, str, Mapping[str, Any]]]


def wikipedia(source: Source, tally: Tally) -> Iterator[Document]:
    return of_rows(((where, row.get("id"), row) for where, _, row in json_rows(source, tally)), source, tally)


def jsonl(source: Source, tally: Tally) -> Iterator[Document]:
    return of_rows(json_rows(source, tally), source, tally)


def parquet(source: Source, tally: Tally) -> Iterator[Document]:
    return of_rows(parquet_rows(source, tally), source, tally)


def hub(source: Source, tally: Tally) -> Iterator[Document]:
    return of_rows(hub_rows(source), source, tally)


def of_rows(rows: Iterable[tuple[str, Any, Mapping[str, Any]]], source: Source, tally: Tally) -> Iterator[Document]:
    for where, name, row in rows:
        text = row.get(source.field)
        if name is None or not isinstance(text, str):
            key = "id" if name is None else source.field
            lack = f"{key!r} is {json.dumps(row[key])[:40]}, not text" if key in row else f"no key {key!r}"
            reason = f"rows without {key}"
            refuse(f"{where}: {lack}; the row has {', '.join(row) or 'no keys'}", reason, source.on_error, tally)
        elif half := half_character(text):
            what = f"{where}: {source.field!r} holds {half}, half a character"
            refuse(what, "rows with half a character", source.on_error, tally)
        else:
            yield Document(f"{source.kind}:{name}", tuple(text.split("\n")))


def json_rows(source: Source, tally: Tally) -> Rows:
    for name, path in files(source):
        for number, line in lines(path, source.on_error, tally):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                refuse(f"{path}:{number}: not JSON: {error}", "rows not JSON", source.on_error, tally)
                continue
            if isinstance(row, dict):
                yield f"{path}:{number}", f"{name}:{number}", row
            else:
                refuse(f"{path}:{number}: JSON, but not an object {{...}}", "rows not JSON", source.on_error, tally)


def parquet_rows(source: Source, tally: Tally) -> Rows:
    for name, path in files(source):
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                columns = file.schema_arrow.names
                if source.field not in columns:
                    raise ValueError(f"{path}: no column {source.field!r}; its columns are {', '.join(columns)}")
                batches = file.iter_batches(1024, columns=[source.field])
                for number, row in enumerate(row for batch in batches for row in batch.to_pylist()):
                    yield f"{path}: row {number}", f"{name}:{number}", row
        except (OSError, pyarrow.ArrowException) as error:
            refuse(f"{path}: not a whole Parquet file: {error}", "damaged files", source.on_error, tally)


def hub_rows(source: Source) -> Rows:
    where = {"split": source.split, "revision": source.revision}
    rows = datasets.load_dataset(source.path, source.config, streaming=True, **where)
    name = f"{source.path}:{source.config or 'default'}:{source.split}"
    for number, row in enumerate(rows):
        yield f"{name}: row {number}", f"{name}:{number}", row


def half_character(text: str) -> str | None:
    """The first lone surrogate, which a badly cut JSON escape leaves behind and no tokenizer accepts; or None."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return ascii(text[error.start])
    return None


# Docstrings: a Python module is a document


def docstrings(source: Source, tally: Tally) -> Iterator[Document]:
    from corpus import docstrings

    yield from docstrings.documents()


READERS = {
    "wikipedia": wikipedia,
    "jsonl": jsonl,
    "parquet": parquet,
    "hub": hub,
    "text": text_files,
    "books": books,
    "docstrings": docstrings,
}


# Where the content is, and what stamps it


def files(source: Source) -> list[tuple[str, Path]]:
    """(name within the source, path) of every file of the source, sorted by name."""
    suffixes = ", ".join(SUFFIXES[source.kind])
    wanted = f"a {source.kind} source is a file, or a folder or glob that has {suffixes}"
    if not source.path:
        raise ValueError(f"the {source.kind} source has no path: {wanted}")
    folder, pattern = glob_root(source.path) if set(source.path) & set("*?[") else (source.path, "**/*")
    try:
        root = data_path(folder)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}: {wanted}") from None
    if root.is_file():
        return [(root.name, root)]
    found = sorted(file for file in root.glob(pattern) if file.is_file() and file.name.endswith(SUFFIXES[source.kind]))
    if not found:
        raise FileNotFoundError(f"nothing to read in {root / pattern}: {wanted}")
    return [(file.relative_to(root).as_posix(), file) for file in found]


def glob_root(path: str) -> tuple[str, str]:
    """A glob in two: the folder before the first wildcard, and the pattern from there."""
    parts = Path(path).parts
    fixed = next(index for index, part in enumerate(parts) if set(part) & set("*?["))
    return str(Path(*parts[:fixed])), str(Path(*parts[fixed:]))


def of_files(source: Source) -> str:
    stamp = hashlib.sha256()
    for name, path in files(source):
        with path.open("rb") as file:
            stamp.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return stamp.hexdigest()


def of_docstrings(source: Source) -> str:
    from corpus import docstrings

    return docstrings.fingerprint()


CONTENTS = {"docstrings": of_docstrings, "hub": lambda source: f"{source.path} {pinned(source).revision}"}
