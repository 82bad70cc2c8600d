"""Which t is cut?  Groups of sentences from a store, as tables of token offsets.

`segments` is BERT's unit: two spans of text, the second either what follows or a stranger (Devlin et al. 2019,
appendix A.2; `create_pretraining_data.py` of the paper's code for the filling and the truncation). The paper's code is
followed except where it is careless: the stranger is from another document by construction (the code keeps a wrong
label when ten draws hit the same document), and exactly half of the examples are true (there, a group of one sentence
is always a stranger).
"""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import numpy as np
import numpy.typing as npt

from corpus.store import Store

NUM_SPECIAL = 3  # [CLS] A [SEP] B [SEP]


@dataclass(frozen=True)
class Segments:
    """A batch of B segment pairs, T tokens wide, without special tokens: they and the masks are the objective's."""

    ids: npt.NDArray[np.int64]  # (B, T) A's tokens from column 1, B's from column a_length + 2; elsewhere 0
    a_length: npt.NDArray[np.int64]  # (B,)
    b_length: npt.NDArray[np.int64]  # (B,)
    is_stranger: npt.NDArray[np.int64]  # (B,) 1 where B is from another document: BERT's label
    index: npt.NDArray[np.int64]  # (B,) which example of the epoch: the key of its randomness


class SegmentPairs:
    """All segment pairs of one epoch; a new epoch is a new division of the same text.

    `length` counts the special tokens. `short_seq_rate` of the examples aim at a random shorter length, so that the
    model also meets short inputs. Errors: ValueError if fewer than two documents, or none of two sentences, are there.
    """

    def __init__(self, store: Store, length: int, short_seq_rate: float, seed: int, epoch: int):
        self.store, self.length = store, length
        if len(store.documents) < 3:
            raise ValueError(
                f"{store.folder} has {len(store)} document(s); sentence pairs need two or more, since a stranger comes "
                "from another document: give more documents, or change the share corpus.held_out"
            )
        self.rows, self.tokens_left_out = _pair_up(store, length - NUM_SPECIAL, short_seq_rate, seed, epoch)
        if not len(self.rows):
            raise ValueError(f"{store.folder} has no document of two sentences or more, which sentence pairs need")

    def __len__(self) -> int:
        return len(self.rows)

    def report(self) -> list[str]:
        """Say, in Markdown lines, what the division of the text came to."""
        strangers = int(self.rows[:, 4].sum())
        share = self.tokens_left_out / max(1, len(self.store.ids))
        return [
            f"Sentence pairs: {len(self):,}, of which {strangers:,} with a stranger as B ({strangers / len(self):.2%})."
            f" In no pair: {self.tokens_left_out:,} tokens ({share:.2%}), sentences left alone at a document's end."
        ]

    def take(self, index: npt.NDArray[np.int64]) -> Segments:
        """Read the examples `index` (B,) from the store in one gather."""
        a_start, a_end, b_start, b_end, is_stranger = self.rows[index].T
        a_length, b_length = a_end - a_start, b_end - b_start
        width = int((a_length + b_length).max()) + NUM_SPECIAL
        column = np.arange(width)
        in_a = (column >= 1) & (column <= a_length[:, None])
        b_column = column - (a_length[:, None] + 2)
        in_b = (b_column >= 0) & (b_column < b_length[:, None])
        source = np.where(in_a, a_start[:, None] + column - 1, np.where(in_b, b_start[:, None] + b_column, 0))
        ids = np.where(in_a | in_b, self.store.ids[source], 0).astype(np.int64)
        return Segments(ids, a_length, b_length, is_stranger, index)


def _pair_up(
    store: Store, room: int, short_seq_rate: float, seed: int, epoch: int
) -> tuple[npt.NDArray[np.int64], int]:
    """Divide every document into pairs; return rows (N, 5) of a_start, a_end, b_start, b_end, is_stranger.

    Also return the tokens that stand in no example: sentences left alone at a document's end.
    """
    random = Random(f"segments {seed} {epoch}")
    sentences, documents = store.sentences.tolist(), store.documents.tolist()
    rows: list[tuple[int, ...]] = []
    left_out, label = 0, 0
    for document, (first, last) in enumerate(pairwise(documents)):
        while last - first >= 2:
            # Labels come in pairs, one of each: exactly half true, and the order within a pair is chance.
            is_stranger = 1 - label if len(rows) % 2 else int(random.random() < 0.5)
            label = is_stranger
            target = random.randint(2, room) if random.random() < short_seq_rate else room
            end = _filled(sentences, first, last, target)
            cut = random.randint(first + 1, end - 1)  # A has one sentence or more, and so has B
            a_start, a_end = sentences[first], sentences[cut]
            if is_stranger:
                b_start, b_end = _stranger(sentences, documents, document, target - (a_end - a_start), random)
                first = cut  # what would have followed is not used up
            else:
                b_start, b_end = a_end, sentences[end]
                first = end
            rows.append((*_truncated(a_start, a_end, b_start, b_end, room, random), is_stranger))
        left_out += sentences[last] - sentences[first]
    return np.array(rows, np.int64).reshape(-1, 5), left_out


def _filled(sentences: list[int], first: int, last: int, target: int) -> int:
    """Return the sentence at which `target` tokens from `first` on are reached: two sentences on or more, and never so
    that a lone one stays behind."""
    end = bisect_left(sentences, sentences[first] + target, first + 2, last)
    return last if last - end == 1 else end


def _stranger(sentences: list[int], documents: list[int], own: int, wanted: int, random: Random) -> tuple[int, int]:
    """Choose `wanted` tokens or so of another document; start where the document can still fill them, if it can."""
    other = random.randrange(len(documents) - 2)
    other += other >= own
    first, last = documents[other], documents[other + 1]
    latest = bisect_left(sentences, sentences[last] - wanted + 1, first, last)  # the last start that fills, plus one
    start = random.randrange(first, max(latest, first + 1))
    end = bisect_left(sentences, sentences[start] + wanted, start + 1, last)
    return sentences[start], sentences[end]


def _truncated(
    a_start: int, a_end: int, b_start: int, b_end: int, room: int, random: Random
) -> tuple[int, int, int, int]:
    """Shorten the longer span token by token, at a random end each time, until both fit in `room`."""
    a_length, b_length = a_end - a_start, b_end - b_start
    if a_length + b_length > room:
        from_a, from_b = _surplus(a_length, b_length, room)
        a_front, b_front = _coins(from_a, random), _coins(from_b, random)
        a_start, a_end = a_start + a_front, a_end - (from_a - a_front)
        b_start, b_end = b_start + b_front, b_end - (from_b - b_front)
    return a_start, a_end, b_start, b_end


def _surplus(a_length: int, b_length: int, room: int) -> tuple[int, int]:
    """How many tokens each span gives when the longer one always gives the next; B on a tie, as in the paper's code."""
    surplus = a_length + b_length - room
    gap = min(abs(a_length - b_length), surplus)
    shared = surplus - gap
    from_a, from_b = shared // 2, shared - shared // 2
    return (from_a + gap, from_b) if a_length > b_length else (from_a, from_b + gap)


def _coins(tosses: int, random: Random) -> int:
    """Heads in `tosses` fair tosses."""
    return random.getrandbits(tosses).bit_count() if tosses else 0
