"""Which documents does a source hold?  Files, folders and Hub data sets, part by part, in bounded memory.

A part is a file, or one shard of a Hub data set: what one process reads while others read the others. What a document
and a paragraph are depends on the kind of source:

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
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from corpus.document import Document, OnError, Tally, refuse
from corpus.lines import lines
from engine.disk import sha256, whole_file
from engine.recipe import data_path

if TYPE_CHECKING:
    import datasets  # half a second and 100 MB in every process that reads, which only the Hub needs

Kind = Literal["wikipedia", "books", "docstrings", "text", "jsonl", "parquet", "hub"]
PACKINGS = ("", ".gz", ".zst")
SUFFIXES = {
    "wikipedia": tuple(".jsonl" + packing for packing in PACKINGS),
    "jsonl": tuple(suffix + packing for suffix in (".jsonl", ".json") for packing in PACKINGS),
    "text": tuple(".txt" + packing for packing in PACKINGS),
    "books": tuple(".txt" + packing for packing in PACKINGS),
    "parquet": (".parquet",),
}
CACHE = Path("runs/.cache")
SETTLED = 2_000_000_000  # ns: a younger file could change again without a change of its time


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
    weight: float | None = None  # its share in an interleaved stream, beside the weights of the others

    def __post_init__(self) -> None:
        if self.weight is not None and not self.weight > 0:
            raise ValueError(f"the weight of the {self.kind} source {self.path} is {self.weight}; it must be above 0")

    def __str__(self) -> str:
        """As reports and cards name it: wikipedia `wikipedia`, hub `alice/books` at `COMMIT`."""
        where = f"`{self.path}`" + (f" at `{self.revision}`" if self.revision else "") if self.path else ""
        return f"{self.kind} {where}".strip()


@dataclass(frozen=True)
class Part:
    """What is read in one go: a file of a source, a shard of a Hub data set, or all docstrings."""

    source: Source
    name: str  # unique in the source
    path: Path | None = None  # of the file
    shard: int = 0  # of the Hub data set
    row_group: int = 0  # of the Parquet file, at which reading begins

    @property
    def num_bytes(self) -> int:
        """Bytes on disk, packed as they are; 0 where it is no file."""
        return self.path.stat().st_size if self.path else 0


def documents(source: Source, tally: Tally) -> Iterator[Document]:
    """Every document of the source that has text, in a fixed order; `tally` counts what was left out, by reason.

    Raises FileNotFoundError if nothing is at the path, and ValueError for damaged input (unless `on_error` is "skip")
    and for a source without a single document.
    """
    empty = True
    for part in parts(source):
        for document in read(part, tally):
            empty = False
            yield document
    if empty:
        refuse_empty(source, tally)


def refuse_empty(source: Source, tally: Tally) -> NoReturn:
    left_out = ", ".join(f"{count} {reason}" for reason, count in tally.items()) or "nothing"
    raise ValueError(f"{source.path}: no document with text in this {source.kind} source (left out: {left_out})")


def parts(source: Source) -> list[Part]:
    """The parts of a source, in the order in which they are read. Raises FileNotFoundError if there is none."""
    if source.kind == "docstrings":
        return [Part(source, "docstrings")]
    if source.kind == "hub":
        num_shards = hub_data(source).num_shards
        return [Part(source, f"{shard} of {num_shards}", shard=shard) for shard in range(num_shards)]
    return [Part(source, name, path) for name, path in files(source)]


def read(part: Part, tally: Tally, skip: int = 0) -> Iterator[Document]:
    """The part's documents that have text, except the first `skip`; what was left out among those is not counted.

    Passing over documents is over thirty times as fast as encoding them, in a Parquet file over a hundred times.
    """
    if skip and part.source.kind == "parquet":
        part, skip = without_row_groups(part, skip)
    found = with_text(READERS[part.source.kind](part, tally), tally)
    before = tally.copy()
    next(islice(found, skip, skip), None)  # reads `skip` documents and gives none
    tally.clear()
    tally.update(before)
    yield from found


def with_text(found: Iterator[Document], tally: Tally) -> Iterator[Document]:
    for document in found:
        document = cleaned(document, tally)
        if document.paragraphs:
            yield document
        else:
            tally["empty documents"] += 1


def fingerprint(source: Source) -> str:
    """SHA-256 (hex) of what the source holds and how it is read: the files' names and bytes, or the Hub's commit."""
    how = json.dumps([source.kind, source.field, source.config, source.split, source.on_error])
    return hashlib.sha256(f"{how}\n{CONTENTS.get(source.kind, of_files)(source)}".encode()).hexdigest()


def pinned(source: Source) -> Source:
    """The source at a Hub commit (40 hex digits), so that what is stamped is what is read; any other as it is."""
    if source.kind != "hub" or re.fullmatch("[0-9a-f]{40}", source.revision or ""):
        return source
    import datasets

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


def text_file(part: Part, tally: Tally) -> Iterator[Document]:
    yield Document(f"text:{part.name}", blocks(lines_of(part, tally)))


def book(part: Part, tally: Tally) -> Iterator[Document]:
    yield Document(f"books:{part.name}", blocks(without_title(lines_of(part, tally))))


def lines_of(part: Part, tally: Tally) -> list[str]:
    return [line for _, line in lines(file_of(part), part.source.on_error, tally)]


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


def wikipedia(part: Part, tally: Tally) -> Iterator[Document]:
    return of_rows(((where, row.get("id"), row) for where, _, row in json_rows(part, tally)), part.source, tally)


def jsonl(part: Part, tally: Tally) -> Iterator[Document]:
    return of_rows(json_rows(part, tally), part.source, tally)


def parquet(part: Part, tally: Tally) -> Iterator[Document]:
    return of_rows(parquet_rows(part, tally), part.source, tally)


def hub(part: Part, tally: Tally) -> Iterator[Document]:
    return of_rows(hub_rows(part), part.source, tally)


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


def json_rows(part: Part, tally: Tally) -> Rows:
    path, on_error = file_of(part), part.source.on_error
    for number, line in lines(path, on_error, tally):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            refuse(f"{path}:{number}: not JSON: {error}", "rows not JSON", on_error, tally)
            continue
        if isinstance(row, dict):
            yield f"{path}:{number}", f"{part.name}:{number}", row
        else:
            refuse(f"{path}:{number}: JSON, but not an object {{...}}", "rows not JSON", on_error, tally)


def parquet_rows(part: Part, tally: Tally) -> Rows:
    path, field = file_of(part), part.source.field
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            if field not in columns:
                raise ValueError(f"{path}: no column {field!r}; its columns are {', '.join(columns)}")
            first = sum(file.metadata.row_group(group).num_rows for group in range(part.row_group))
            groups = list(range(part.row_group, file.num_row_groups))
            batches = file.iter_batches(1024, row_groups=groups, columns=[field])
            for number, row in enumerate((row for batch in batches for row in batch.to_pylist()), first):
                yield f"{path}: row {number}", f"{part.name}:{number}", row
    except (OSError, pyarrow.ArrowException) as error:
        refuse(f"{path}: not a whole Parquet file: {error}", "damaged files", part.source.on_error, tally)


def without_row_groups(part: Part, skip: int) -> tuple[Part, int]:
    """The part less its row groups that hold only documents to be skipped, and how many to skip are left."""
    group = part.row_group
    try:
        with pyarrow.parquet.ParquetFile(file_of(part)) as file:
            while group < file.num_row_groups:
                column = file.read_row_group(group, columns=[part.source.field]).column(0)
                has_text = pyarrow.compute.match_substring_regex(column, VISIBLE)
                num_documents = pyarrow.compute.sum(has_text).as_py() or 0
                if num_documents > skip:
                    break
                group, skip = group + 1, skip - num_documents
    except (OSError, LookupError, pyarrow.ArrowException):
        pass  # what is wrong with the file, `parquet_rows` says
    return replace(part, row_group=group), skip


# A character that `cleaned` leaves.  By itself the engine of this pattern knows only the blanks of ASCII.
BLANKS = "".join(f"\\x{{{code:x}}}" for code in range(0x3001) if chr(code).isspace())
VISIBLE = f"[^\\x{{0}}{BLANKS}]"


def hub_rows(part: Part) -> Rows:
    data, source = hub_data(part.source), part.source
    name = f"{source.path}:{source.config or 'default'}:{source.split}"
    for number, row in enumerate(data.shard(data.num_shards, part.shard)):
        yield f"{name}: shard {part.shard}, row {number}", f"{name}:{part.shard}:{number}", row


@cache
def hub_data(source: Source) -> "datasets.IterableDataset":
    import datasets

    where = {"split": source.split, "revision": source.revision}
    return datasets.load_dataset(source.path, source.config, streaming=True, **where)


def half_character(text: str) -> str | None:
    """The first lone surrogate, which a badly cut JSON escape leaves behind and no tokenizer accepts; or None."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return ascii(text[error.start])
    return None


# Docstrings: a Python module is a document


def docstrings(part: Part, tally: Tally) -> Iterator[Document]:
    from corpus import docstrings

    yield from docstrings.documents()


READERS = {
    "wikipedia": wikipedia,
    "jsonl": jsonl,
    "parquet": parquet,
    "hub": hub,
    "text": text_file,
    "books": book,
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


def file_of(part: Part) -> Path:
    assert part.path
    return part.path


def of_files(source: Source) -> str:
    """SHA-256 of the files' names and bytes; files that look untouched since the last time are not read again."""
    found = files(source)
    times = [path.stat().st_mtime_ns for _, path in found]
    looks = [(name, str(path.resolve()), path.stat().st_size) for name, path in found], times
    memo = CACHE / f"fingerprint-{hashlib.sha256(json.dumps(looks).encode()).hexdigest()[:32]}.txt"
    if memo.exists():
        return memo.read_text()
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(sha256, (path for _, path in found)))
    stamp = hashlib.sha256()
    for (name, _), digest in zip(found, digests, strict=True):
        stamp.update(f"{name} {digest}\n".encode())
    if max(times) < time.time_ns() - SETTLED:
        whole_file(memo, stamp.hexdigest().encode())
    return stamp.hexdigest()


def of_docstrings(source: Source) -> str:
    from corpus import docstrings

    return docstrings.fingerprint()


CONTENTS = {"docstrings": of_docstrings, "hub": lambda source: f"{source.path} {pinned(source).revision}"}
