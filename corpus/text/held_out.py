"""Which text is held out from training?  Documents by a draw of their ids, or the end of each where there are too few.

The draw is the id's alone, so a document keeps its side as the corpus grows. Where chance leaves fewer than two
documents on one side, the two with the lowest draws are held out, or the two with the highest trained on. Of fewer than
four documents, the end of each is held out. So every corpus with text has both, and sentence pairs find a second
document.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from corpus.text.document import Document, Tally, draw
from corpus.text.encoding import pieces
from corpus.text.readers import cleaned

Split = Literal["train", "held_out"]
FEWEST = 2  # documents on each side: a random next sentence is from another document


@dataclass(frozen=True)
class Division:
    """How documents are divided: those with a draw below `share` are held out; or, of each, that share at its end."""

    share: float
    ends: bool = False

    def parts(self, document: Document) -> Iterator[tuple[Split, Document]]:
        """The document on its side, or its beginning and its end."""
        if not self.ends:
            yield "held_out" if draw(document.id) < self.share else "train", document
            return
        beginning, end = parted(document, self.share)
        yield "train", beginning
        if end.paragraphs:
            yield "held_out", end


def division(documents: Iterable[Document], share: float) -> Division:
    """How these documents are divided. They are read until both sides have enough, of most corpora a few hundred."""
    lowest: list[float] = []
    highest: list[float] = []
    number = 0
    if not 0 < share < 1:  # nothing, or all, as was asked
        return Division(share)
    for number, document in enumerate(documents, 1):
        place = draw(document.id)
        lowest = sorted([*lowest, place])[:FEWEST]
        highest = sorted([*highest, place])[-FEWEST:]
        if number >= 2 * FEWEST and lowest[-1] < share <= highest[0]:
            return Division(share)
    if number == 0:
        return Division(share)
    if number < 2 * FEWEST or lowest[-1] >= highest[0]:
        return Division(share, ends=True)
    return Division(math.nextafter(lowest[-1], 1) if lowest[-1] >= share else highest[0])


def parted(document: Document, share: float) -> tuple[Document, Document]:
    """A document's beginning and its end: about `share` of it, two sentences or more on both sides if it has four."""
    text = units(document)
    total, before = sum(map(len, text)), 0
    place = 0
    while place < len(text) and before + len(text[place]) <= (1 - share) * total:
        before += len(text[place])
        place += 1
    least = min(2, len(text) // 2)
    place = min(max(place, least, 1), len(text) - least)
    return joined(document, text[:place], ""), joined(document, text[place:], "#end")


def units(document: Document) -> list[str]:
    """What a document is parted into: sentences, of text that stays whole lines; words or letters if there is one."""
    text = "\n".join(document.paragraphs)
    whole = document.form == "whole"
    yet_smaller = (
        text.splitlines(keepends=True) if whole else pieces(document),
        re.findall(r"\s*\S+\s*\Z|\s*\S+", text),
        list(text),
    )
    visible = map(with_blanks_joined, yet_smaller)
    return next((found for found in visible if len(found) > 1), [text])


def with_blanks_joined(found: list[str]) -> list[str]:
    """The pieces, each with some text: blanks go to the piece behind them, and at the end to the one before."""
    text, waiting = [], ""
    for piece in found:
        waiting += piece
        if waiting.strip():
            text.append(waiting)
            waiting = ""
    return [*text[:-1], text[-1] + waiting] if text else []


def joined(document: Document, text: list[str], mark: str) -> Document:
    whole = "".join(text)
    paragraphs = (whole,) if document.form == "whole" else tuple(whole.split("\n"))
    return cleaned(replace(document, id=document.id + mark, paragraphs=paragraphs), Tally())
