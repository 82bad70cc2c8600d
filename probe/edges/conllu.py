"""What is annotated in this treebank?  CoNLL-U files, plain or gzip, as sentences with their parts of speech,
dependencies and mentions.

The words are the syntactic ones: those with a whole number (1, 2). A multiword token (1-2, such as "don't") says how
they are written, and an empty node (1.1) is no word. The text is put together again from how they are written and
SpaceAfter=No, so that a model reads it as its author wrote it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from probe.edges.mentions import Mention, Mentions
from probe.lines import read_text

COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
WORD, RANGE, EMPTY = re.compile(r"[1-9]\d*"), re.compile(r"([1-9]\d*)-([1-9]\d*)"), re.compile(r"\d+\.[1-9]\d*")
NEW_DOCUMENT = re.compile(r"#\s*newdoc\b(\s+id)?(\s*=\s*(?P<name>.*))?")
TOGETHER = 20  # sentences that count as one document, where a file names none

Line = tuple[int, str]  # its number, from 1


@dataclass
class Sentence:
    """N words; the annotation of each, "" or 0 where there is none."""

    file: str
    line: int  # that it begins on
    document: str
    text: str
    words: list[str]
    places: list[tuple[int, int]]  # of each word in the text, its first character and the one after its last
    pos: list[str]
    heads: list[int]  # from 1; 0: none, the word is a root
    relations: list[str]
    mentions: list[Mention] = field(default_factory=list)
    constituents: list[tuple[int, int, str]] = field(default_factory=list)  # (first word, word after the last, label)


def read_conllu(path: Path) -> list[Sentence]:
    """Read a file. Errors: ValueError that names file and line."""
    sentences: list[Sentence] = []
    document, mentions, in_document = "", Mentions(str(path)), 0
    for block in split_blocks(read_text(path)):
        for number, line in block:
            if named := NEW_DOCUMENT.match(line):
                mentions.end_document()
                document, in_document = (named["name"] or "").strip() or f"{path.name}:{number}", 0
            mentions.read_comment(line)
        lines = [(number, line) for number, line in block if not line.startswith("#")]
        if lines:
            name = document or f"{path.name}:{in_document // TOGETHER}"
            sentences.append(read_sentence(path, name, lines, mentions))
            in_document += 1
    mentions.end_document()
    if not sentences:
        raise ValueError(f"{path} holds no sentence; CoNLL-U has a word in each line, in {len(COLUMNS)} columns")
    return sentences


def split_blocks(text: str) -> Iterator[list[Line]]:
    """Groups of lines between empty ones."""
    block: list[Line] = []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        line = line.rstrip("\r")
        if line.strip():
            block.append((number, line))
        elif block:
            yield block
            block = []


def read_sentence(path: Path, document: str, lines: list[Line], mentions: Mentions) -> Sentence:
    found = Sentence(str(path), lines[0][0], document, "", [], [], [], [], [])
    last_of_range = 0  # the words up to this one are written as a multiword token
    for number, line in lines:
        where = f"{path}, line {number}"
        columns = split_columns(line, where)
        misc = columns[9].split("|")
        if EMPTY.fullmatch(columns[0]):
            mentions.read(misc, len(found.words), len(found.words), where)
            continue
        if bounds := RANGE.fullmatch(columns[0]):
            last_of_range = read_range(bounds, len(found.words), last_of_range, where)
            range_begin = write(found, columns[1], misc)
            continue
        read_word(found, columns, len(lines), where)
        if len(found.words) <= last_of_range:
            place_within(found, columns[1], range_begin)
        else:
            begin = write(found, columns[1], misc)
            found.places.append((begin, begin + len(columns[1])))
        mentions.read(misc, len(found.words) - 1, len(found.words), where)
    if len(found.words) < (most := max([last_of_range, *found.heads])):
        raise ValueError(f"{path}, line {found.line}: this sentence has {len(found.words)} words; a HEAD or a "
                         f"multiword token speaks of word {most}")  # fmt: skip
    found.text = found.text.rstrip(" ")
    found.mentions = mentions.end_sentence()
    return found


def read_range(bounds: re.Match[str], num_words: int, last_before: int, where: str) -> int:
    """The last word of a multiword token that stands behind `num_words`, of which another one reaches up to
    `last_before`. Errors: ValueError."""
    first, last = int(bounds[1]), int(bounds[2])
    if first != num_words + 1 or last <= first:
        raise ValueError(f"{where}: the multiword token {bounds[0]} must stand before the word {first}, and hold two "
                         "words or more")  # fmt: skip
    if first <= last_before:
        raise ValueError(f"{where}: the multiword token {bounds[0]} begins within another one, which ends at the word "
                         f"{last_before}; a word belongs to one multiword token: leave one of them out")  # fmt: skip
    return last


def split_columns(line: str, where: str) -> list[str]:
    columns = line.split("\t")
    if len(columns) != len(COLUMNS):
        raise ValueError(f"{where}: {len(columns)} columns; CoNLL-U has {len(COLUMNS)}, parted by tabs: "
                         f"{' '.join(COLUMNS)}")  # fmt: skip
    if not any(kind.fullmatch(columns[0]) for kind in (WORD, RANGE, EMPTY)):
        raise ValueError(f"{where}: the ID is {columns[0]!r}; allowed are 1 (a word), 1-2 (a multiword token), 1.1 (an "
                         "empty node)")  # fmt: skip
    return columns


def read_word(found: Sentence, columns: list[str], most: int, where: str) -> None:
    name, form, head = columns[0], columns[1], columns[6]
    if int(name) != len(found.words) + 1:
        raise ValueError(f"{where}: the word {len(found.words) + 1} is expected, and {name} stands here; words are "
                         "numbered from 1 in each sentence, and an empty line stands between sentences")  # fmt: skip
    if not form.strip():
        raise ValueError(f"{where}: the word {name} has no FORM")
    if head != "_" and not (head.isdecimal() and int(head) <= most and head != name):
        raise ValueError(f"{where}: the HEAD is {head!r}; it is the number of another word of the sentence, 0 for the "
                         "root, or _")  # fmt: skip
    found.words.append(form)
    found.pos.append("" if columns[3] == "_" else columns[3])
    found.heads.append(int(head) if head != "_" else 0)
    found.relations.append("" if head == "_" or columns[7] == "_" else columns[7])


def write(found: Sentence, form: str, misc: list[str]) -> int:
    """Put what is written at the end of the text. Return where it begins."""
    begin = len(found.text)
    found.text += form + ("" if "SpaceAfter=No" in misc else " ")
    return begin


def place_within(found: Sentence, form: str, range_begin: int) -> None:
    """Where a word stands within its multiword token: behind the word before it, or, if it is not written so, such as
    the two words of French "au", all of the token."""
    end = len(found.text.rstrip(" "))
    behind = max(range_begin, found.places[-1][1]) if found.places else range_begin
    begin = found.text.find(form, behind if behind < end else range_begin, end)
    found.places.append((range_begin, end) if begin < 0 else (begin, begin + len(form)))
