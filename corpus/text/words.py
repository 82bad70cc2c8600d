"""Which ids does a text have?  Word by word, each word given to the tokenizer only once while it is remembered.

Most words of a text have been met before, and looking up their ids costs a fraction of finding them again. That is
exact where a tokenizer never joins what a blank parts: in BERT's and GPT-2's way of cutting a text into words. Any
other tokenizer is given whole texts.
"""

import json
import re
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count, islice, pairwise
from typing import Any

import numpy
from numpy.typing import NDArray
from tokenizers import Tokenizer

Ids = NDArray[numpy.uint32]
Lengths = NDArray[numpy.int64]

MOST_WORDS = 1 << 19  # remembered at a time: about 100 MB
MOST_CHARACTERS = 1 << 25  # of the words that are remembered
PORTION = 1 << 20  # characters that are encoded at a time; a longer text is cut
AMONG_BLANKS = re.compile(r"\s (?:\s|\Z)")
BEFORE_BLANKS = re.compile(r"(?<=\S)(?=[ \n])")
AT_A_TIME = 4096  # texts given to the tokenizer: its answers take about 1 KB each


class Words:
    """A tokenizer that remembers. The texts must not contain NUL, which `corpus.text.readers` has taken out."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.cut: Callable[[str], list[str]] = words_of if parts_at_blanks(tokenizer) else whole
        self.unknown, self.drops = unknown_id(tokenizer), drops_letters(tokenizer)
        self.forget()

    def forget(self) -> None:
        self.numbers: defaultdict[str, int] = defaultdict(count().__next__)  # word → its number, given as it is met
        self.ids: Ids = numpy.empty(0, numpy.uint32)  # of all words, in the order of their numbers
        self.ends: Lengths = numpy.zeros(1, numpy.int64)  # word n is ids[ends[n] : ends[n + 1]]
        self.characters = 0  # of all words
        self.letters: Lengths = numpy.zeros((0, 3), numpy.int64)  # of each word: see `encode`

    def encode(self, texts: list[str]) -> tuple[Ids, Lengths, Lengths]:
        """The ids of all texts, one text after the other, without special tokens; and how many each text has.

        Also, of all texts together: unknown tokens, characters other than blanks, and those of them that the tokenizer
        does not know (3,).
        """
        cut = [slabs(text) for text in texts]
        ids, counts, letters = zip(*map(self.encode_portion, portions(chain.from_iterable(cut))), strict=True)
        firsts = numpy.cumsum([0, *map(len, cut[:-1])])
        return numpy.concatenate(ids), numpy.add.reduceat(numpy.concatenate(counts), firsts), numpy.sum(letters, 0)

    def encode_portion(self, texts: list[str]) -> tuple[Ids, Lengths, Lengths]:
        if len(self.numbers) > MOST_WORDS or self.characters > MOST_CHARACTERS:
            self.forget()
        words, word_counts = [], []
        for text in texts:
            cut = self.cut(text)
            words += cut
            word_counts.append(len(cut))
        number = numpy.fromiter(map(self.numbers.__getitem__, words), numpy.int64, len(words))
        self.learn()
        begin, end = self.ends[number], self.ends[number + 1]
        after = numpy.cumsum(end - begin)
        place = numpy.arange(after[-1]) + numpy.repeat(end - after, end - begin)
        lengths = numpy.diff(after[numpy.cumsum(word_counts) - 1], prepend=0)
        return self.ids[place], lengths, self.letters[number].sum(0)

    def learn(self) -> None:
        """Ask the tokenizer for the words that have a number and no ids yet."""
        unknown = islice(self.numbers, len(self.ends) - 1, None)
        while words := list(islice(unknown, AT_A_TIME)):
            self.characters += sum(map(len, words))
            found, lengths, letters = array("I"), [], []
            encodings = self.tokenizer.encode_batch_fast(words, add_special_tokens=False)
            for word, encoding in zip(words, encodings, strict=True):
                ids = encoding.ids
                found.fromlist(ids)
                lengths.append(len(ids))
                lost = self.lost(word) if self.drops or self.unknown in ids else 0
                letters.append((ids.count(self.unknown), len("".join(word.split())), lost))
            self.ids = numpy.concatenate([self.ids, numpy.frombuffer(found, numpy.uint32)])
            self.ends = numpy.concatenate([self.ends, self.ends[-1] + numpy.cumsum(lengths)])
            self.letters = numpy.concatenate([self.letters, letters])

    def lost(self, word: str) -> int:
        """How many letters of the word, blanks aside, no token stands for but the unknown one."""
        encoding = self.tokenizer.encode(word, add_special_tokens=False)
        kept = {
            place
            for number, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
            if number != self.unknown
            for place in range(start, end)
        }
        return sum(not letter.isspace() for place, letter in enumerate(word) if place not in kept)


def slabs(text: str) -> list[str]:
    """The text; one of more than PORTION characters in several pieces, each begun with a blank if there is one."""
    cuts = [0]
    while len(text) - cuts[-1] > PORTION:
        blank = BEFORE_BLANKS.search(text, cuts[-1] + PORTION // 2, cuts[-1] + PORTION)
        cuts.append(blank.start() if blank else cuts[-1] + PORTION)
    return [text[start:end] for start, end in pairwise([*cuts, len(text)])]


def portions(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts, about PORTION characters together."""
    waiting: list[str] = []
    size = 0
    for text in texts:
        waiting.append(text)
        size += len(text)
        if size >= PORTION:
            yield waiting
            waiting, size = [], 0
    if waiting:
        yield waiting


def words_of(text: str) -> list[str]:
    """The text cut before each blank; where there are runs of them, before each run: GPT-2 may take one as a token."""
    if "  " in text or not (text.isprintable() or AMONG_BLANKS.search(text) is None):  # most have no other blanks
        return BEFORE_BLANKS.split(text)
    return text.replace(" ", "\0 ").split("\0")


def whole(text: str) -> list[str]:
    return [text]


def unknown_id(tokenizer: Tokenizer) -> int:
    """The id of what stands for letters that are not in the vocabulary; -1 if nothing does."""
    model: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    token = model.get("unk_token")
    found = model.get("unk_id") if token is None else tokenizer.token_to_id(token)
    return -1 if found is None else int(found)


def drops_letters(tokenizer: Tokenizer) -> bool:
    """Whether letters that are not in the vocabulary leave no trace: BPE of letters without an unknown token."""
    made: dict[str, Any] = json.loads(tokenizer.to_str())
    is_bpe = made["model"]["type"] == "BPE" and not made["model"].get("byte_fallback")
    return is_bpe and '"ByteLevel"' not in json.dumps(made["pre_tokenizer"]) and unknown_id(tokenizer) < 0


def parts_at_blanks(tokenizer: Tokenizer) -> bool:
    """Whether the ids of a text are those of its `words_of`, one word after the other."""
    made: dict[str, Any] = json.loads(tokenizer.to_str())
    normalizer, cutter, model = made["normalizer"], made["pre_tokenizer"] or {"type": None}, made["model"]
    as_bert = cutter["type"] == "BertPreTokenizer" and (normalizer is None or normalizer["type"] == "BertNormalizer")
    as_gpt2 = cutter["type"] == "ByteLevel" and normalizer is None
    by_bytes = as_gpt2 and cutter["use_regex"] and not cutter["add_prefix_space"]
    return (
        (as_bert or by_bytes)
        and not model.get("dropout")  # a draw must be made anew each time
        and all(token["special"] for token in made["added_tokens"])  # another one may itself contain a blank
    )
