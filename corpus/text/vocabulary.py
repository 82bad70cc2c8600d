"""Which ids mean what?  A vocabulary's special ids, and which tokens continue a word, read off a tokenizer once."""

import json
import unicodedata
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

Bools = npt.NDArray[np.bool_]
Marks = Literal["##", "Ġ", "▁", ""]  # WordPiece: a word continues; byte-level BPE and Unigram: a word begins; none
BYTES = {letter: byte for byte, letter in bytes_to_unicode().items()}
NO_BYTES = {letter for letter, byte in BYTES.items() if byte in (0xC0, 0xC1) or byte > 0xF4}  # that UTF-8 never has


@dataclass(frozen=True)
class Vocabulary:
    """Its size V, the ids of its special tokens, and all ids that are ordinary ones: that a text can become.

    A special token that is not there raises ValueError.
    """

    size: int  # the largest id + 1: there may be ids without a token
    special: dict[str, int]  # of pad, cls, sep, mask, eos: those there are
    ordinary: npt.NDArray[np.int64]
    continues: Bools = field(default_factory=lambda: np.zeros(0, bool))  # (V,) may continue a word, such as ##ing
    open: Bools = field(default_factory=lambda: np.zeros(0, bool))  # (V,) a word may continue after it

    @staticmethod
    def of(tokenizer: PreTrainedTokenizerFast) -> "Vocabulary":
        named = {name: getattr(tokenizer, f"{name}_token_id") for name in ("pad", "cls", "sep", "mask", "eos")}
        special = {name: number for name, number in named.items() if number is not None}
        tokens, size, marks = tokenizer.get_vocab(), num_ids(tokenizer), marks_of(tokenizer)
        continues, is_open = np.zeros(size, bool), np.zeros(size, bool)
        apart = set(tokenizer.all_special_ids)
        possible = {token: number for token, number in tokens.items() if number not in apart}
        possible = without_dead(possible, tokenizer, marks)
        for token, number in possible.items():
            continues[number], is_open[number] = in_a_word(token, marks)
        return Vocabulary(size, special, np.array(sorted(possible.values()), np.int64), continues, is_open)

    def require(self, names: tuple[str, ...]) -> None:
        """Errors: ValueError that names the special tokens which are missing."""
        if missing := [name for name in names if name not in self.special]:
            there = ", ".join(self.special) or "none"
            raise ValueError(
                f"the tokenizer has no {', '.join(missing)} token (it has {there}), which this objective needs: a "
                "masked language model a WordPiece tokenizer, a causal one byte-level BPE (recipes/tokenizer/)"
            )

    @property
    def pad(self) -> int:
        return self._id("pad")

    @property
    def cls(self) -> int:
        return self._id("cls")

    @property
    def sep(self) -> int:
        return self._id("sep")

    @property
    def mask(self) -> int:
        return self._id("mask")

    @property
    def eos(self) -> int:
        return self._id("eos")

    def _id(self, name: str) -> int:
        self.require((name,))
        return self.special[name]


def num_ids(tokenizer: PreTrainedTokenizerFast) -> int:
    """The largest id that a text can become, plus one: so many embeddings does a model need. An id may have no token,
    so the tokens may be fewer, and what frames a text may have an id of its own."""
    framed = tokenizer("", ""), tokenizer("")
    return 1 + max(*tokenizer.get_vocab().values(), *(number for one in framed for number in one["input_ids"]))


def marks_of(tokenizer: PreTrainedTokenizerFast) -> Marks:
    """How the tokenizer marks in its tokens where a word begins or continues."""
    made: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    if made["model"]["type"] == "WordPiece":
        return "##" if made["model"]["continuing_subword_prefix"] == "##" else ""
    if '"ByteLevel"' in json.dumps([made["pre_tokenizer"], made["decoder"]]):
        return "Ġ"
    return "▁" if any(token.startswith("▁") for token in tokenizer.get_vocab()) else ""


def without_dead(tokens: dict[str, int], tokenizer: PreTrainedTokenizerFast, marks: Marks) -> dict[str, int]:
    """Those of the tokens that a text can become, as far as the marks tell: [unused1] or ##字 never stand in one."""
    if marks == "Ġ":
        return {token: number for token, number in tokens.items() if not NO_BYTES & set(token)}
    if marks != "##":
        return tokens
    normalizer, cutter = tokenizer.backend_tokenizer.normalizer, tokenizer.backend_tokenizer.pre_tokenizer

    def is_word(text: str) -> bool:
        plain = normalizer.normalize_str(text) if normalizer else text
        return [piece for piece, _ in cutter.pre_tokenize_str(plain)] == [text] if cutter else plain == text

    return {
        token: number
        for token, number in tokens.items()
        if is_word("a" + token[2:] if token.startswith("##") and len(token) > 2 else token)
    }


def in_a_word(token: str, marks: Marks) -> tuple[bool, bool]:
    """Whether a token may continue a word, and whether a word may continue after it, by the tokenizer's own marks.

    Where marks say only that a word begins, behind a blank, punctuation stands by itself, as it does in WordPiece.
    """
    if marks == "##":
        return token.startswith("##") and len(token) > 2, True
    if not marks:
        return False, False
    text = token
    if marks == "Ġ":
        text = bytes(BYTES.get(letter, 0x20) for letter in token).decode(errors="replace")  # "�", a part of a letter
    begins = token.startswith(marks) or text[:1].isspace()
    text = text.strip().lstrip("▁")
    goes_on = bool(text) and not begins and is_letter(text[0])
    return goes_on, is_letter(text[-1]) if text else token.endswith(marks)  # the mark alone: its word comes next


def is_letter(character: str) -> bool:
    return character.isalnum() or character == "�" or unicodedata.category(character).startswith("M")
