"""What is a document?  Paragraphs under a name, and a tally of everything that did not become one."""

from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

OnError = Literal["raise", "skip"]
Tally = Counter[str]  # what was left out → how often
Form = Literal["sentences", "lines", "whole"]


@dataclass(frozen=True)
class Document:
    """Paragraphs that belong together, in order; joined by newlines they are the document's text.

    `id` is unique in its source and the same on every reading: "wikipedia:12", "books:emma.txt".
    """

    id: str
    paragraphs: tuple[str, ...]
    form: Form = "sentences"  # its paragraphs are cut into sentences; or each is one sentence; or nothing is cut


def draw(document_id: str) -> float:
    """A number in [0, 1) that depends on the id alone: below the held-out rate, the document is kept from training."""
    return int.from_bytes(sha256(document_id.encode()).digest()[:6]) / 2**48


def refuse(what: str, reason: str, on_error: OnError, tally: Tally) -> None:
    """Bad input met: raise `ValueError(what)`, or, where skipping was asked for, count it under `reason`."""
    if on_error == "raise":
        raise ValueError(f"{what} (to leave such input out and count it: on_error: skip)")
    tally[reason] += 1
