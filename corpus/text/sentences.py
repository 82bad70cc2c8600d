"""Where does a sentence end?  nupunkt's Punkt model (Kiss & Strunk 2006) for `.`, `!` and `?`, Unicode for other marks.

Punkt knows where a blank and a capital follow, as in English. The marks of other scripts, such as 。 ؟ । ։ ።, are those
that Unicode calls sentence terminals (UAX #29), and need no blank. What no mark ends, as in Thai, is one long sentence.
"""

from functools import cache
from importlib.metadata import version
from itertools import pairwise

import nupunkt
import regex

SPLITTER = f"nupunkt {version('nupunkt')}, and the marks of Unicode"  # another one, other sentences

MARK = r"[[\p{Sentence_Break=STerm}--[!?၊]]．﹒]"  # ၊ is Burmese's comma
CLOSING = r"[\p{Close_Punctuation}\p{Final_Punctuation}\"'\uFE0F]"
LETTER = r"\p{Other_Letter}"  # of a script without capitals
OPENS = rf"[{LETTER}\p{{Open_Punctuation}}\p{{Initial_Punctuation}}]"
IDEOGRAM = r"[\p{Han}\p{Hiragana}\p{Katakana}]"  # Thai's abbreviations have points between their letters
END = regex.compile(
    rf"""(?:
      (?: {MARK} (?<! \d[．﹒]) (?! (?<=\d։)\d ) [{MARK}.!?…⋯]*+
        | (?<={LETTER}) [!?…⋯]++ (?={CLOSING}*{OPENS})
        | (?<={IDEOGRAM}) \.++ (?={CLOSING}*{OPENS})
      )
      {CLOSING}*+
      (?! [、，,;；:：] | (?<={CLOSING}) と )  # the sentence continues, as after a quotation in Japanese
    | [.!?…] [“«] (?=\s+[\p{{Uppercase_Letter}}„»])  # German's closing quotes
    )""",
    regex.VERBOSE | regex.V1,
)


def sentences(paragraph: str) -> list[str]:
    """The sentences of one paragraph; joined they are the paragraph, character for character.

    The blank between two sentences begins the second one, as byte-level BPE wants it; WordPiece does not see it.
    """
    ends = [end for _, end in model().span_tokenize(paragraph)][:-1]
    if not paragraph.isascii():
        length = len(paragraph.rstrip())
        ends = sorted({*ends, *(found.end() for found in END.finditer(paragraph) if found.end() < length)})
    return [paragraph[start:end] for start, end in pairwise([0, *ends, len(paragraph)]) if end > start]


@cache
def model() -> nupunkt.PunktSentenceTokenizer:
    return nupunkt.load("default")
