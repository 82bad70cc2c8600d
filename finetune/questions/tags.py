"""Which tag has each word of a sentence?  The first token of a word stands for it: Devlin et al. 2019, section 5.3."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, BatchEncoding, PreTrainedTokenizerFast

from engine.train.batch import Batch
from finetune.questions.encoding import (
    NO_LABEL,
    Columns,
    Encoded,
    Predictions,
    append,
    empty,
    parts,
    softmax,
    tokens_cut,
)
from finetune.questions.question import Head
from finetune.tasks.task import Task


class Tagging(Head):
    """One of K tags for each word, read at its first token; cross-entropy."""

    auto_class = AutoModelForTokenClassification

    def encode(self, task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoded:
        """Column "labels" (T,): the tag at the first token of each word, −100 elsewhere.

        Joined by blanks the words are one text; its tokens' places tell which token begins a word. Where rows have the
        words around them ("left", "right"), as many of those as fit are read along, and nothing is asked of them.
        """
        columns = empty(tokenizer)
        firsts: list[npt.NDArray[np.int64]] = []  # a row: (num_words,)
        cut: list[int] = []
        num_tokens = 0
        for part in parts(rows):
            words = part[task.columns[0]]
            texts = [" ".join(row) for row in words]
            batch = tokenizer(texts, truncation=True, max_length=max_length, return_offsets_mapping=True)
            cut += tokens_cut(batch, tokenizer, max_length, texts)
            num_tokens += sum(map(len, batch["input_ids"]))
            own = [first_tokens(*pair) for pair in zip(words, batch["offset_mapping"], strict=True)]
            if "left" in part:
                own = in_company(batch, own, part, tokenizer, max_length)
            append(columns, batch)
            firsts += own
        if "label" in rows.column_names:
            lengths = [len(ids) for ids in columns["input_ids"]]
            columns["labels"] = [at_first_tokens(*row) for row in zip(rows["label"], firsts, lengths, strict=True)]
        num_lost = sum(int((first < 0).sum()) for first in firsts)
        outside = task.labels.index("O") if "O" in task.labels else -1
        decode = partial(word_tags, firsts=firsts, outside=outside)
        return Encoded(columns, decode, cut, num_tokens + sum(cut), num_lost)

    def target(self, columns: Columns, index: Sequence[int], width: int) -> dict[str, Tensor]:
        tags = np.full((len(index), width), NO_LABEL)
        for row, example in enumerate(index):
            own = columns["labels"][example]
            tags[row, : len(own)] = own
        return {"tags": torch.from_numpy(tags)}  # (B, T)

    def counts(self, x: dict[str, Tensor], y: dict[str, Tensor]) -> dict[str, int]:
        return {"loss": int((y["tags"] != NO_LABEL).sum())}

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits = model(**batch.x).logits.float()  # (B, T, K)
        tags = batch.y["tags"].flatten()
        return {"loss": nn.functional.cross_entropy(logits.flatten(0, 1), tags, ignore_index=NO_LABEL, reduction="sum")}

    def read(self, model: nn.Module, batch: Batch) -> list[Any]:
        """The logits at each token (T, K), padding included: which tokens begin words is the encoding's knowledge."""
        return list(model(**batch.x).logits.float().cpu().numpy())


def in_company(
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


def first_tokens(words: list[str], offsets: list[tuple[int, int]]) -> npt.NDArray[np.int64]:
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


def at_first_tokens(tags: Sequence[int], first: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """The tags where the first tokens of their words are, −100 elsewhere.  (T,)"""
    labels = np.full(length, NO_LABEL)
    labels[first[first >= 0]] = np.asarray(tags)[first >= 0]
    return labels


def word_tags(outputs: Sequence[npt.NDArray[Any]], firsts: list[npt.NDArray[np.int64]], outside: int) -> Predictions:
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
