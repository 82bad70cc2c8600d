"""Which name was meant?  The nearest of those that there are."""

import difflib
from collections.abc import Iterable


def suggest(name: object, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: "; did you mean 'NEAREST'?", or nothing where none is near."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
