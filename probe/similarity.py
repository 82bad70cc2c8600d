"""Are the vectors of like words alike?  Word similarity against people's judgement, and analogies.

Similarity: Spearman's rank correlation of cosines with scores that people gave, on pairs that are in the vocabulary,
and their share, the coverage; `spelling` is what is reached by comparing the words' letters alone. Analogies (Mikolov
et al. 2013, arXiv 1301.3781): a is to b as c is to which word? The word nearest to b - a + c, all of length 1, other
than these three (3CosAdd). Both as gensim's `evaluate_word_pairs` and `evaluate_word_analogies` do it.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.stats import spearmanr
from torch.nn.functional import normalize

from engine.run.recipe import check_least, data_path
from probe.probe import Found, Probe, label_of
from probe.vectors import WordTable, open_words

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
    """Pairs of words with a score, one in each line, parted by tabs, commas or semicolons: WS-353, SimLex, MEN."""

    def ask(self, model: str, untrained: bool, seed: int) -> Found:
        table, pairs = open_words(model, untrained, seed), read_pairs(data_path(self.path))
        cosines, covered = cosines_of(table, pairs)
        if len(cosines) < 2:
            raise ValueError(f"{self.path}: {len(cosines)} of {len(pairs)} pairs are in the vocabulary of {model}; two "
                             "are the fewest that can be ranked")  # fmt: skip
        scores = [score for (*_, score), there in zip(pairs, covered, strict=True) if there]
        spelling = spearman([same_letters(one, other) for one, other, _ in pairs], [score for *_, score in pairs])
        found = {"spearmanr": spearman(cosines, scores), "coverage": len(cosines) / len(pairs), "spelling": spelling}
        return Found({"all": found}, {"all": {"spearmanr": 0.0}}, "spearmanr", {"all": len(pairs)})


@dataclass(frozen=True, kw_only=True)
class Analogies(FileProbe):
    """Lines of four words, in sections that begin with a line `: NAME`: questions-words.txt. The accuracy of each
    section has its name."""

    restrict_vocab: int = 30_000  # only the commonest words are asked and answered; 0: all

    def __post_init__(self) -> None:
        check_least(self, 0, "restrict_vocab")

    def ask(self, model: str, untrained: bool, seed: int) -> Found:
        table, sections = open_words(model, untrained, seed), read_analogies(data_path(self.path))
        rows = table.folded(self.restrict_vocab)
        unit = normalize(table.vectors[: self.restrict_vocab or None], dim=1)
        asked = {name: [[rows[word] for word in four] for four in fours if all(word in rows for word in four)]
                 for name, fours in sections.items()}  # fmt: skip
        right = {name: count_right(unit, numbers) for name, numbers in asked.items()}
        found, blind = {}, {}
        for title, names in {"": list(sections), **{name: [name] for name in sections}}.items():
            questions = [four for name in names for four in sections[name]]
            covered = sum(len(asked[name]) for name in names)
            found[title or "accuracy"] = sum(right[name] for name in names) / max(1, covered)
            found[f"{title}_coverage".lstrip("_")] = covered / len(questions)
            commonest = max(Counter(four[3] for four in questions).values())
            blind[title or "accuracy"] = commonest / len(questions)
        number = sum(map(len, sections.values()))
        return Found({"all": found}, {"all": blind}, "accuracy", {"all": number})


def spearman(one: list[float], other: list[float]) -> float:
    """Spearman's rank correlation; 0 where one side has a single value, and so no ranks."""
    found = float(spearmanr(one, other).statistic) if len(set(one)) > 1 and len(set(other)) > 1 else 0.0
    return found


def cosines_of(table: WordTable, pairs: list[tuple[str, str, float]]) -> tuple[list[float], list[bool]]:
    """The cosine of each pair that is in the table, and which are."""
    rows = table.folded()
    covered = [one in rows and other in rows for one, other, _ in pairs]
    numbers = [(rows[one], rows[other]) for (one, other, _), there in zip(pairs, covered, strict=True) if there]
    first, second = torch.tensor(numbers, dtype=torch.int64).reshape(-1, 2).unbind(1)
    unit = normalize(table.vectors.double(), dim=1)
    return (unit[first] * unit[second]).sum(1).tolist(), covered


def same_letters(one: str, other: str) -> float:
    """How alike two words are spelt: the share of their pairs of letters that both have (Jaccard)."""
    first, second = ({padded[place : place + 2] for place in range(len(padded) - 1)}
                     for padded in (f" {one} ", f" {other} "))  # fmt: skip
    return len(first & second) / len(first | second)


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
    """Pairs of words in capitals, each with its score. Errors: ValueError that names file and line."""
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        mark = next((mark for mark in "\t;," if mark in line), None)
        fields = [part.strip() for part in line.split(mark)]
        try:
            pairs.append((fields[0].upper(), fields[1].upper(), float(fields[2])))
        except (ValueError, IndexError):
            if number == 1:  # a heading
                continue
            raise ValueError(
                f"{path}, line {number}: two words and a number are expected, parted by tabs, semicolons or commas; "
                f"found {line[:60]!r}"
            ) from None
    if not pairs:
        raise ValueError(f"{path} holds no pairs of words with a score, one in each line")
    return pairs


def read_analogies(path: Path) -> dict[str, list[list[str]]]:
    """Analogies in capitals, by section. Errors: ValueError that names file and line."""
    sections: dict[str, list[list[str]]] = {}
    name = label_of(str(path))
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if line.startswith(":"):
            name = line[1:].strip()
        elif line.strip():
            words = line.upper().split()
            if len(words) != 4:
                raise ValueError(f"{path}, line {number}: four words are expected, or a section (: NAME); found "
                                 f"{line[:60]!r}")  # fmt: skip
            sections.setdefault(name, []).append(words)
    if not sections:
        raise ValueError(f"{path} holds no analogies, four words in each line")
    return sections
