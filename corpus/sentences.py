"""Where does a sentence end?  nupunkt's Punkt model (Kiss & Strunk 2006), a paragraph at a time."""

from functools import cache
from itertools import pairwise

import nupunkt


def sentences(paragraph: str) -> list[str]:
    """The sentences of one paragraph; joined they are the paragraph, character for character.

    The blank between two sentences begins the second one, as byte-level BPE wants it; WordPiece does not see it.
    """
    ends = [end for _, end in model().span_tokenize(paragraph)]
    ends[-1:] = [len(paragraph)]
    return [paragraph[start:end] for start, end in pairwise([0, *ends]) if end > start]


@cache
def model() -> nupunkt.PunktSentenceTokenizer:
    return nupunkt.load("default")
