"""Does a word have one vector, or one for each of its senses?  The nearest occurrences of a word, in context.

The lecture's sentence: "Open a bank account on the river bank." Word vectors have one vector for both; a model that
reads the text around has two (Peters et al. 2018, table 4). Where occurrences have senses, the score is how often the
nearest other one, by cosine, is of the same sense; equally near ones share it. Beside it: the same by the words that
two sentences have in common (`bag_of_words`).
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from corpus.text.sentences import sentences as cut
from engine.run.recipe import check_least, data_path
from networks.occurrences import BANK, LECTURE, Occurrence, cosines, read_marked, read_occurrences
from networks.states import NOTES
from probe.lines import read_text
from probe.maps import draw_maps
from probe.probe import Found, Probe, label_of
from probe.readers import open_reader
from probe.sentences import bag_of_words
from probe.texts import held_out_texts, named
from probe.vectors import is_file

AROUND = 45  # characters that are shown on each side
UNPARTED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")  # scripts without blanks between words
EDGES = (r"(?<!\w)", r"(?!\w)")  # of a word: no letter before it, and none behind
EQUAL = 1e-6  # cosines that differ less are the same


@dataclass(frozen=True, kw_only=True)
class Occurrences(Probe):
    """The occurrences nearest to each word that is marked, as `*bank*`, in some sentences."""

    sentences: tuple[str, ...] = (LECTURE,)  # in which the words that are asked are marked
    # Where others are looked for: a file of sentences, a line each, perhaps `SENSE<TAB>SENTENCE`, with the word marked
    # or not; KIND:PATH or a recipe of a corpus, for all sentences with the word; "": twenty sentences with `bank`
    source: str = ""
    number: int = 3  # neighbours that are told, of each layer
    most: int = 1000  # occurrences of each word that are read: of a corpus the first, else drawn at random

    def __post_init__(self) -> None:
        check_least(self, 1, "number", "most")
        for sentence in self.sentences:
            if not read_marked(sentence):
                raise ValueError(f"sentences has {sentence!r}, in which no word is marked: write *bank*")

    @property
    def task(self) -> str:
        return f"occurrences/{label_of(self.source) if self.source else 'bank'}"

    @property
    def files(self) -> tuple[str, ...]:
        return (self.source,) if self.source and is_file(self.source) else ()

    def ask(self, model: str, untrained: bool, seed: int) -> Found:
        asked = [one for sentence in self.sentences for one in read_marked(sentence)]
        every = self.look_for(asked)
        drawn = draw_of_each_word(every, self.most)
        others, senses = [one for one, _ in drawn], [sense for _, sense in drawn]
        reader = open_reader(model, untrained, seed)
        layers, known = read_occurrences(reader, [*asked, *others])
        if not all(known[: len(asked)]):
            raise ValueError(f"{model} does not know {asked[known.index(False)].word!r}, or it stands too far behind")
        there = [number for number, is_known in enumerate(known[len(asked) :]) if is_known]
        coverage = len(there) / len(others)
        others, senses = [others[number] for number in there], [senses[number] for number in there]
        notes = [NOTES[reader.context], tell_drawn(len(drawn), len(every), self.most)]
        page = "\n".join(tell(notes, layers, asked, others, senses, self.number)) + "\n"
        names = [f"{one.word} {number}" for number, one in enumerate(asked, start=1)] + [""] * len(others)
        groups = ["asked"] * len(asked) + [sense or one.word for one, sense in zip(others, senses, strict=True)]
        pictures = draw_maps(layers[-1], names, groups, seed, name_layers(layers)[-1])
        if len(set(senses)) < 2 or "" in senses:
            return Found(page=page, pictures=pictures)
        scores = [same_sense(cosines(layer, layer), senses) for layer in (layer[len(asked) :] for layer in layers)]
        shared = torch.tensor([[bag_of_words(one.text, other.text) for other in others] for one in others])
        found = {"accuracy": scores[-1], "coverage": coverage, "bag_of_words": same_sense(shared, senses)}
        blind = {"all": {"accuracy": same_sense(torch.zeros_like(shared), senses)}}
        by_layer = {"accuracy": scores} if len(scores) > 1 else {}
        return Found(
            {"all": found}, blind, "accuracy", {"all": len(others)}, page, pictures,
            layers=by_layer, shortcuts=("bag_of_words",),
        )  # fmt: skip

    def look_for(self, asked: Sequence[Occurrence]) -> list[tuple[Occurrence, str]]:
        """Other occurrences of the words asked, and the sense of each, "" where none is told. Errors: ValueError."""
        words, own = {one.word.lower() for one in asked}, {one.text for one in asked}
        if not self.source:
            found = [(one, sense) for sense, texts in BANK.items() for text in texts for one in read_marked(text)]
        elif is_file(self.source):
            found = list(self.in_lines(words))
        else:
            found = [(one, "") for one in self.in_texts(words)]
        found = [(one, sense) for one, sense in found if one.text not in own]
        if not found:
            marked = " or ".join(f"*{word}*" for word in sorted(words))
            raise ValueError(f"{self.source} holds no other sentence with {' or '.join(sorted(words))}; in a file of "
                             f"sentences, words of other forms are found where they are marked: {marked}")  # fmt: skip
        return found

    def in_lines(self, words: set[str]) -> Iterator[tuple[Occurrence, str]]:
        for line in read_text(data_path(self.source)).splitlines():
            sense, tab, text = line.rpartition("\t")
            for one in read_marked(text) or find_words(text, words):
                yield one, sense.strip() if tab else ""

    def in_texts(self, words: set[str]) -> Iterator[Occurrence]:
        """The first `most` of each word."""
        left = dict.fromkeys(words, self.most)
        sources, share = named(self.source, "source", "a file of sentences that is there, ")
        for source in sources:
            for text in held_out_texts(source, share):
                for paragraph in text.split("\n") if find_words(text, words) else ():
                    for sentence in map(str.strip, cut(paragraph)):
                        for one in find_words(sentence, words):
                            left[one.word.lower()] -= 1
                            if left[one.word.lower()] >= 0:
                                yield one
                if max(left.values()) <= 0:
                    return


def tell(
    notes: Sequence[str], layers: Sequence[Tensor], asked: Sequence[Occurrence], others: Sequence[Occurrence],
    senses: Sequence[str], number: int,
) -> Iterator[str]:  # fmt: skip
    """In Markdown: the cosines of the words that are asked, by layer, and the occurrences nearest to each."""
    yield from [f"# Occurrences of {', '.join(dict.fromkeys(one.word for one in asked))}", ""]
    for note in filter(None, notes):
        yield from [note, ""]
    names = name_layers(layers)
    pairs = [(one, other) for other in range(len(asked)) for one in range(other)]
    if pairs:
        yield from [f"| cosine | {' | '.join(names)} |", f"| --- |{' ---: |' * len(names)}"]
        for first, second in pairs:
            values = " | ".join(f"{float(cosines(layer[[first]], layer[[second]])):.3f}" for layer in layers)
            yield f"| {asked[first].word} {first + 1} and {asked[second].word} {second + 1} | {values} |"
        yield ""
    for place, one in enumerate(asked):
        yield from [f"## {one.word} {place + 1}: {show(one)}", ""]
        for name, layer in zip(names, layers, strict=True):
            near = cosines(layer[[place]], layer[len(asked) :])[0].topk(min(number, len(others)))
            yield from [f"**{name}**", ""]
            for value, row in zip(near.values.tolist(), near.indices.tolist(), strict=True):
                yield f"- {value:.3f}{f' ({senses[row]})' if senses[row] else ''} {show(others[row])}"
            yield ""


def tell_drawn(number: int, of: int, most: int) -> str:
    """That some occurrences were left out; "" where none was."""
    return f"{number:,} of {of:,} occurrences are read, drawn at random (most: {most:,})." if number < of else ""


def name_layers(layers: Sequence[Tensor]) -> list[str]:
    return ["embeddings", *(f"layer {number}" for number in range(1, len(layers)))] if len(layers) > 1 else ["vectors"]


def draw_of_each_word(found: Sequence[tuple[Occurrence, str]], most: int) -> list[tuple[Occurrence, str]]:
    """Of each word `most` of its occurrences with their senses, drawn at random and always the same ones; where there
    are no more, all."""
    places: dict[str, list[int]] = {}
    for number, (one, _) in enumerate(found):
        places.setdefault(one.word.lower(), []).append(number)
    orders = (np.random.default_rng(0).permutation(numbers) for numbers in places.values())
    return [found[number] for number in sorted(number for order in orders for number in order[:most])]


def find_words(text: str, words: set[str]) -> list[Occurrence]:
    """Every place of some words in a text, capitals and small letters being one. A word stands between what is no
    letter, but in scripts that part none; of two that fit the longer one counts."""
    patterns = []
    for word in sorted(words, key=lambda word: (-len(word), word)):
        before, behind = ("" if is_unparted(word[place]) else edge for place, edge in zip((0, -1), EDGES, strict=True))
        patterns.append(f"{before}{re.escape(word)}{behind}")
    return [Occurrence(text, one.start(), one.end()) for one in re.finditer("|".join(patterns), text, re.IGNORECASE)]


def is_unparted(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith(UNPARTED)


def same_sense(near: Tensor, senses: Sequence[str]) -> float:
    """How often the nearest other occurrence is of the same sense, by how near (N, N) each is to each."""
    alike = torch.tensor([[one == other for other in senses] for one in senses])
    near = near.double().clone().fill_diagonal_(-torch.inf)
    nearest = near >= near.amax(1, keepdim=True) - EQUAL
    return float(((nearest & alike).sum(1).double() / nearest.sum(1)).mean())


def show(one: Occurrence) -> str:
    """The word in bold with some text on both sides."""
    before, behind = one.text[: one.start], one.text[one.end :]
    first = f"…{before[-AROUND:]}" if len(before) > AROUND else before
    last = f"{behind[:AROUND]}…" if len(behind) > AROUND else behind
    return f"{plain(first)}**{plain(one.word)}**{plain(last)}"


def plain(text: str) -> str:
    """A text in which Markdown finds nothing."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", re.sub(r"\s+", " ", text))
