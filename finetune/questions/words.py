"""At which token does a word begin, and which tag do the logits there give it?  Alignment of words and tokens."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import BatchEncoding, PreTrainedTokenizerFast

from finetune.questions.encoding import NO_LABEL, Predictions, softmax


def add_context(
    batch: BatchEncoding,
    firsts: list[npt.NDArray[np.int64]],
    part: dict[str, list[Any]],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
) -> list[npt.NDArray[np.int64]]:
    """Put as much context on both sides of each sentence in `batch` as there is room for, evenly if there is enough.

    Return where the words' first tokens are then.
    """
    sides = [
        tokenizer([" ".join(words) for words in part[name]], add_special_tokens=False, verbose=False)["input_ids"]
        for name in ("left", "right")
    ]
    moved = []
    for row, (left, right) in enumerate(zip(*sides, strict=True)):
        ids = batch["input_ids"][row]
        ordinary = np.flatnonzero(np.array((batch.encodings or [])[row].special_tokens_mask) == 0)
        begin, end = (int(ordinary[0]), int(ordinary[-1]) + 1) if len(ordinary) else (1, 1)
        room = max_length - len(ids)
        num_left = min(len(left), max(room // 2, room - len(right)))
        num_right = min(len(right), room - num_left)
        left = left[len(left) - num_left :]
        batch["input_ids"][row] = [*ids[:begin], *left, *ids[begin:end], *right[:num_right], *ids[end:]]
        if "token_type_ids" in batch:
            batch["token_type_ids"][row] = [0] * len(batch["input_ids"][row])
        moved.append(np.where(firsts[row] >= 0, firsts[row] + num_left, -1))
    return moved


def find_first_tokens(words: list[str], offsets: list[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """For each word the position of its first token, −1 for a word without one.  (num_words,)

    `offsets` are the tokens' places in `" ".join(words)`, (0, 0) for special tokens.
    """
    lengths = np.array([len(word) for word in words], np.int64)
    ends = np.cumsum(lengths + 1) - 1
    places = np.array(offsets, np.int64).reshape(-1, 2)
    tokens = np.flatnonzero(places[:, 1] > places[:, 0])
    if not len(tokens):
        return np.full(len(words), -1)
    nearest = np.searchsorted(places[tokens, 1], ends - lengths, side="right")  # the first that ends after the start
    token = tokens[np.minimum(nearest, len(tokens) - 1)]
    return np.where((nearest < len(tokens)) & (places[token, 0] < ends), token, -1)


def place_at_first_tokens(tags: Sequence[int], first: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """The tags where the first tokens of their words are, −100 elsewhere.  (T,)"""
    labels = np.full(length, NO_LABEL)
    labels[first[first >= 0]] = np.asarray(tags)[first >= 0]
    return labels


def choose_tags(outputs: Sequence[npt.NDArray[Any]], firsts: list[npt.NDArray[np.int64]], outside: int) -> Predictions:
    """Each word's tag, from the logits of all tokens.

    A word without a token has no probability and the tag `outside`: that of no entity, or −1, which is no tag. So it is
    a miss.
    """
    tags, probabilities = [], []
    for logits, first in zip(outputs, firsts, strict=True):
        own = np.where((first >= 0)[:, None], softmax(logits[first]), 0.0)  # (num_words, K)
        tags.append(np.where(first >= 0, own.argmax(-1), outside))
        probabilities.append(own)
    return Predictions(tags, probabilities)
