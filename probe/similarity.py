"""Are the vectors of like words alike?  Word similarity against people's judgement, and analogies.

Similarity: Spearman's rank correlation of cosines with scores that people gave, on pairs that are in the vocabulary,
and their share, the coverage. Beside it what is reached by comparing the words' letters alone (`spelling`), and by how
near their ranks are in the vocabulary (`frequency`: words that are about as common are held to be alike). A model that
reads texts gets each word alone; what its last layer says of it is the score, and every layer is told. Analogies
(Mikolov et al. 2013, arXiv 1301.3781): a is to b as c is to which word? The word nearest to b - a + c, all of length 1,
other than these three (3CosAdd). Both as gensim's `evaluate_word_pairs` and `evaluate_word_analogies` do it.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.stats import spearmanr
from torch.nn.functional import normalize

from engine.run.recipe import check_least, data_path
from probe.lines import read_lines
from probe.pairs import read_pairs
from probe.probe import Found, Probe, label_of
from probe.readers import look_up
from probe.vectors import open_words

AT_ONCE = 256  # analogies


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
