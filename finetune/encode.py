"""How do labelled rows become ids for a model, and its answers predictions for a row?  One way for each head.

`encode` gives the ids of all rows and keeps what it takes to read a model's answers: which token begins which word, or
where a window's tokens stand in its context. The tokenizer is called on many rows at a time.

Texts, pairs and windows over a long context are Devlin et al. 2019, sections 4.1 and 4.2; the first token of a word
stands for the word, as in their section 5.3.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset
from tokenizers import processors
from transformers import BatchEncoding, PreTrainedTokenizerFast

from finetune.spans import NO_LABEL, Windows, answer_tokens, decode_spans, most_central
from finetune.task import Head, Task

Columns = dict[str, Sequence[Any]]

ROWS_PER_CALL = 1000  # the tokenizer's own record of a row is large: bounded memory on any number of rows
LONGEST_QUESTION = 64  # tokens; a longer one loses its end
DOC_STRIDE = 128  # tokens that neighbouring windows share


@dataclass(frozen=True)
class Encoded:
    """The ids of all rows, and how a model's answers to them are read.

    columns: by name, one value an example: a row, or for spans a window. "input_ids" (T,); "token_type_ids" (T,) if the
    tokenizer's model wants them; and, if the rows have answers, what the head is asked for:
      classification, regression   "label"          int | float
      tagging                      "labels" (T,)    the tag at the first token of each word, −100 elsewhere
      span                         "start", "end"   token positions in the window, −100 where the answer is not in it
    decode: from one answer an example, in order, to what `finetune.score.score` judges:
      classification, regression   label | score                          → (N,) int64 | float64
      tagging                      the tag at each token, (≥ T,)          → N arrays, a tag a word
      span                         start and end logits, (≥ T,) and (≥ T,) → {id: text}
    num_lost: words without a token, beyond `max_length` or dropped by the tokenizer; their tag is read as O.
    """

    columns: Columns
    decode: Callable[[Sequence[Any]], Any]
    num_lost: int = 0

    def answered(self) -> Columns:
        """The columns to train on: without the windows that do not hold the answer, which have nothing to teach."""
        if "start" not in self.columns:
            return self.columns
        kept = np.flatnonzero(np.asarray(self.columns["start"]) != NO_LABEL).tolist()
        return {name: [column[example] for example in kept] for name, column in self.columns.items()}


def encode(task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoded:
    """Encode the rows of any task for its head. A longer text loses its end; a longer context becomes several windows.

    Raises ValueError if `max_length` leaves no room for the texts.
    """
    tokenizer = framed(tokenizer)
    room = max_length - tokenizer.num_special_tokens_to_add(pair=len(task.columns) == 2)
    if room < 2 * len(task.columns):
        raise ValueError(f"max_length {max_length} leaves {room} tokens for {' and '.join(task.columns)}; raise it")
    return ENCODERS[task.head](task, rows, tokenizer, max_length)


def encode_text(task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoded:
    """A text or a pair; where a pair is too long, the longer of the two loses its end first."""
    columns = empty(tokenizer)
    for part in parts(rows):
        texts = [part[name] for name in task.columns]
        append(columns, tokenizer(*texts, truncation="longest_first", max_length=max_length))
    kind = np.float64 if task.head == "regression" else np.int64
    if "label" in rows.column_names:
        columns["label"] = np.asarray(rows["label"][:], kind)
    return Encoded(columns, partial(np.asarray, dtype=kind))


def encode_words(task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoded:
    """Words with a tag each. Joined by blanks they are one text; its tokens' places tell which token begins a word."""
    (name,) = task.columns
    columns = empty(tokenizer)
    firsts: list[npt.NDArray[np.int64]] = []  # a row: (num_words,)
    for part in parts(rows):
        texts = [" ".join(words) for words in part[name]]
        batch = tokenizer(texts, truncation=True, max_length=max_length, return_offsets_mapping=True)
        append(columns, batch)
        firsts += [first_tokens(*pair) for pair in zip(part[name], batch["offset_mapping"], strict=True)]
    if "label" in rows.column_names:
        lengths = [len(ids) for ids in columns["input_ids"]]
        columns["labels"] = [at_first_tokens(*row) for row in zip(rows["label"], firsts, lengths, strict=True)]
    num_lost = sum(int((first < 0).sum()) for first in firsts)
    return Encoded(columns, partial(word_tags, firsts=firsts, outside=task.labels.index("O")), num_lost)


def encode_windows(task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoded:
    """A question with its context, in as many windows as it takes.

    Neighbouring windows share `DOC_STRIDE` tokens (at most half a window's room, where windows are short). Devlin's
    script calls so the step from one window to the next; this is the meaning in transformers' examples.
    """
    room = max_length - tokenizer.num_special_tokens_to_add(pair=True)
    longest = min(LONGEST_QUESTION, room // 2)
    overlap = min(DOC_STRIDE, (room - longest) // 2)
    columns = empty(tokenizer)
    windows = Windows()
    for number, part in enumerate(parts(rows)):
        asked, contexts = (part[name] for name in task.columns)
        batch = tokenizer(
            shortened(asked, tokenizer, longest), contexts, truncation="only_second", max_length=max_length,
            stride=overlap, return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        append(columns, batch)
        windows.row += [number * ROWS_PER_CALL + row for row in batch["overflow_to_sample_mapping"]]
        windows.offsets += [np.array(offsets, np.int32) for offsets in batch["offset_mapping"]]
        for encoding in batch.encodings or ():
            in_context = encoding.sequence_ids
            windows.first.append(in_context.index(1) if 1 in in_context else 0)
            windows.num_context.append(in_context.count(1))
    windows.central += most_central(np.array(windows.row), np.array(windows.num_context), overlap)
    if "answers" in rows.column_names:
        columns["start"], columns["end"] = answer_tokens(windows, rows["answers"][:])
    return Encoded(columns, partial(decode_logits, windows=windows, rows=rows))


ENCODERS: dict[Head, Callable[[Task, Dataset, PreTrainedTokenizerFast, int], Encoded]] = {
    "classification": encode_text,
    "regression": encode_text,
    "tagging": encode_words,
    "span": encode_windows,
}


def framed(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer itself if it puts special tokens around texts, else one that puts its end-of-text token after each.

    GPT-2's adds none, and would run the two texts of a pair together. Radford et al. 2018, section 3.3, part them by a
    delimiter; the end-of-text token, which the model knows, is that here. It also pads, if nothing else does: the label
    is then read where transformers looks for the last token that is no padding, at the end of the text.
    """
    if tokenizer.num_special_tokens_to_add() or tokenizer.eos_token is None:
        return tokenizer
    own, end = copy.deepcopy(tokenizer), tokenizer.eos_token
    frame = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    before = own.backend_tokenizer.post_processor
    own.backend_tokenizer.post_processor = processors.Sequence([before, frame]) if before else frame
    own.pad_token = own.pad_token or end
    return own


def parts(rows: Dataset) -> Iterator[dict[str, list[Any]]]:
    """The rows in columns, `ROWS_PER_CALL` at a time."""
    for start in range(0, len(rows), ROWS_PER_CALL):
        yield rows[start : start + ROWS_PER_CALL]


def empty(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The columns that this tokenizer's model takes."""
    return {name: [] for name in ("input_ids", "token_type_ids") if name in tokenizer.model_input_names}


def append(columns: dict[str, Any], batch: BatchEncoding) -> None:
    """Add a tokenized batch to the columns."""
    for name, column in columns.items():
        column += [np.array(values, np.int32) for values in batch[name]]


def shortened(texts: list[str], tokenizer: PreTrainedTokenizerFast, most: int) -> list[str]:
    """The texts, cut where they have more than `most` tokens."""
    batch = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    places = batch["offset_mapping"]
    return [
        text[: offsets[most - 1][1]] if len(offsets) > most else text
        for text, offsets in zip(texts, places, strict=True)
    ]


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


def word_tags(
    answers: Sequence[npt.NDArray[Any]], firsts: list[npt.NDArray[np.int64]], outside: int
) -> list[npt.NDArray[np.int64]]:
    """Each word's tag, from the tags of all tokens; a word without a token is outside every entity, so a miss."""
    return [np.where(first >= 0, np.asarray(tags)[first], outside) for tags, first in zip(answers, firsts, strict=True)]


def decode_logits(
    answers: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]], windows: Windows, rows: Dataset
) -> dict[str, str]:
    """The best answer of each question, from (start logits, end logits) of each window, padding included."""
    width = max(len(offsets) for offsets in windows.offsets)
    logits = np.full((2, len(windows.offsets), width), -np.inf, np.float32)
    for window, (pair, offsets) in enumerate(zip(answers, windows.offsets, strict=True)):
        for side in (0, 1):
            logits[side, window, : len(offsets)] = pair[side][: len(offsets)]
    return decode_spans(logits[0], logits[1], windows, rows)
