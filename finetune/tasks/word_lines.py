"""Which sentences does a file with a word a line hold?  The CoNLL formats, for every task and for prediction.

    # document 1       before a sentence: a comment, passed over and counted
    Ann    B-PER       columns are parted by tabs where the line has one, else by blanks; no other space parts them
    sees   O
                       an empty line ends a sentence, and so does a line that begins with -DOCSTART-

Where the first column numbers the words, they stand in the second. CoNLL-U is known by that and its ten columns: a
range (1-2), which repeats words that stand apart below it, and an empty word (1.1), which does not stand in the text,
are passed over and counted.

A line that begins with # is a word in the middle of a sentence. Before one it is a word, such as a hashtag, where it
has as many columns as the words have and ends in a tag, one of entities or one that other words have.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

Line = tuple[int, list[str]]  # its number, from 1, and its columns

LINE_END = re.compile(r"\r*\n|\r")
ENTITY_TAG = re.compile(r"O|[BIESLU]-.+")
CONLL_U_COLUMNS = 10
WORD_ID = re.compile(r"\d+([-.]\d+)?")
DOCUMENT = "-DOCSTART-"


@dataclass(frozen=True)
class Sentence:
    """The lines of a sentence, one or more, and the number of its document."""

    document: int
    lines: list[Line]


@dataclass(frozen=True)
class Sentences:
    """What a file holds: its sentences, the column of their words, and, in words, what of it was passed over."""

    found: list[Sentence]
    words: int
    left_out: str


def read_sentences(text: str) -> Sentences:
    lines = [(number, split_columns(line)) for number, line in enumerate(LINE_END.split(text), 1)]
    words = [fields for _, fields in lines if fields and not fields[0].startswith(("#", DOCUMENT))]
    with_ids = sum(len(fields) > 1 and bool(WORD_ID.fullmatch(fields[0])) for fields in words)
    numbered = with_ids > 0.9 * len(words)  # a broken line changes nothing
    conll_u = numbered and len(words[0]) == CONLL_U_COLUMNS
    num_columns = Counter(map(len, words)).most_common(1)[0][0] if words and not conll_u else 0
    last_columns = {fields[-1] for fields in words}
    left_out: Counter[str] = Counter()
    found: list[Sentence] = []
    sentence: list[Line] = []
    document = 0
    for number, fields in [*lines, (len(lines) + 1, [])]:
        if not fields or fields[0].startswith(DOCUMENT):
            if sentence:
                found.append(Sentence(document, sentence))
            sentence = []
            document += bool(fields)
        elif not sentence and fields[0].startswith("#") and not is_word(fields, num_columns, last_columns):
            left_out["comment lines"] += 1
        elif conll_u and "-" in fields[0]:
            left_out["ranges of words (1-2)"] += 1
        elif conll_u and "." in fields[0]:
            left_out["empty words (1.1)"] += 1
        else:
            sentence.append((number, fields))
    parts = [f"{count:,} {what}" for what, count in left_out.items()]
    return Sentences(found, 1 if numbered else 0, f"{', '.join(parts)} passed over" if parts else "")


def split_columns(line: str) -> list[str]:
    line = line.rstrip(" \t\r")
    return line.split("\t") if "\t" in line else [field for field in line.split(" ") if field]


def is_word(fields: Sequence[str], num_columns: int, last_columns: set[str]) -> bool:
    """Whether a line before a sentence that begins with # is its first word."""
    if len(fields) != num_columns:
        return False
    return num_columns == 1 or fields[-1] in last_columns or bool(ENTITY_TAG.fullmatch(fields[-1]))


def find_ragged_line(sentence: Sentence) -> tuple[int, str]:
    """The first line with another number of columns than the sentence's first, and what is wrong; (0, "") for none."""
    expected = len(sentence.lines[0][1])
    for number, fields in sentence.lines:
        if len(fields) != expected:
            return number, (
                f"{len(fields)} columns; the lines before have {expected} (a comment begins with # and stands before "
                "a sentence, after an empty line)"
            )
    return 0, ""
