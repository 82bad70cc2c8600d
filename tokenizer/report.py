"""How good is this vocabulary?  Held-out text written in it, beside the same text in another one."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from corpus.text.words import Words
from tokenizer.load import tokenizer_hash

HEADINGS = ("vocabulary", "size", "tokens a word", "characters a token", "unknown tokens", "unknown characters")
_AT_ONCE = 512  # paragraphs


@dataclass(frozen=True)
class Measure:
    """One vocabulary on one text. A word is what stands between blanks; [UNK] counts as a token."""

    label: str
    tokenizer_hash: str
    size: int  # tokens in the vocabulary
    num_words: int
    num_characters: int  # blanks included
    num_tokens: int
    num_unknown: int
    num_letters: int  # characters but blanks
    num_unknown_letters: int

    def figures(self) -> dict[str, float]:
        """Return what readers compare: two ratios and a share. Empty when there was no text."""
        if not self.num_words or not self.num_tokens:
            return {}
        return {
            "tokens_a_word": self.num_tokens / self.num_words,
            "characters_a_token": self.num_characters / self.num_tokens,
            "unknown_rate": self.num_unknown / self.num_tokens,
            "unknown_letters_rate": self.num_unknown_letters / max(1, self.num_letters),
        }

    def row(self) -> tuple[str, ...]:
        """Return the cells under HEADINGS."""
        figures = self.figures()
        if not figures:
            return (self.label, f"{self.size:,}", *["–"] * (len(HEADINGS) - 2))
        return (
            self.label,
            f"{self.size:,}",
            f"{figures['tokens_a_word']:.3f}",
            f"{figures['characters_a_token']:.3f}",
            f"{figures['unknown_rate']:.4%}",
            f"{figures['unknown_letters_rate']:.4%}",
        )


@dataclass(frozen=True)
class Report:
    """What is known of a learned tokenizer: report.json, report.md and the table on the terminal."""

    name: str
    measures: tuple[Measure, ...]  # this vocabulary, then the one it is compared with
    notes: tuple[str, ...]  # what a reader of the figures must know
    facts: dict[str, Any]  # what it was learned from, where and how fast
    stamp: dict[str, Any]  # what decides the result: the same stamp, the same tokenizer

    def json(self) -> str:
        """Return report.json."""
        measures = [{**asdict(one), **one.figures()} for one in self.measures]
        whole = {**self.facts, "measures": measures, "notes": self.notes, "stamp": self.stamp}
        return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"

    def markdown(self) -> str:
        """Return report.md."""
        rows = [HEADINGS, ("---", *["---:"] * (len(HEADINGS) - 1)), *(one.row() for one in self.measures)]
        lines = [f"# Tokenizer {self.name}", "", *(f"| {' | '.join(row)} |" for row in rows), ""]
        lines += [f"- {note}" for note in self.notes]
        lines += [f"- {name}: {_shown(value)}" for name, value in self.facts.items()]
        return "\n".join(lines) + "\n"

    def table(self) -> Table:
        """Return the comparison for the terminal."""
        shown = Table()
        for heading in HEADINGS:
            shown.add_column(heading, justify="left" if heading == HEADINGS[0] else "right", overflow="fold")
        for one in self.measures:
            shown.add_row(*one.row())
        return shown


def measure(label: str, tokenizer: PreTrainedTokenizerFast, paragraphs: Sequence[str]) -> Measure:
    """Write `paragraphs` in the tokenizer's vocabulary, without special tokens or truncation, and count."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    words, num_tokens, letters = Words(backend), 0, np.zeros(3, np.int64)
    for some in _batches(paragraphs):
        ids, _, found = words.encode(some)
        num_tokens += len(ids)
        letters += found
    num_words = sum(len(paragraph.split()) for paragraph in paragraphs)
    num_characters = sum(map(len, paragraphs))
    about = (label, tokenizer_hash(tokenizer), len(tokenizer))
    num_unknown, num_letters, num_unknown_letters = letters.tolist()
    return Measure(*about, num_words, num_characters, num_tokens, num_unknown, num_letters, num_unknown_letters)


def _batches(paragraphs: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(paragraphs), _AT_ONCE):
        yield list(paragraphs[start : start + _AT_ONCE])


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
