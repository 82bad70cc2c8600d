"""How good is this vocabulary?  Held-out text written in it, beside the same text in another one."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from transformers import PreTrainedTokenizerFast

HEADINGS = ("vocabulary", "size", "tokens a word", "characters a token", "unknown tokens")
_AT_ONCE = 512  # paragraphs


@dataclass(frozen=True)
class Measure:
    """One vocabulary on one text. A word is what stands between blanks; [UNK] counts as a token."""

    label: str
    size: int  # tokens in the vocabulary
    num_words: int
    num_characters: int  # blanks included
    num_tokens: int
    num_unknown: int

    def figures(self) -> dict[str, float]:
        """Return what readers compare: two ratios and a share. Empty when there was no text."""
        if not self.num_words or not self.num_tokens:
            return {}
        return {
            "tokens_a_word": self.num_tokens / self.num_words,
            "characters_a_token": self.num_characters / self.num_tokens,
            "unknown_rate": self.num_unknown / self.num_tokens,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return counts and figures for report.json."""
        return {**asdict(self), **self.figures()}

    def row(self) -> tuple[str, ...]:
        """Return the cells under HEADINGS."""
        figures = self.figures()
        if not figures:
            return (self.label, f"{self.size:,}", "–", "–", "–")
        return (
            self.label,
            f"{self.size:,}",
            f"{figures['tokens_a_word']:.3f}",
            f"{figures['characters_a_token']:.3f}",
            f"{figures['unknown_rate']:.4%}",
        )


def measure(label: str, tokenizer: PreTrainedTokenizerFast, paragraphs: Sequence[str]) -> Measure:
    """Write `paragraphs` in the tokenizer's vocabulary, without special tokens or truncation, and count."""
    num_tokens = num_unknown = 0
    for some in _batches(paragraphs):
        for ids in tokenizer(some, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]:
            num_tokens += len(ids)
            num_unknown += ids.count(tokenizer.unk_token_id)
    num_words = sum(len(paragraph.split()) for paragraph in paragraphs)
    return Measure(label, len(tokenizer), num_words, sum(map(len, paragraphs)), num_tokens, num_unknown)


def table(title: str, measures: Sequence[Measure]) -> Table:
    """Return the comparison for the terminal."""
    shown = Table(title=title)
    for heading in HEADINGS:
        shown.add_column(heading, justify="left" if heading == HEADINGS[0] else "right")
    for one in measures:
        shown.add_row(*one.row())
    return shown


def markdown(title: str, measures: Sequence[Measure], notes: Sequence[str], facts: dict[str, str]) -> str:
    """Return report.md: the comparison, what to know about it, and where it comes from."""
    rows = [HEADINGS, ("---", "---:", "---:", "---:", "---:"), *(one.row() for one in measures)]
    lines = [f"# {title}", "", *(f"| {' | '.join(row)} |" for row in rows), ""]
    lines += [*(f"- {note}" for note in notes), ""] if notes else []
    lines += [f"{name}: {value}  " for name, value in facts.items()]
    return "\n".join(lines) + "\n"


def _batches(paragraphs: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(paragraphs), _AT_ONCE):
        yield list(paragraphs[start : start + _AT_ONCE])
