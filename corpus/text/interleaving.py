"""In which order are the documents of several sources read?  Interleaved by weight, from any point of an epoch on.

The next document comes from the source of which the fewest characters have been read for its weight; where one source
ends the others continue, so an epoch has every document once. Each epoch reads the parts of a source (files, shards) in
an order of its own. Where the reading stands is a few numbers for each source, so it can be taken up anywhere: the
documents before are passed over, not decoded again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from corpus.text.document import Document, Tally
from corpus.text.readers import read
from corpus.text.source import Part, Source
from engine.train import draws

# Words of BERT's two corpora, in thousand millions (Devlin et al. 2019, section 3.1); other kinds of source weigh 1.
WEIGHTS = {"wikipedia": 2.5, "books": 0.8}


@dataclass
class Standing:
    """How far the reading of one source has come in an epoch."""

    part: int = 0  # in this epoch's order
    documents: int = 0  # of that part, already read
    characters: int = 0  # of the source


class Reading:
    """The documents of one epoch, once each, from `cursor` on ({} is the beginning).

    Errors, while reading: ValueError for bad input and for a source that has no document at all.
    """

    def __init__(self, sources: Sequence[list[Part]], seed: int, epoch: int, cursor: dict[str, Any]) -> None:
        self._orders = [
            [found[place] for place in draws.permutation(draws.stream("parts", seed, epoch, number), len(found))]
            for number, found in enumerate(sources)
        ]
        self._standings = [Standing(**standing) for standing in cursor.get("sources", [{} for _ in sources])]
        self._tallies = [Tally() for _ in sources]
        self._told = Tally()

    def cursor(self) -> dict[str, Any]:
        """Where the reading stands, as plain JSON."""
        return {"sources": [asdict(standing) for standing in self._standings]}

    def left_out(self) -> Tally:
        """What was left out, by reason, since this was last asked."""
        total = sum(self._tallies, Tally())
        new, self._told = total - self._told, total
        return new

    def __iter__(self) -> Iterator[Document]:
        going = {number: self._documents(number) for number in range(len(self._orders))}
        while going:
            number = min(going, key=self._characters_for_weight)
            document = next(going[number], None)
            if document is None:
                del going[number]
            else:
                yield document

    def _characters_for_weight(self, number: int) -> float:
        return self._standings[number].characters / weight(self._orders[number][0].source)

    def _documents(self, number: int) -> Iterator[Document]:
        order, standing, tally = self._orders[number], self._standings[number], self._tallies[number]
        while standing.part < len(order):
            for document in read(order[standing.part], tally, standing.documents):
                standing.documents += 1
                standing.characters += num_characters(document)
                yield document
            standing.part, standing.documents = standing.part + 1, 0
        if standing.characters == 0:
            source = order[0].source
            left_out = ", ".join(f"{count} {reason}" for reason, count in tally.items()) or "nothing"
            raise ValueError(
                f"{source.path}: no document with text in this {source.kind} source (left out: {left_out})"
            )


def weight(source: Source) -> float:
    return WEIGHTS.get(source.kind, 1.0) if source.weight is None else source.weight


def num_characters(document: Document) -> int:
    return sum(map(len, document.paragraphs))
