"""What does a line of JSON hold?  An object, or the reason why it cannot be read, in words."""

import json
from collections import Counter
from typing import Any


def json_object(line: str) -> dict[str, Any]:
    """The object of a line of JSON Lines. Errors: ValueError, without the place, for anything else, however damaged."""
    if line.lstrip().startswith("["):
        raise ValueError(
            "a JSON array, not an object {...}: JSON Lines has one object a line, as  jq -c '.[]' FILE  writes it"
        )
    found = json_value(line)
    if not isinstance(found, dict):
        raise ValueError("JSON, but not an object {...}")
    return found


def json_value(text: str) -> Any:
    """What a text says in JSON. Errors: ValueError, without the place."""
    try:
        return json.loads(text, object_pairs_hook=without_doubles)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except Doubled:
        raise
    except RecursionError:
        raise ValueError("not JSON that can be read: lists or objects are nested too deeply") from None
    except ValueError:  # Python reads no whole number of more than 4,300 digits
        raise ValueError("not JSON that can be read: a whole number has thousands of digits") from None


class Doubled(ValueError):
    """An object that gives one key twice."""


def without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):  # JSON does not say which of the two is meant
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise Doubled(f"the key {name!r} is given twice")
    return made
