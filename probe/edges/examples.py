"""What is asked of a span, or of two?  Five tasks of edge probing, and what is reached without any encoder.

As Tenney et al. 2019 (arXiv 1905.06316) have them, but for this: parts of speech are the universal ones (17); entities
are all mentions that GUM marks, pronouns and nested ones too; coreference has the single label "coreferent", so its F1
is that of finding the coreferent pairs, where the paper also counts the pairs that are rightly said not to be.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from probe.edges.conllu import Sentence

Span = tuple[int, int]  # the first word, and the one after the last
Labels = frozenset[str]


@dataclass(frozen=True)
class Example:
    spans: tuple[Span, ...]  # one, or two
    labels: Labels


def list_pos(sentence: Sentence) -> list[Example]:
    """Each word: its part of speech."""
    return [Example(((word, word + 1),), frozenset([tag])) for word, tag in enumerate(sentence.pos) if tag]


def list_dependencies(sentence: Sentence) -> list[Example]:
    """Each word and its head: their relation. The head of a root is itself."""
    heads = [head - 1 if head else word for word, head in enumerate(sentence.heads)]
    return [
        Example(((word, word + 1), (head, head + 1)), frozenset([relation]))
        for word, (head, relation) in enumerate(zip(heads, sentence.relations, strict=True))
        if relation
    ]


def list_constituents(sentence: Sentence) -> list[Example]:
    """Each phrase: its kind. Phrases of the same words are one example with several labels."""
    return merge((span, label) for *span, label in sentence.constituents)


def list_entities(sentence: Sentence) -> list[Example]:
    """Each mention: the type of its entity."""
    return merge(((one.begin, one.end), one.kind) for one in sentence.mentions if one.kind)


def list_coreference(sentence: Sentence) -> list[Example]:
    """Each pair of mentions of a sentence: whether they speak of the same entity. All pairs that do not are negative
    examples, as in the paper."""
    return [
        Example(
            ((one.begin, one.end), (other.begin, other.end)), frozenset(["coreferent"] * (one.entity == other.entity))
        )
        for one, other in combinations(sentence.mentions, 2)
    ]


def merge(found: Iterable[tuple[Sequence[int], str]]) -> list[Example]:
    labels: dict[Span, set[str]] = {}
    for (begin, end), label in found:
        labels.setdefault((begin, end), set()).add(label)
    return [Example((span,), frozenset(names)) for span, names in labels.items()]


TASKS: dict[str, Callable[[Sentence], list[Example]]] = {
    "pos": list_pos,
    "dependencies": list_dependencies,
    "constituents": list_constituents,
    "entities": list_entities,
    "coreference": list_coreference,
}


@dataclass(frozen=True)
class Asked:
    """The examples of some sentences, each with the words of its spans."""

    sentences: list[Sentence]
    examples: list[list[Example]]  # of each sentence

    @staticmethod
    def of(task: str, sentences: list[Sentence]) -> "Asked":
        return Asked(sentences, list(map(TASKS[task], sentences)))

    @property
    def labels(self) -> list[Labels]:
        return [one.labels for of_sentence in self.examples for one in of_sentence]

    def words(self) -> list[tuple[str, ...]]:
        """Of each example, what its spans say, in small letters."""
        return [
            tuple(" ".join(sentence.words[begin:end]).lower() for begin, end in one.spans)
            for sentence, of_sentence in zip(self.sentences, self.examples, strict=True)
            for one in of_sentence
        ]


# What is reached without an encoder


def f1(hits: float, false: float, missed: float) -> float:
    """Micro-F1 of counts over all labels."""
    return 2 * hits / max(1, 2 * hits + false + missed)


def score(answers: Iterable[Labels], right: Iterable[Labels]) -> float:
    pairs = list(zip(answers, right, strict=True))
    hits = sum(len(answer & labels) for answer, labels in pairs)
    return f1(hits, sum(len(answer) for answer, _ in pairs) - hits, sum(len(labels) for _, labels in pairs) - hits)


def guess_blindly(train: Asked) -> Labels:
    """The labels that score best on the training examples when they are given to every one of them."""
    counts = Counter(label for labels in train.labels for label in labels).most_common()
    every = len(train.labels)
    totals = np.cumsum([count for _, count in counts])
    scores = [f1(hits, every * (number + 1) - hits, totals[-1] - hits) for number, hits in enumerate(totals)]
    return frozenset(label for label, _ in counts[: int(np.argmax(scores)) + 1])


def guess_by_words(train: Asked, dev: Asked) -> list[Labels]:
    """The commonest labels of training examples with the same words; else of those whose first span says the same, of
    those that end in the same words, and a blind guess. Two spans that say the same are looked up as such."""
    by_key: dict[tuple[str, ...], Counter[Labels]] = {}
    for words, labels in zip(train.words(), train.labels, strict=True):
        for key in keys_of(words):
            by_key.setdefault(key, Counter())[labels] += 1
    best = {key: counts.most_common(1)[0][0] for key, counts in by_key.items()}
    blind = guess_blindly(train)
    return [next((best[key] for key in keys_of(words) if key in best), blind) for words in dev.words()]


def keys_of(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """What an example is looked up by, the closest first."""
    ends = tuple(text.rsplit(" ", 1)[-1] for text in words)
    same = [("same",)] if len(set(words)) < len(words) else []
    return [*same, ("all", *words), ("first", words[0]), ("ends", *ends), ("end", ends[0])]


def control_labels(train: Asked, asked: Asked, seed: int) -> list[Labels]:
    """The labels of the control task (Hewitt and Liang 2019, arXiv 1909.03368): random ones for each word type, the
    last word of the first span, drawn from the labels of the training examples. They can only be learnt by heart."""
    counts = sorted(Counter(train.labels).items(), key=lambda pair: (-pair[1], sorted(pair[0])))
    shares = np.cumsum([count for _, count in counts]) / len(train.labels)
    ends = [words[0].rsplit(" ", 1)[-1] for words in asked.words()]
    drawn = {end: draw(f"{seed} {end}") for end in set(ends)}
    return [counts[int(np.searchsorted(shares, drawn[end], side="right"))][0] for end in ends]


def draw(text: str) -> float:
    """A number from 0 to below 1 that belongs to a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
