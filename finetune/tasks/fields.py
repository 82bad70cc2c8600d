"""What does a field of a row hold: nothing, a text, several?  One rule, for what is trained on and what is predicted.

A number is read as its text: 5 is "5". What is written as text stays text: "NA", "null" and "nan" are words. None, an
empty text, an empty list and NaN, which is how tables write what is missing, are empty fields.
"""

import json
import math
import re
from decimal import Decimal
from typing import Any

BLANKS = re.compile(r"[ \t\r\n]+")  # no others part words: 10 000 may hold a no-break space


def is_empty(value: Any) -> bool:
    """Whether a field holds nothing."""
    return value is None or (isinstance(value, str | list) and not value) or is_nan(value)


def label_of(value: Any) -> str:
    """A label as a text: also true and false are labels. Errors: ValueError for a list or an object."""
    return str(value) if isinstance(value, bool) else text_of(value)


def is_nan(value: Any) -> bool:
    """Whether a number is "not a number", as pandas writes a missing field."""
    return isinstance(value, float | Decimal) and math.isnan(value)


def text_of(value: Any) -> str:
    """A text, a number as its text, or the bytes of a text. Errors: ValueError for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return decoded(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float | Decimal) and math.isfinite(value):
        return str(value)
    raise ValueError(f"found {shown(value)}; expected a text")


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8: bytes that are not, and halves of characters, are lone surrogates."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def decoded(value: bytes) -> str:
    """UTF-8. Errors: ValueError for other bytes."""
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"the bytes are not UTF-8 at byte {error.start}") from None


def texts_of(value: Any) -> list[str]:
    """A list of texts, as it is or as JSON writes it. Errors: ValueError for anything else."""
    found = json_list(value) if isinstance(value, str) else value
    if not isinstance(found, list):
        raise ValueError(f'found {shown(value)}; expected a list of texts, such as ["a", "b"]')
    return [text_of(item) for item in found]


def words_of(value: Any) -> list[str]:
    """A list of words, or a text whose words blanks part."""
    return parted(value) if isinstance(value, str) and json_list(value) is None else texts_of(value)


def choices_of(value: Any) -> list[str]:
    """What is offered: the texts of a list but the empty ones at its end, by which tables fill up their shorter rows.

    Errors: ValueError for an empty one before another, and for fewer than two.
    """
    listed = json_list(value) if isinstance(value, str) else value
    if not isinstance(listed, list):
        return texts_of(value)
    blank = [is_empty(item) or (isinstance(item, str) and not item.strip()) for item in listed]
    number = max((place for place, is_blank in enumerate(blank, 1) if not is_blank), default=0)
    if number < 2:
        raise ValueError(f"{number} choices; there must be two or more")
    if any(blank[:number]):
        raise ValueError(f"choice {blank.index(True)} is empty, and another one follows it")
    return texts_of(listed[:number])


def parted(text: str) -> list[str]:
    """The words that blanks part."""
    return [word for word in BLANKS.split(text) if word]


def json_list(text: str) -> list[str] | None:
    """A list of texts as JSON writes it, else None: `[ 1 ]` may as well be three words, but `["1"]` is a list."""
    try:
        found = json.loads(text) if text.startswith("[") else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) and all(isinstance(item, str) for item in found) else None


def shown(value: Any) -> str:
    """A value in a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]} …"
