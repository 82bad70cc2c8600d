"""Are the vectors of like words alike?  Word similarity against people's judgement, and analogies.

Similarity: Spearman's rank correlation of cosines with scores that people gave, on pairs that are in the vocabulary,
and their share, the coverage. Beside it what is reached by comparing the words' letters alone (`spelling`), and by how
near their ranks are in the vocabulary (`frequency`: words that are about as common are held to be alike). A model that
reads texts gets each word alone; what its last layer says of it is the score, and every layer is told. Analogies
(Mikolov et al. 2013, arXiv 1301.3781): a is to b as c is to which word? The word nearest to b - a + c, all of length 1,
other than these three (3CosAdd). Both as gensim's `evaluate_word_pairs` and `evaluate_word_analogies` do it.
"""

import csv
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_letters

import torch
from scipy.stats import spearmanr
from torch.nn.functional import normalize

from engine.run.recipe import check_least, data_path
from probe.lines import read_lines
from probe.probe import Found, Probe, label_of
from probe.readers import look_up
from probe.vectors import open_words

AT_ONCE = 256  # analogies
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


@dataclass(frozen=True, kw_only=True)
class FileProbe(Probe):
    """Questions that stand in one file."""

    path: str

    @property
    def task(self) -> str:
        return f"{self.name}/{label_of(self.path)}"

    @property
    def files(self) -> tuple[str, ...]:
        return (self.path,)


@dataclass(frozen=True, kw_only=True)
class Similarity(FileProbe):
    """Pairs of words with a score, one in each line, parted by tabs, semicolons, commas or blanks: WS-353, SimLex, MEN.
    A first line may name the columns, such as word1, word2 and score."""

    def ask(self, model: str, untrained: bool, seed: int) -> Found:
        pairs = read_pairs(data_path(self.path))
        words = dict.fromkeys(word for one, other, _ in pairs for word in (one, other))
        known = look_up(model, list(words), untrained, seed)
        rows = [(known.rows[one], known.rows[other], score)
                for one, other, score in pairs if one in known.rows and other in known.rows]  # fmt: skip
        scores = [score for *_, score in rows]
        check_scores(scores, f"{self.path}: {len(rows)} of {len(pairs)} pairs are in the vocabulary of {model}")
        first, second, _ = zip(*rows, strict=True)
        layers = [spearman(cosines_of(layer[list(first)], layer[list(second)]), scores) for layer in known.layers]
        found = {
            "spearmanr": layers[-1], "coverage": len(rows) / len(pairs),
            "spelling": spearman([same_letters(one, other) for one, other, _ in pairs], [pair[2] for pair in pairs]),
            "frequency": spearman([same_rank(known.ranks[one], known.ranks[other]) for one, other, _ in rows], scores),
        }  # fmt: skip
        by_layer = {"spearmanr": layers} if len(layers) > 1 else {}
        blind = {"all": {"spearmanr": 0.0}}
        return Found(
            {"all": found},
            blind,
            "spearmanr",
            {"all": len(pairs)},
            layers=by_layer,
            shortcuts=("spelling", "frequency"),
        )


@dataclass(frozen=True, kw_only=True)
class Analogies(FileProbe):
    """Lines of four words, in sections that begin with a line `: NAME`: questions-words.txt. The accuracy of each
    section has its name; a section `accuracy`, or one that ends in `coverage`, is told as `accuracy (section)`."""

    restrict_vocab: int = 30_000  # only the commonest words are asked and answered; 0: all

    def __post_init__(self) -> None:
        check_least(self, 0, "restrict_vocab")

    def ask(self, model: str, untrained: bool, seed: int) -> Found:
        table, sections = open_words(model, untrained, seed), read_analogies(data_path(self.path))
        rows = table.folded(self.restrict_vocab)
        unit = normalize(table.vectors[: self.restrict_vocab or None], dim=1)
        asked = {name: [[rows[word] for word in four] for four in fours if all(word in rows for word in four)]
                 for name, fours in sections.items()}  # fmt: skip
        number = sum(map(len, sections.values()))
        if not any(asked.values()):
            raise ValueError(
                f"{self.path}: none of its {number} analogies can be asked, for none has all its four words among the "
                f"{len(rows):,} commonest words of {model} (restrict_vocab: {self.restrict_vocab}; 0 takes all words)"
            )
        right = {name: count_right(unit, numbers) for name, numbers in asked.items()}
        found, blind = {}, {}
        for title, names in {"": list(sections), **{name: [name] for name in sections}}.items():
            questions = [four for name in names for four in sections[name]]
            covered = sum(len(asked[name]) for name in names)
            commonest = max(Counter(four[3] for four in questions).values())
            score, share = (name_score(title), f"{name_score(title)}_coverage") if title else ("accuracy", "coverage")
            found[score] = sum(right[name] for name in names) / max(1, covered)
            found[share] = covered / len(questions)
            blind[score] = commonest / len(questions)
        return Found({"all": found}, {"all": blind}, "accuracy", {"all": number})


def name_score(section: str) -> str:
    """What the accuracy of a section is called: no two scores, of sections or of all, have the same name."""
    is_taken = section == "accuracy" or section.endswith(("coverage", "(section)"))
    return f"{section} (section)" if is_taken else section


def check_scores(scores: Sequence[float], what: str) -> None:
    """Errors: ValueError where the scores of `what` cannot be ranked."""
    if len(scores) < 2:
        raise ValueError(f"{what}; two are the fewest that can be ranked")
    if len(set(scores)) < 2:
        raise ValueError(
            f"{what}, and all have the score {scores[0]:g}; two different ones are the fewest that can be ranked"
        )


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's rank correlation; 0 where one side has a single value, and so no ranks."""
    found = float(spearmanr(one, other).statistic) if len(set(one)) > 1 and len(set(other)) > 1 else 0.0
    return found


def cosines_of(first: torch.Tensor, second: torch.Tensor) -> list[float]:
    """The cosine of each of N vectors (N, D) with its partner (N, D), rounded: of a vector with itself it is just 1."""
    cosines = (normalize(first.double(), dim=1) * normalize(second.double(), dim=1)).sum(1)
    return [float(value) for value in cosines.round(decimals=12)]


def same_letters(one: str, other: str) -> float:
    """How alike two words are spelt: the share of their pairs of letters that both have (Jaccard)."""
    first, second = ({padded[place : place + 2] for place in range(len(padded) - 1)}
                     for padded in (f" {one.upper()} ", f" {other.upper()} "))  # fmt: skip
    return len(first & second) / len(first | second)


def same_rank(one: int, other: int) -> float:
    """How alike two words are in being common or rare: 0 at best."""
    return -abs(math.log(one) - math.log(other))


def count_right(unit: torch.Tensor, numbers: list[list[int]]) -> int:
    """How many analogies (a, b, c, d), as rows of `unit` (V, D), end in the row nearest to b - a + c."""
    right = 0
    for some in torch.tensor(numbers, dtype=torch.int64).reshape(-1, 4).split(AT_ONCE):
        a, b, c, d = some.unbind(1)
        near = (unit[b] - unit[a] + unit[c]) @ unit.T
        near.scatter_(1, some[:, :3], -torch.inf)
        right += int((near.argmax(1) == d).sum())
    return right


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


def read_analogies(path: Path) -> dict[str, list[list[str]]]:
    """Analogies in capitals, by section. Errors: ValueError that names file and line."""
    sections: dict[str, list[list[str]]] = {}
    name = label_of(str(path))
    for number, line in read_lines(path):
        words = line.upper().split()
        if words[0].startswith(":"):
            name = line.strip()[1:].strip() or name
        elif len(words) == 4:
            sections.setdefault(name, []).append(words)
        else:
            raise ValueError(f"{path}, line {number}: four words are expected, or a section (: NAME); found "
                             f"{line[:60]!r}")  # fmt: skip
    if not sections:
        raise ValueError(f"{path} holds no analogies, four words in each line")
    return sections
