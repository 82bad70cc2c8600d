"""Which words are nearest to this one?  Nearest neighbours by cosine, as a page."""

from dataclasses import dataclass

from engine.run.recipe import check_least
from networks.word_vectors import nearest
from probe.probe import Found, Probe
from probe.vectors import open_words

WORDS = ("france", "king", "river", "guitar", "three", "good", "doctor", "bank")


@dataclass(frozen=True, kw_only=True)
class Neighbours(Probe):
    """The neighbours of some words, with their cosines. There is no score, so it stands in no table."""

    words: tuple[str, ...] = WORDS  # whose neighbours are told
    number: int = 10  # neighbours of each

    def __post_init__(self) -> None:
        check_least(self, 1, "number")

    @property
    def task(self) -> str:
        return "neighbours"

    def ask(self, model: str, untrained: bool, seed: int) -> Found:
        table = open_words(model, untrained, seed)
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
            lines += ["", f"Not in its vocabulary of {len(table.words):,} words: {', '.join(unknown)}."]
        return Found(page="\n".join(lines) + "\n")
