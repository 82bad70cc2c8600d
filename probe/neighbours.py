"""Which words are nearest to this one?  Nearest neighbours by cosine, as a page.

Of a model that reads texts, among the commonest words of its vocabulary that are one token, each read alone; the vector
is what the last layer says of it.
"""

from dataclasses import dataclass

from corpus.text.vocabulary import Vocabulary
from engine.run.recipe import check_least
from networks.occurrences import read_words
from networks.word_vectors import nearest
from probe.probe import Found, Probe
from probe.readers import open_reader
from probe.vectors import WordTable, has_word_vectors, open_words

WORDS = ("france", "king", "river", "guitar", "three", "good", "doctor", "bank")


@dataclass(frozen=True, kw_only=True)
class Neighbours(Probe):
    """The neighbours of some words, with their cosines. There is no score, so it stands in no table."""

    words: tuple[str, ...] = WORDS  # whose neighbours are told
    number: int = 10  # neighbours of each
    most: int = 5000  # words of its vocabulary that a model reads which has no word vectors

    def __post_init__(self) -> None:
        check_least(self, 1, "number", "most")

    @property
    def task(self) -> str:
        return "neighbours"

    def ask(self, model: str, untrained: bool, seed: int) -> Found:
        static = has_word_vectors(model)
        table = open_words(model, untrained, seed) if static else self.read_table(model, untrained, seed)
        rows = table.folded()
        asked = [rows[word.upper()] for word in self.words if word.upper() in rows]
        lines = [f"# The nearest neighbours of {len(asked)} words", ""]
        if asked:
            cosines, found = nearest(table.vectors, table.vectors[asked], self.number + 1)
            for row, near, values in zip(asked, found.tolist(), cosines.tolist(), strict=True):
                others = [
                    (table.words[other], value) for other, value in zip(near, values, strict=True) if other != row
                ]
                told = ", ".join(f"{word} {value:.2f}" for word, value in others[: self.number])
                lines.append(f"- **{table.words[row]}**: {told}")
        if unknown := [word for word in self.words if word.upper() not in rows]:
            among = "in its vocabulary of" if static else "among the"
            lines += ["", f"Not {among} {len(table.words):,} words: {', '.join(unknown)}."]
        return Found(page="\n".join(lines) + "\n")

    def read_table(self, model: str, untrained: bool, seed: int) -> WordTable:
        """The commonest words of a vocabulary, and those that are asked, as the last layer has each alone."""
        reader = open_reader(model, untrained, seed)
        vocabulary = Vocabulary.of(reader.tokenizer)
        begins = [int(number) for number in vocabulary.ordinary if not vocabulary.continues[number]]
        found = [str(reader.tokenizer.decode([number])).strip() for number in begins]
        words = [word for word in found if len(word) > 1 and word.isalpha()]
        words = list(dict.fromkeys([*words[: self.most], *self.words]))
        layers, known = read_words(reader, words)
        return WordTable([word for word, is_known in zip(words, known, strict=True) if is_known], layers[-1])
