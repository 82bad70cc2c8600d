"""Where does text lie, and what stamps it?  Sources, and the files and shards that are their parts."""

import hashlib
import json
import math
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from corpus.files import is_hidden, name_in, root_and_pattern, stamp_files
from corpus.text.document import OnError, Tally

if TYPE_CHECKING:
    import datasets  # half a second and 100 MB in every process that reads, which only the Hub needs

Kind = Literal["wikipedia", "books", "docstrings", "text", "jsonl", "parquet", "hub"]
Whitespace = Literal["keep", "clean"]
PACKINGS = ("", ".gz", ".zst")
SUFFIXES = {
    "wikipedia": tuple(".jsonl" + packing for packing in PACKINGS),
    "jsonl": tuple(suffix + packing for suffix in (".jsonl", ".json") for packing in PACKINGS),
    "text": tuple(".txt" + packing for packing in PACKINGS),
    "books": tuple(".txt" + packing for packing in PACKINGS),
    "parquet": (".parquet",),
}
OWN_NAMES = {"wikipedia": re.compile(r"wiki_\d+(\.gz|\.bz2|\.zst)?")}  # WikiExtractor's AA/wiki_00, which has no suffix
TABLES = (".csv", ".tsv")


@dataclass(frozen=True)
class Source:
    """One place where text comes from.  `config`, `split` and `revision` are for the Hub alone."""

    kind: Kind
    path: str = ""  # a file, a folder (searched through) or a glob; for the Hub, the data set's name
    field: str = "text"  # where a row's text is: a key of JSON, a column of Parquet
    documents: Literal["file", "line", "blank_line"] = "file"  # of kind text: what a document is, or what parts them
    sentences: Literal["found", "line"] = "found"  # line: a line is a sentence, and is not cut further
    # keep: text as it is; clean: less indentation, blank lines and, in files, line breaks; None: as the objective wants
    whitespace: Whitespace | None = None
    max_mb: int = 64  # MB of text that a document, a line or a row may have
    config: str | None = None  # of a data set of the Hub that has several
    split: str = "train"  # of a data set of the Hub
    revision: str | None = None  # None = the newest; the commit read is recorded either way
    on_error: OnError = "raise"  # "skip" leaves bad lines, rows and files out, and counts them
    weight: float | None = None  # its share in an interleaved stream, beside the weights of the others

    def __post_init__(self) -> None:
        if self.weight is not None and not 0 < self.weight < math.inf:
            what = "it must be above 0, and finite"
            raise ValueError(f"the weight of the {self.kind} source {self.path} is {self.weight}; {what}")
        if self.max_mb < 1:
            raise ValueError(f"max_mb of the {self.kind} source {self.path} is {self.max_mb}; it must be 1 or more")
        if self.documents != "file" and self.kind != "text":
            raise ValueError(
                f"documents: {self.documents} says how files of kind text are parted; in a {self.kind} source "
                f"{ELSEWHERE.get(self.kind, 'a row')} is a document: leave `documents` out"
            )
        for key, kinds in ONLY_FOR.items():
            if self.kind not in kinds and getattr(self, key) != type(self).__dataclass_fields__[key].default:
                raise ValueError(
                    f"{key}: {getattr(self, key)} does nothing in a {self.kind} source; it is for {', '.join(kinds)}: "
                    "leave it out"
                )
        if self.sentences == "line" and self.whitespace == "keep":
            raise ValueError(
                "whitespace: keep, as causal_lm and byte-level vocabularies take it, cuts no sentences, so `sentences: "
                "line` does nothing: leave it out, or say whitespace: clean"
            )

    def __str__(self) -> str:
        """As reports and cards name it: wikipedia `wikipedia`, hub `alice/books` at `COMMIT`."""
        where = f"`{self.path}`" + (f" at `{self.revision}`" if self.revision else "") if self.path else ""
        return f"{self.kind} {where}".strip()

    def wanting(self, whitespace: Whitespace) -> "Source":
        """The source, with its whitespace treated so, unless it says how itself."""
        return self if self.whitespace else replace(self, whitespace=whitespace)

    @property
    def max_bytes(self) -> int:
        """Of UTF-8 in a document."""
        return self.max_mb << 20


ONLY_FOR: dict[str, tuple[str, ...]] = {  # the kinds of source in which a key does something, where it is not all
    **dict.fromkeys(("config", "split", "revision"), ("hub",)),
    "field": ("wikipedia", "jsonl", "parquet", "hub"),
    "sentences": ("wikipedia", "books", "text", "jsonl", "parquet", "hub"),
}
ELSEWHERE = {"books": "a file", "docstrings": "a module"}  # what is a document


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


def parts(source: Source) -> list[Part]:
    """The parts of a source, in the order in which they are read. Raises FileNotFoundError if there is none."""
    if source.kind == "docstrings":
        return [Part(source, "docstrings")]
    if source.kind == "hub":
        num_shards = hub_data(source).num_shards
        return [Part(source, f"{shard} of {num_shards}", shard=shard) for shard in range(num_shards)]
    return [Part(source, name, path) for name, path in files(source)]


def fingerprint(source: Source) -> str:
    """SHA-256 (hex) of what the source holds and how it is read: the files' names and bytes, or the Hub's commit."""
    how: list[Any] = [source.kind, source.field, source.config, source.split, source.on_error]
    ways = {"documents": "file", "sentences": "found", "max_mb": 64}  # as all text was read before there were others
    how += [[name, getattr(source, name)] for name, usual in ways.items() if getattr(source, name) != usual]
    how += [["whitespace", "keep"]] if source.whitespace == "keep" else []
    stamp = json.dumps(how)
    return hashlib.sha256(f"{stamp}\n{CONTENTS.get(source.kind, of_files)(source)}".encode()).hexdigest()


def pinned(source: Source) -> Source:
    """The source at a Hub commit (40 hex digits), so that what is stamped is what is read; any other as it is."""
    if source.kind != "hub" or re.fullmatch("[0-9a-f]{40}", source.revision or ""):
        return source
    import datasets

    builder = datasets.load_dataset_builder(source.path, source.config, revision=source.revision)
    return replace(source, revision=builder.hash)


# Files


def files(source: Source) -> list[tuple[str, Path]]:
    """(name within the source, path) of every file of the source, sorted by name; hidden ones are left out.

    Errors: FileNotFoundError if there is none, or if one is a link to nothing.
    """
    return shown_and_left_out(source)[0]


def files_left_out(source: Source) -> Tally:
    """How many files of the source are left out because they are hidden, or lie in hidden folders, and how many folders
    because they are links: what they hold may be there already."""
    return shown_and_left_out(source)[1] if source.kind in SUFFIXES else Tally()


def shown_and_left_out(source: Source) -> tuple[list[tuple[str, Path]], Tally]:
    names = ", ".join(SUFFIXES[source.kind])
    wanted = f"a {source.kind} source is a file, or a folder or glob that has {names}"
    if not source.path:
        raise ValueError(f"the {source.kind} source has no path: {wanted}")
    try:
        root, pattern = root_and_pattern(source.path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}: {wanted}") from None
    if root.is_file() and root.suffix in TABLES:
        raise ValueError(f"{root} is a table, which is no {source.kind} source: {as_json_lines(root)}")
    if root.is_file():  # who names a hidden file means it
        return [(root.name, root)], Tally()
    named = sorted((name_in(root, path), path) for path in root.glob(pattern))
    of_kind = [(name, path) for name, path in named if is_of_kind(path.name, source.kind) and not path.is_dir()]
    shown = [(name, path) for name, path in of_kind if not is_hidden(name)]
    linked = [path for name, path in named if "**" in pattern and not is_hidden(name) and path.is_symlink()]
    if lost := [path for _, path in shown if not path.exists()]:
        raise FileNotFoundError(f"{lost[0]} is a link to nothing: restore what it should lead to, or remove the link")
    left_out = {"hidden files": len(of_kind) - len(shown), "linked folders": sum(path.is_dir() for path in linked)}
    shown = [(name, path) for name, path in shown if path.is_file()]
    if not shown:
        but = " and ".join(f"{number} {what}" for what, number in left_out.items() if number)
        but = f" but {but}; name these" if but else ""
        if tables := [path for _, path in named if path.suffix in TABLES]:
            but += f" but {len(tables)} tables such as {tables[0].name}; {as_json_lines(tables[0])}"
        raise FileNotFoundError(f"nothing to read in {root / pattern}{but}: {wanted}")
    return shown, +Tally(left_out)


def as_json_lines(table: Path) -> str:
    """How a table of texts becomes what is read here."""
    with table.open(encoding="utf-8", errors="replace") as file:
        header = file.readline()
    mark = max("\t;,", key=header.count)
    read = f"pandas.read_csv({str(table)!r}, sep={mark!r})"
    write = f"to_json({str(table.with_suffix('.jsonl'))!r}, orient='records', lines=True)"
    return f'say  python -c "import pandas; {read}.{write}"  and name that file, with kind: jsonl and field: COLUMN'


def is_of_kind(name: str, kind: str) -> bool:
    own = OWN_NAMES.get(kind)
    return name.endswith(SUFFIXES[kind]) or bool(own and own.fullmatch(name))


def file_of(part: Part) -> Path:
    assert part.path
    return part.path


def of_files(source: Source) -> str:
    return stamp_files(files(source))


def of_docstrings(source: Source) -> str:
    from corpus.text import docstrings

    return docstrings.fingerprint()


CONTENTS = {"docstrings": of_docstrings, "hub": lambda source: f"{source.path} {pinned(source).revision}"}


# Data sets on the Hub


@cache
def hub_data(source: Source) -> "datasets.IterableDataset":
    import datasets

    where = {"split": source.split, "revision": source.revision}
    return datasets.load_dataset(source.path, source.config, streaming=True, **where)
