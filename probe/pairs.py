"""Which pairs of words does a file hold, and which score has each?  WS-353, SimLex, MEN, tables of pandas and R.

One mark parts the fields of all lines. The names in a first line say which columns the words and the score are; without
them the columns' own fields do. What they leave open is refused, and so is a line that differs from the others.
"""

import csv
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from string import ascii_letters

from probe.lines import read_lines

WORD_NAMES = (("word1", "word2"), ("worda", "wordb"), ("firstword", "secondword"))
SCORE_NAMES = {  # both in small letters and digits only: "Human (mean)" is humanmean
    "score", "meanscore", "averagescore", "humanscore", "goldscore", "mean", "average", "avg", "human", "humanmean",
    "gold", "rating", "meanrating", "averagerating", "humanrating", "similarity", "meansimilarity", "relatedness",
    "meanrelatedness", "simlex999",
}  # fmt: skip
MARKS = {"\t": "tabs", ";": "semicolons", ",": "commas", " ": "blanks"}  # what parts the fields of a line
QUOTED = re.compile(r'^\s*"(.*)"\s*$')
BETWEEN_BLANKS = re.compile(r'"[^"]*"(?!\S)|\S+')
NAME = re.compile(r"[\W_]*[^\W\d_].*[^\W\d_]")  # begins with a letter, and has a second one
MISSING = {"na", "n/a", "nan", "null", "none", "inf", "infinity"}


def read_pairs(path: Path) -> list[tuple[str, str, float]]:
    """Pairs of words, each with its score. The first line is a heading if a name stands in it where the others have the
    score. Errors: ValueError that names file and line."""
    lines = list(read_lines(path))
    rows = read_rows(path, lines)
    places = find_columns(list(zip(*rows, strict=True))) if rows else ()
    pairs = []
    for row, (number, line) in zip(rows, lines, strict=True):
        if not places:
            why = "and which columns these are cannot be told: keep these three, parted by tabs, semicolons or commas"
            raise wrong_line(path, number, line, f"{why}, or name them in a first line: word1, word2, score")
        one, other, said = (row[place] for place in places)
        if row is rows[0] and is_name(said):
            continue
        score = to_score(said)
        if score is None or not is_word(one) or not is_word(other):
            wrong = f"{said!r} is no number" if score is None else f"{other if is_word(one) else one!r} is no word"
            told = ", ".join(str(place + 1) for place in places)
            raise wrong_line(path, number, line, f"in the columns {told} as in the other lines, but {wrong}")
        pairs.append((one, other, score))
    if not pairs:
        raise ValueError(f"{path} holds no pairs of words with a score, one in each line")
    return pairs


def wrong_line(path: Path, number: int, line: str, why: str) -> ValueError:
    return ValueError(f"{path}, line {number}: two words and a number are expected, {why}; found {line[:60]!r}")


def read_rows(path: Path, lines: Sequence[tuple[int, str]]) -> list[list[str]]:
    """The fields of each line, in every line as many. One mark parts those of all lines: tabs, semicolons or commas, if
    three fields are in half of the lines, and else blanks. Only with tabs may the last fields be missing. Errors:
    ValueError."""
    mark = next((mark for mark in MARKS if 2 * sum(len(cut(line, mark)) > 2 for _, line in lines) >= len(lines)), " ")
    rows = complete_heading([cut(line, mark) for _, line in lines])
    counts = Counter(map(len, rows))
    usual = max(counts, key=lambda width: (counts[width], width), default=0)
    for row, (number, line) in zip(rows, lines, strict=True):
        if mark != "\t" and len(row) != usual:
            why = f"in {usual} fields parted by {MARKS[mark]} as in the other lines; what has such inside needs quotes"
            raise wrong_line(path, number, line, why)
    return [row + [""] * (max(counts) - len(row)) for row in rows]


def cut(line: str, mark: str) -> list[str]:
    """The fields of a line, without the quotes around them."""
    if mark in ";,":
        return [field.strip() for field in next(csv.reader([line], delimiter=mark, skipinitialspace=True))]
    fields = line.split(mark) if mark == "\t" else BETWEEN_BLANKS.findall(line)
    return [QUOTED.sub(r"\1", field).strip() for field in fields]


def complete_heading(rows: list[list[str]]) -> list[list[str]]:
    """R numbers the rows, and has no name for that column: give it an empty one."""
    if len(rows) < 2 or len(rows[0]) < 3 or any(map(is_number, rows[0])):
        return rows
    is_numbered = all(len(row) == len(rows[0]) + 1 and row[0].isdecimal() for row in rows[1:])
    return [["", *rows[0]], *rows[1:]] if is_numbered else rows


def find_columns(columns: Sequence[tuple[str, ...]]) -> tuple[int, ...]:
    """Where the two words and the score stand; () where it cannot be told.

    Names in the first line that say it choose. Else the words are the first two columns that hold not just numbers or
    single letters (an index, a part of speech), and the score is the first behind them that holds numbers in half of
    the lines, under a name if one there has a name; no other text may stand between them, for a phrase of blanks looks
    like that.
    """
    names = ["".join(filter(str.isalnum, column[0].lower())) for column in columns]
    numeric = [place for place, column in enumerate(columns) if 2 * sum(map(is_number, column)) >= len(column)]
    words = next(([names.index(name) for name in pair] for pair in WORD_NAMES if {*pair} <= {*names}), [])
    scores = [place for place, name in enumerate(names) if name in SCORE_NAMES and (words or place in numeric)]
    asides = {place for place, column in enumerate(columns) if is_aside(column[1:] or column)}
    if is_guess := not words:
        words = [place for place in range(len(columns)) if place not in asides and place not in scores][:2]
    if not scores:
        behind = [place for place in numeric if place > max(words)] if words else []
        scores = [place for place in behind if is_name(columns[place][0])][:1] or behind[:1]
    if len(words) != 2 or len(scores) != 1:
        return ()
    between = {*range(words[0], scores[0])} - {*words}
    return (*words, scores[0]) if not is_guess or between <= asides else ()


def is_aside(column: Sequence[str]) -> bool:
    """Whether a column holds just numbers, or just single letters."""
    return all(map(is_number, column)) or all(len(field) == 1 and field in ascii_letters for field in column)


def is_word(field: str) -> bool:
    return any(map(str.isalnum, field))


def is_number(field: str) -> bool:
    return to_score(field) is not None


def is_name(field: str) -> bool:
    """Whether a field is the name of a column, rather than a number that is missing or written in another way."""
    return NAME.match(field) is not None and field.strip("+-").lower() not in MISSING


def to_score(text: str) -> float | None:
    """The number that a field holds, with a point or, as tables of some countries, a comma; None for none."""
    try:
        found = float(text.replace(",", "."))
    except ValueError:
        return None
    return found if math.isfinite(found) and "_" not in text else None
