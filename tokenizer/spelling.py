"""How is each token spelt?  Its bytes, and whether it begins a word: what a network that reads characters is given."""

from typing import Literal

from transformers import PreTrainedTokenizerFast

from corpus.text.vocabulary import BYTES, Marks, in_a_word, marks_of

How = Literal["begins", "goes on", "frames"]
FRAMES = ("cls", "sep", "bos", "eos")  # special tokens that stand around texts


def spell(tokenizer: PreTrainedTokenizerFast) -> dict[int, tuple[How, bytes]]:
    """Of each id with a token: whether it begins a word, goes on one, or frames texts; and its bytes (UTF-8), without
    the marks by which the tokenizer tells a word's beginning."""
    frames = set(list_frames(tokenizer))
    special, marks = set(tokenizer.all_special_ids), marks_of(tokenizer)
    found: dict[int, tuple[How, bytes]] = {}
    for token, number in tokenizer.get_vocab().items():
        if number in special:
            found[number] = ("frames" if number in frames else "begins", token.encode())
        else:
            goes_on, _ = in_a_word(token, marks)
            found[number] = ("goes on" if goes_on else "begins", bytes_of(token, marks, goes_on))
    return found


def list_frames(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The ids of the tokens that stand around texts."""
    return sorted({getattr(tokenizer, f"{name}_token_id") for name in FRAMES} - {None})


def bytes_of(token: str, marks: Marks, goes_on: bool) -> bytes:
    """The bytes of an ordinary token; a blank before it, or a mark for one, is left out."""
    if marks == "Ġ":
        return bytes(BYTES.get(letter, 0x20) for letter in token).removeprefix(b" ")
    return token.removeprefix(marks if marks != "##" or goes_on else "").encode()
