"""What does a field of a row hold: nothing, a text, several?  One rule, for what is trained on and what is predicted.

A number is read as its text: 5 is "5". What is written as text stays text: "NA", "null" and "nan" are words. None, an
empty text, an empty list and NaN, which is how tables write what is missing, are empty fields.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

Fields = dict[str, Any]  # of a row, by column
T = TypeVar("T")

BLANKS = re.compile(r"[ \t\r\n]+")  # no others separate words: 10 000 may hold a no-break space
LARGEST = 1_000_000  # characters of a field that is learnt
LONGEST_SHOWN = 300  # characters


# What a value holds. Errors: ValueError, without the column


def is_empty(value: Any) -> bool:
    """Whether a field holds nothing. NaN is how pandas writes a missing field."""
    is_nan = isinstance(value, float | Decimal) and math.isnan(value)
    return value is None or (isinstance(value, str | list) and not value) or is_nan


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def to_label(value: Any) -> str:
    """A label as a text: also true and false are labels."""
    return str(value) if isinstance(value, bool) else to_text(value)


def to_text(value: Any) -> str:
    """A text, a number as its text, or the bytes of a text in UTF-8."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"the bytes are not UTF-8 at byte {error.start}") from None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float | Decimal) and math.isfinite(value):
        return str(value)
    raise ValueError(f"found {show_value(value)}; expected a text")


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8: bytes that are not, and halves of characters, are lone surrogates."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def to_texts(value: Any) -> list[str]:
    """A list of texts, as it is or as JSON writes it."""
    found = json_list(value) if isinstance(value, str) else value
    if not isinstance(found, list):
        raise ValueError(f'found {show_value(value)}; expected a list of texts, such as ["a", "b"]')
    return [to_text(item) for item in found]


def to_words(value: Any) -> list[str]:
    """A list of words, or a text whose words are separated by blanks."""
    if isinstance(value, str) and json_list(value) is None:
        return [word for word in BLANKS.split(value) if word]
    return to_texts(value)


def to_choices(value: Any) -> list[str]:
    """The texts of a list of two or more, but not the empty ones at its end, by which tables fill up shorter rows."""
    listed = json_list(value) if isinstance(value, str) else value
    if not isinstance(listed, list):
        return to_texts(value)
    blank = [is_empty(item) or (isinstance(item, str) and not item.strip()) for item in listed]
    number = max((place for place, is_blank in enumerate(blank, 1) if not is_blank), default=0)
    if number < 2:
        raise ValueError(f"{number} choices; there must be two or more")
    if any(blank[:number]):
        raise ValueError(f"choice {blank.index(True)} is empty, and another one follows it")
    return to_texts(listed[:number])


def json_list(text: str) -> list[str] | None:
    """A list of texts as JSON writes it, else None: `[ 1 ]` may as well be three words, but `["1"]` is a list."""
    try:
        found = json.loads(text) if text.startswith("[") else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) and all(isinstance(item, str) for item in found) else None


def clean_text(value: Any) -> str:
    """A text to train on, without NUL characters."""
    text = to_text(value).replace("\0", "")
    if len(text) > LARGEST:
        raise ValueError(f"a text of {len(text):,} characters; more than {LARGEST:,} are taken for a mistake")
    if not is_utf8(text):
        raise ValueError("the text is not UTF-8")
    if not text.strip():
        raise ValueError("the text is empty")
    return text


# A field of a row to predict. Errors: ValueError, with the column


def get_text(fields: Fields, column: str) -> str:
    return check_text(convert(to_text, get_field(fields, column), column), column)


def get_words(fields: Fields, column: str) -> list[str]:
    return [check_text(word, column) for word in convert(to_words, get_field(fields, column), column)]


def get_choices(fields: Fields, columns: Sequence[str]) -> list[str]:
    """Choices in one column, or in several, of which the last ones may be empty."""
    value = get_field(fields, columns[0]) if len(columns) == 1 else [fields.get(column) for column in columns]
    names = ",".join(columns)
    return [check_text(choice, names) for choice in convert(to_choices, value, names)]


def get_field(fields: Fields, column: str) -> Any:
    value = fields.get(column)
    if value is None:
        raise ValueError(f"no {column!r} here")
    if is_empty(value):
        raise ValueError(f"{column!r} is empty")
    return value


def convert(reader: Callable[[Any], T], value: Any, column: str) -> T:
    try:
        return reader(value)
    except ValueError as error:
        raise ValueError(f"{column!r}: {error}") from None


def check_text(text: str, column: str) -> str:
    """The text, if it holds more than NUL characters, without which models are trained, and is UTF-8."""
    if not text.replace("\0", "").strip():
        raise ValueError(f"{column!r} is empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{column!r} is not UTF-8 at character {error.start}") from None
    return text


# In messages and reports


def show_value(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]} …"


def join_words(value: str | list[str]) -> str:
    """A text as it is; words and choices joined by blanks."""
    return value if isinstance(value, str) else " ".join(value)


def shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + " …"
