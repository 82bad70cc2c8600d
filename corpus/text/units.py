"""Which t is cut?  Groups of sentences from a chapter, as tables of token offsets.

`SegmentPairs` is BERT's unit: two spans of text, the second either what follows or a random next sentence (NSP: Devlin
et al. 2019, appendix A.2; `create_pretraining_data.py` of the paper's code for the filling and the truncation). The
code is followed except where it is careless: a random B is from another document by construction (the code keeps a
wrong label when ten draws hit the same document), exactly half of the examples are true (there, a group of one sentence
is always followed by a random B), and a sentence that is longer than an example is used in pieces (there, its tail is
never seen).

`Blocks` is GPT's, and that of a masked LM without pairs: documents one behind the other, cut every `length` tokens.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpus.text.chapters import Chapter
from corpus.text.doubles import contents
from engine.train import draws

Ints = npt.NDArray[np.int64]
NUM_SPECIAL = 3  # [CLS] A [SEP] B [SEP]


REMEDIES = (
    "say objective.next_sentence: false, or have documents made otherwise (of text files, corpus.sources' `documents: "
    "blank_line` parts a file at blank lines, and `documents: file` makes it one document)"
)


def side_of(chapter: Chapter) -> str:
    return "held-out" if chapter.store.folder.name == "held_out" else "training"


@dataclass(frozen=True)
class Segments:
    """A batch of B segment pairs, T tokens wide, without special tokens: they and the masks are the objective's."""

    ids: Ints  # (B, T) A's tokens from column 1, B's from column a_length + 2; elsewhere 0
    a_length: Ints  # (B,)
    b_length: Ints  # (B,)
    is_random_next: Ints  # (B,) 1 where B is from another document: BERT's label
    index: Ints  # (B,) which example of the chapter: the key of its randomness


class SegmentPairs:
    """All segment pairs of one chapter.

    `length` counts the special tokens. `short_seq_probability` of the examples aim at a random shorter length, so that
    the model also meets short inputs. Errors: ValueError if fewer than two documents, or none of two sentences, are
    there.
    """

    def __init__(self, chapter: Chapter, length: int, short_seq_probability: float, key: int):
        self.chapter, self.store, self.length = chapter, chapter.store, length
        if len(chapter.documents) < 2:
            raise ValueError(
                f"sentence pairs need two documents or more, since a random next sentence is from another one, and the "
                f"{side_of(chapter)} text has {len(chapter.store)}: {REMEDIES}"
            )
        sentences, first = chapter.store.offsets(chapter.documents)
        room = length - NUM_SPECIAL
        text = _Text.of(*_in_pieces(sentences, first, room))
        self.rows, self.alone = _paired(text, room, short_seq_probability, key)
        self.num_tokens = int(text.sentences[-1])
        self.num_long = int((np.diff(sentences)[_is_sentence(sentences, first)] > room).sum())
        if not len(self.rows):
            raise ValueError(
                "sentence pairs need documents of two sentences or more, and each document of the "
                f"{side_of(chapter)} text is one sentence: {REMEDIES}"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def report(self) -> list[str]:
        """Say, in Markdown lines, what the division of the text came to."""
        random = int(self.rows[:, 4].sum())
        shown, cut, alone = (f"{count:,} ({count / self.num_tokens:.2%})" for count in self.count_tokens())
        return [
            f"Sentence pairs: {len(self):,}, of which {random:,} with a random next sentence as B "
            f"({random / len(self):.2%}). Sentences longer than an example, used in pieces: {self.num_long:,}.",
            f"Of the {self.num_tokens:,} tokens of the first chapter, an epoch shows {shown}. Not shown: {cut} cut off "
            f"where a pair was too long, {alone} in sentences left alone at a document's end. An objective without "
            "next_sentence shows all.",
            *self.false_negatives(random),
        ]

    def false_negatives(self, random: int) -> list[str]:
        """Say how many random next sentences are from a document that is word for word that of A, if any is."""
        sentences, first = self.store.offsets(self.chapter.documents)
        begin = sentences[first[:-1]]
        order, content = np.argsort(begin), contents(self.store, self.chapter.documents)
        a, b = (content[order[np.searchsorted(begin[order], self.rows[:, place], "right") - 1]] for place in (0, 2))
        if not (number := int((self.rows[:, 4] * (a == b)).sum())):
            return []
        return [
            f"**Warning: {number:,} of the random next sentences ({number / random:.2%}) are from another document "
            "that is word for word the same, so their label is wrong.** corpus.deduplicate: minhash leaves doubles out "
            "(with mode: store, and prepared by  cloze prepare)."
        ]

    def count_tokens(self) -> tuple[int, int, int]:
        """How many of the chapter's tokens stand in an example; were cut off from one; and were left alone, in none."""
        spans = np.concatenate([self.rows[:, :2], self.rows[:, 2:4]])
        shown = _covered(spans)
        reached = _covered(np.concatenate([spans, self.alone]))
        return shown, self.num_tokens - reached, reached - shown

    def take(self, index: Ints) -> Segments:
        """Read the examples `index` (B,) from the store in one gather."""
        a_start, a_end, b_start, b_end, is_random_next = self.rows[index].T
        a_length, b_length = a_end - a_start, b_end - b_start
        width = int((a_length + b_length).max()) + NUM_SPECIAL
        column = np.arange(width)
        in_a = (column >= 1) & (column <= a_length[:, None])
        b_column = column - (a_length[:, None] + 2)
        in_b = (b_column >= 0) & (b_column < b_length[:, None])
        source = np.where(in_a, a_start[:, None] + column - 1, np.where(in_b, b_start[:, None] + b_column, 0))
        ids = np.where(in_a | in_b, self.store.tokens(source), 0)
        return Segments(ids, a_length, b_length, is_random_next, index)


@dataclass(frozen=True)
class Block:
    """A batch of B stretches of T tokens, documents one behind the other."""

    ids: Ints  # (B, T) each document is followed by the separator, which also fills up the chapter's last block
    document: Ints  # (B, T) which document of the block, from 0; a separator belongs to the one before; -1 is padding
    index: Ints  # (B,) which block of the chapter


class Blocks:
    """A chapter's text as blocks of `length` tokens, of which `overlap` are the last ones of the block before.

    Nothing is lost and nothing is padded, but for the last block.
    """

    def __init__(self, chapter: Chapter, length: int, separator: int, overlap: int = 0):
        self.store, self.length, self.separator = chapter.store, length, separator
        self.stride = length - overlap
        sentences, first = chapter.store.offsets(chapter.documents)
        self.begin, end = sentences[first[:-1]], sentences[first[1:] - 1]  # (K,) token offsets in the store
        self.place = np.concatenate([[0], np.cumsum(end - self.begin + 1)])  # (K+1,) in the text: + 1 is the separator
        self.size = int(self.place[-1])

    def __len__(self) -> int:
        return max(1, -(-(self.size - (self.length - self.stride)) // self.stride))

    def report(self) -> list[str]:
        """Say, in Markdown lines, what the division of the text came to."""
        padding = (len(self) - 1) * self.stride + self.length - self.size
        return [
            f"Blocks: {len(self):,} of {self.length} tokens, from {len(self.begin):,} documents; {padding:,} places of "
            "the last block are padding."
        ]

    def take(self, index: Ints) -> Block:
        """Read the blocks `index` (B,) from the store in one gather."""
        place = index[:, None] * self.stride + np.arange(self.length)  # (B, T)
        document = np.searchsorted(self.place, np.minimum(place, self.size - 1), side="right") - 1
        is_separator = place >= self.place[document + 1] - 1  # or lies beyond the text
        source = np.where(is_separator, 0, self.begin[document] + place - self.place[document])
        ids = np.where(is_separator, self.separator, self.store.tokens(source))
        return Block(ids, np.where(place < self.size, document - document[:, :1], -1), index)


# The division of a chapter into pairs. All sections are divided side by side, each a pair a turn, because NumPy is fast
# only so; a draw is a function of (key, section, turn).

SECTION = 1024  # sentences: longer documents are divided in sections of that many, or a novel would take 5,000 turns


@dataclass(frozen=True)
class _Text:
    """Documents one behind the other, as runs of sentences: document d's sentences begin at
    `sentences[first[d]:last[d]]`, in tokens of this text, and it ends at `sentences[last[d]]`."""

    sentences: Ints  # never falls, so one binary search serves all documents
    first: Ints  # (K,)
    last: Ints  # (K,)
    shift: Ints  # (K,) from a token of this text to its place in the store

    @staticmethod
    def of(offsets: Ints, first: Ints) -> "_Text":
        """From what `Store.offsets` gives."""
        begin, end = offsets[first[:-1]], offsets[first[1:] - 1]
        shift = begin - np.concatenate([[0], np.cumsum(end - begin)[:-1]])
        return _Text(offsets - np.repeat(shift, np.diff(first)), first[:-1], first[1:] - 1, shift)

    def sections(self) -> tuple[Ints, Ints, Ints]:
        """Every document in equal sections of at most about SECTION sentences: document, first, last; all (S,)."""
        size = self.last - self.first
        number = np.maximum(1, np.rint(size / SECTION).astype(np.int64))
        document = np.repeat(np.arange(len(size)), number)
        place = np.arange(len(document)) - np.repeat(np.cumsum(number) - number, number)
        first = self.first[document] + size[document] * place // number[document]
        return document, first, self.first[document] + size[document] * (place + 1) // number[document]


def _is_sentence(offsets: Ints, first: Ints) -> npt.NDArray[np.bool_]:
    """Which of the steps from one offset to the next are sentences, and not from a document's end to the next one."""
    found = np.ones(len(offsets) - 1, bool)
    found[first[1:-1] - 1] = False
    return found


def _in_pieces(offsets: Ints, first: Ints, room: int) -> tuple[Ints, Ints]:
    """What `Store.offsets` gives, with each sentence of more than `room` tokens in pieces of half that, of which two
    fill an example."""
    half = (room + 1) // 2
    length = np.append(np.where(_is_sentence(offsets, first), np.diff(offsets), 0), 0)
    number = np.where(length > room, -(-length // half), 1)  # of pieces, of each sentence
    after = np.cumsum(number)
    place = np.arange(after[-1]) - np.repeat(after - number, number)
    return np.repeat(offsets, number) + half * place, np.append(0, after)[first]


def _covered(spans: Ints) -> int:
    """How many tokens stand in one of the `spans` (N, 2), which may overlap."""
    start, end = spans[np.argsort(spans[:, 0], kind="stable")].T
    reached = np.maximum.accumulate(end)
    return int(np.maximum(0, end - np.maximum(start, np.append(0, reached[:-1]))).sum())


def _paired(text: _Text, room: int, short_seq_probability: float, key: int) -> tuple[Ints, Ints]:
    """Divide every document into pairs; return rows (N, 5) of a_start, a_end, b_start, b_end, is_random_next.

    Also return the spans (S, 2) of the sentences left alone, one of a section at most: no example is made of them.
    """
    sentences, draw, rows = text.sentences, _Draws(key), []
    document, first, last = text.sections()
    turn, pending = 0, -1
    active = np.flatnonzero(last - first >= 2)
    while len(active):
        draw.at(active, turn)
        is_random_next, pending = _balanced(draw.uniform("label"), pending)
        is_short = draw.uniform("short") < short_seq_probability
        target = np.where(is_short, draw.between("length", 2, room), room)
        begin = first[active]
        own, end = document[active], _filled(sentences, begin, last[active], target)
        cut = draw.between("cut", begin + 1, end - 1)  # A has one sentence or more, and so has B
        a_start, a_end = sentences[begin], sentences[cut]
        other, other_start, other_end = _random_next(text, own, target - (a_end - a_start), draw)
        b_start, b_end, b_own = np.where(is_random_next, (other_start, other_end, other), (a_end, sentences[end], own))
        row = np.stack([*_truncated(a_start, a_end, b_start, b_end, room, draw), is_random_next], axis=1)
        row[:, :2] += text.shift[own][:, None]
        row[:, 2:4] += text.shift[b_own][:, None]
        rows.append(row)
        first[active] = np.where(is_random_next, cut, end)  # what would have followed A is not used up
        active = active[last[active] - first[active] >= 2]
        turn += 1
    alone = np.stack([sentences[first], sentences[last]], axis=1) + text.shift[document][:, None]
    return np.concatenate(rows) if rows else np.zeros((0, 5), np.int64), alone


class _Draws:
    """What chance decides for the sections that take part in a turn."""

    def __init__(self, key: int):
        self.key = key

    def at(self, sections: Ints, turn: int) -> None:
        self.sections, self.turn = sections, turn

    def uniform(self, what: str) -> npt.NDArray[np.float64]:
        return draws.uniform(draws.stream(what, self.key), self.sections, self.turn)

    def between(self, what: str, least: Ints | int, most: Ints | int) -> Ints:
        """A whole number from `least` to `most`, both included, for each section."""
        return least + (self.uniform(what) * (most - least + 1)).astype(np.int64)

    def heads(self, what: str, tosses: Ints) -> Ints:
        """Heads in `tosses` fair tosses, for each section."""
        return draws.heads(draws.stream(what, self.key, self.turn), tosses, self.sections)


def _balanced(lot: npt.NDArray[np.float64], pending: int) -> tuple[Ints, int]:
    """Labels come in twos, one of each, in random order: half are true, and an odd one waits for its partner."""
    label = (lot < 0.5).astype(np.int64)
    start = 0
    if pending >= 0:
        label[0], start = pending, 1
    seconds = np.arange(start + 1, len(label), 2)
    label[seconds] = 1 - label[seconds - 1]
    is_odd = (len(label) - start) % 2
    return label, 1 - int(label[-1]) if is_odd else -1


def _filled(sentences: Ints, first: Ints, last: Ints, target: Ints) -> Ints:
    """Return the sentence at which `target` tokens from `first` on are reached: two sentences on or more, and never so
    that a lone one stays behind."""
    end = np.clip(_reached(sentences, first, last, sentences[first] + target), first + 2, last)
    return np.where(last - end == 1, last, end)


def _random_next(text: _Text, own: Ints, wanted: Ints, draw: _Draws) -> tuple[Ints, Ints, Ints]:
    """Choose `wanted` tokens or so of another document; start where the document can still fill them, if it can."""
    other = draw.between("stranger", 0, len(text.first) - 2)  # the name seeds the draw: it stays
    other += other >= own
    first, last = text.first[other], text.last[other]
    latest = _reached(text.sentences, first, last, text.sentences[last] - wanted + 1)  # the last start that fills, + 1
    start = draw.between("start", first, np.maximum(latest, first + 1) - 1)
    end = np.clip(_reached(text.sentences, start, last, text.sentences[start] + wanted), start + 1, last)
    return other, text.sentences[start], text.sentences[end]


def _reached(sentences: Ints, first: Ints, last: Ints, offset: Ints) -> Ints:
    """The first place from `first` up to `last` whose sentence begins at `offset` or later; `last` if none does."""
    return np.clip(np.searchsorted(sentences, offset), first, last)


def _truncated(
    a_start: Ints, a_end: Ints, b_start: Ints, b_end: Ints, room: int, draw: _Draws
) -> tuple[Ints, Ints, Ints, Ints]:
    """Shorten the longer span token by token, at a random end each time, until both fit in `room`."""
    from_a, from_b = _surplus(a_end - a_start, b_end - b_start, room)
    a_front, b_front = draw.heads("front of A", from_a), draw.heads("front of B", from_b)
    return a_start + a_front, a_end - (from_a - a_front), b_start + b_front, b_end - (from_b - b_front)


def _surplus(a_length: Ints, b_length: Ints, room: int) -> tuple[Ints, Ints]:
    """How many tokens each span gives when the longer one always gives the next; B on a tie, as in the paper's code."""
    surplus = np.maximum(a_length + b_length - room, 0)
    gap = np.minimum(np.abs(a_length - b_length), surplus)
    shared = surplus - gap
    from_a, from_b = shared // 2, shared - shared // 2
    a_is_longer = a_length > b_length
    return np.where(a_is_longer, from_a + gap, from_a), np.where(a_is_longer, from_b, from_b + gap)
