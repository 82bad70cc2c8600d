"""Which vector does a word have where it stands?  Occurrences: a word in a sentence, such as `the *bank* of the river`.

Word vectors have one for all its occurrences; a model that reads the text around has another for each.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from networks.states import StateReader, take_mean

MARKED = re.compile(r"\*(\S|\S[^*]*\S)\*")
LECTURE = "Open a *bank* account on the river *bank*."
BANK = {  # the same number of sentences in each sense; the word stands early and late in both
    "money": (
        "The *bank* lent them the money for a new house.",
        "She keeps her savings in a *bank* in the city.",
        "Every *bank* raised its interest rates last year.",
        "He paid the cheque into his *bank* account.",
        "The robbers fled from the *bank* with two bags of cash.",
        "My father worked as a clerk in a *bank*.",
        "The *bank* was founded by a family of rich merchants.",
        "Ask the manager of the *bank* for a loan.",
        "In the crisis the government had to save the *bank*.",
        "A *bank* must tell its customers what a credit costs.",
    ),
    "river": (
        "The *bank* was covered with reeds and wet grass.",
        "They sat on the *bank* of the stream and fished.",
        "The boat was pulled up on the muddy *bank*.",
        "Willows grow along the southern *bank* of the river.",
        "The flood washed away a part of the *bank*.",
        "We swam across and climbed the steep *bank*.",
        "The *bank* rises ten feet above the water.",
        "An old mill stands on the left *bank* of the Thames.",
        "The path follows the *bank* down to the sea.",
        "A *bank* of sand and stones slows the current.",
    ),
}


@dataclass(frozen=True)
class Occurrence:
    """A word of a text: text[start:end]."""

    text: str
    start: int
    end: int

    @property
    def word(self) -> str:
        return self.text[self.start : self.end]


def read_marked(text: str) -> list[Occurrence]:
    """The words that stand between asterisks, and the text without these; nothing where none is marked."""
    plain, spans, done = "", list[tuple[int, int]](), 0
    for found in MARKED.finditer(text):
        plain += text[done : found.start()] + found[1]
        spans.append((len(plain) - len(found[1]), len(plain)))
        done = found.end()
    plain += text[done:]
    return [Occurrence(plain, start, end) for start, end in spans]


def read_occurrences(reader: StateReader, occurrences: Sequence[Occurrence]) -> tuple[list[Tensor], list[bool]]:
    """Of each layer the vectors (N, D), the mean of a word's pieces, of the N occurrences that the model knows, and
    which are. One that has an unknown piece, or stands behind what the model reads at once, is not."""
    texts, unknown = list(dict.fromkeys(one.text for one in occurrences)), reader.tokenizer.unk_token_id
    in_text: dict[str, list[int]] = {}
    for number, one in enumerate(occurrences):
        in_text.setdefault(one.text, []).append(number)
    vectors: dict[int, list[Tensor]] = {}
    for text, encoded, states in reader.read(texts):
        for number in in_text[texts[text]]:
            places = encoded.places(occurrences[number].start, occurrences[number].end)
            if places and unknown not in [encoded.ids[place] for place in places]:
                vectors[number] = take_mean(states, places)
    known = [vectors[number] for number in sorted(vectors)]
    layers = [torch.stack(layer) for layer in zip(*known, strict=True)]
    return layers, [number in vectors for number in range(len(occurrences))]


def read_words(reader: StateReader, words: Sequence[str]) -> tuple[list[Tensor], list[bool]]:
    """The same of words that stand alone, with nothing around them but what frames each text."""
    return read_occurrences(reader, [Occurrence(word, 0, len(word)) for word in words])


def cosines(one: Tensor, other: Tensor) -> Tensor:
    """Of vectors (N, D) and (M, D), the cosine of each with each (N, M)."""
    first, second = (torch.nn.functional.normalize(side.double(), dim=1) for side in (one, other))
    return first @ second.T
