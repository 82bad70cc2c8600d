"""Which documents does a source hold?  Files, folders and Hub data sets, part by part, in bounded memory.

A part is a file, or one shard of a Hub data set: what one process reads while others read the others. What a document
and a paragraph are depends on the kind of source:

    wikipedia   a JSON Lines row {"id", "text"}          each line (the layout of WikiExtractor)
    jsonl       a row's `field`                          each line
    parquet     a row's `field`                          each line
    hub         a row's `field`                          each line
    text        a .txt file; or each line of it, or      lines up to a blank line
                what blank lines part (`documents`)
    books       a .txt file, less its title and author   lines up to a blank line
    docstrings  the docstrings of a Python module        as corpus.text.docstrings has them

With `whitespace: keep` a document is its text as it stands: indentation, line breaks and blank lines are part of it.
With `sentences: line` each line is a paragraph of one sentence.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, groupby, islice
from typing import NoReturn

from corpus.text.document import Document, Form, Tally, refuse
from corpus.text.lines import lines
from corpus.text.rows import hub, jsonl, parquet, wikipedia, without_row_groups
from corpus.text.source import Part, Source, file_of, files_left_out, parts


def documents(source: Source, tally: Tally) -> Iterator[Document]:
    """Every document of the source that has text, in a fixed order; `tally` counts what was left out, by reason.

    Raises FileNotFoundError if nothing is at the path, and ValueError for damaged input (unless `on_error` is "skip")
    and for a source without a single document.
    """
    empty = True
    tally.update(files_left_out(source))
    for part in parts(source):
        for document in read(part, tally):
            empty = False
            yield document
    if empty:
        refuse_empty(source, tally)


def refuse_empty(source: Source, tally: Tally) -> NoReturn:
    left_out = ", ".join(f"{count} {reason}" for reason, count in tally.items()) or "nothing"
    raise ValueError(f"{source.path}: no document with text in this {source.kind} source (left out: {left_out})")


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


def cleaned(document: Document, tally: Tally) -> Document:
    """The document without NUL characters, and, unless it is to stay whole, without blanks around its paragraphs and
    paragraphs of blanks alone."""
    nuls = sum(paragraph.count("\0") for paragraph in document.paragraphs)
    if nuls:
        tally["NUL characters"] += nuls
        document = replace(document, paragraphs=tuple(text.replace("\0", "") for text in document.paragraphs))
    if document.form == "whole":
        return document if document.paragraphs[0].strip() else replace(document, paragraphs=())
    stripped = (paragraph.strip() for paragraph in document.paragraphs)
    return replace(document, paragraphs=tuple(paragraph for paragraph in stripped if paragraph))


# Files of text

Lines = Iterator[tuple[int, str]]  # number from 1, line with its end


def text_file(part: Part, tally: Tally) -> Iterator[Document]:
    source = part.source
    for first, text in PARTED[source.documents](lines(file_of(part), source.on_error, tally, source.max_mb)):
        name = f"text:{part.name}" if source.documents == "file" else f"text:{part.name}:{first}"
        yield from one(name, text, part, tally)


def book(part: Part, tally: Tally) -> Iterator[Document]:
    source = part.source
    text = without_title(lines(file_of(part), source.on_error, tally, source.max_mb))
    yield from one(f"books:{part.name}", text, part, tally)


def whole_files(text: Lines) -> Iterator[tuple[int, Lines]]:
    yield 1, text


def each_line(text: Lines) -> Iterator[tuple[int, Lines]]:
    yield from ((number, iter([(number, line)])) for number, line in text if line.strip())


def between_blank_lines(text: Lines) -> Iterator[tuple[int, Lines]]:
    for is_text, run in groupby(text, key=lambda line: bool(line[1].strip())):
        if is_text:
            first = next(run)
            yield first[0], chain([first], run)  # noqa: B031, the rest follows the first


PARTED = {"file": whole_files, "line": each_line, "blank_line": between_blank_lines}


def without_title(text: Lines) -> Lines:
    """Less a title and an author: two short first lines that end no sentence, and a blank line below them."""
    first = list(islice(text, 3))
    head = [line.strip() for _, line in first]
    is_title = head[2:] == [""] and all(0 < len(line) <= 100 and line[-1] not in ".!?" for line in head[:2])
    return chain(first[2 * is_title :], text)


def one(name: str, text: Lines, part: Part, tally: Tally) -> Iterator[Document]:
    """The document of these lines, unless it is too large."""
    source = part.source
    try:
        measured = up_to(source.max_bytes, text)
        if source.whitespace == "keep":
            whole = joined("", measured)
            paragraphs: tuple[str, ...] = (whole if source.documents == "file" else whole.rstrip("\r\n"),)
        else:
            paragraphs = tuple(line.strip() for line in measured) if source.sentences == "line" else blocks(measured)
    except TooLarge as error:
        what = f"{file_of(part)}:{error}: the document is larger than {source.max_mb} MB; raise max_mb of this source"
        several = ", or say `documents: line` or `documents: blank_line` if the file holds several"
        what += several if source.kind == "text" else ""
        refuse(what, f"documents over {source.max_mb} MB", source.on_error, tally)
    else:
        yield Document(name, paragraphs, FORMS[source.whitespace or "clean", source.sentences])


FORMS: dict[tuple[str, str], Form] = {
    ("clean", "found"): "sentences",
    ("clean", "line"): "lines",
    ("keep", "found"): "whole",
}


class TooLarge(Exception):
    """At the line of this number a document has more bytes than its source allows."""


def up_to(most: int, text: Lines) -> Iterator[str]:
    """The lines. Errors: TooLarge as soon as they have more than `most` bytes of UTF-8."""
    size = 0
    for number, line in text:
        size += len(line) if line.isascii() else len(line.encode())
        if size > most:
            raise TooLarge(number)
        yield line


def blocks(text: Iterable[str]) -> tuple[str, ...]:
    """Paragraphs parted by blank lines; the lines of one are joined, for they were broken to fit a page."""
    runs = groupby(text, key=lambda line: bool(line.strip()))
    return tuple(joined(" ", (line.strip() for line in run)) for is_text, run in runs if is_text)


def joined(between: str, text: Iterator[str]) -> str:
    """The lines as one text. Some at a time: a short line takes ten times its length in memory."""
    some = iter(lambda: between.join(islice(text, 4096)), "")
    return between.join(some)


# Docstrings: a Python module is a document


def docstrings(part: Part, tally: Tally) -> Iterator[Document]:
    from corpus.text import docstrings

    for document in docstrings.documents():
        if part.source.whitespace == "keep":
            document = Document(document.id, ("\n".join(document.paragraphs),), "whole")
        yield document


READERS = {
    "wikipedia": wikipedia,
    "jsonl": jsonl,
    "parquet": parquet,
    "hub": hub,
    "text": text_file,
    "books": book,
    "docstrings": docstrings,
}
