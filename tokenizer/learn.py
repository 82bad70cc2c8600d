"""How is a vocabulary learned from text, the same one each time?

WordPiece: Devlin et al. 2019, section 3 (pieces of words, `##` where a word continues). Byte-level BPE: Radford et al.
2019, section 2.2. Both are grown as in Sennrich et al. 2016: start from single letters, merge the commonest neighbours,
repeat. Whole words, for word vectors: Mikolov et al. 2013, those that stand often enough.
"""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizer, GPT2Tokenizer, PreTrainedTokenizerFast

from corpus.text.source import Whitespace
from engine.run.recipe import check_least
from tokenizer.load import BERT_SPECIAL_TOKENS

END_OF_TEXT = "<|endoftext|>"
PADDING, UNKNOWN, END_OF_DOCUMENT = "[PAD]", "[UNK]", "</s>"  # of whole words
FEWEST = 2  # words
TOO_MANY = 0.001  # of a text's characters, to be lost without a word


@dataclass(frozen=True, kw_only=True)
class Learner(ABC):
    """One kind of tokenizer. The fields are the recipe's `vocabulary:` section."""

    name: str  # which kind of tokenizer
    vocab_size: int  # tokens, the special ones included
    min_frequency: int = 2  # a pair of neighbours seen less often is not merged
    whitespace: ClassVar[Whitespace] = "clean"  # how it is treated where a source does not say
    in_pieces: ClassVar[bool] = True  # of a rarer word there are tokens, too, and a large text fills the vocabulary

    def __post_init__(self) -> None:
        check_least(self, 1, "vocab_size", "min_frequency")

    @staticmethod
    def section_names() -> list[str]:
        """The kinds of tokenizer there are."""
        return list(KINDS)

    @staticmethod
    def from_section(name: str) -> type["Learner"]:
        """Return the class a recipe means by `name`. Errors: ValueError with the names there are."""
        if name not in KINDS:
            raise ValueError(f"unknown vocabulary {name!r}; allowed: {', '.join(KINDS)}")
        return KINDS[name]

    @abstractmethod
    def learn(
        self, texts: Iterator[list[str]], characters: Counter[str], model_max_length: int
    ) -> PreTrainedTokenizerFast:
        """Learn from `texts`, read once; `characters` counts each character of the text.

        `model_max_length` (tokens) is what the tokenizer truncates to by default. Errors: ValueError for a size that
        leaves no room for the single letters.
        """

    def remarks(self, characters: Counter[str]) -> list[str]:
        """Say what of such a text the tokenizer loses, if that is much, and which key mends it."""
        return []


@dataclass(frozen=True, kw_only=True)
class WordPiece(Learner):
    """BERT's tokenizer."""

    vocab_size: int = 30_522
    lowercase: bool = True  # text is read in small letters
    strip_accents: bool | None = None  # ü becomes u, and vowel signs of Hindi or Thai go; None: as lowercase says
    limit_alphabet: int = 1_000  # the commonest characters are kept, a rarer one makes its word [UNK]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit_alphabet < 1:
            raise ValueError(
                f"limit_alphabet is {self.limit_alphabet}; a word needs letters: give 1 or more, such as 1000"
            )

    def learn(
        self, texts: Iterator[list[str]], characters: Counter[str], model_max_length: int
    ) -> PreTrainedTokenizerFast:
        """See `Learner.learn`. The ids: special tokens, letters, letters within a word, pieces as they were found."""
        blank = self._blank
        letters, within = self._letters(characters, self.limit_alphabet)
        given = [*BERT_SPECIAL_TOKENS, *letters, *within]
        self._check_room(given)
        # The trainer numbers the letters within words in the order of a hash map, and equal counts are decided by
        # number: another process, another vocabulary. Handed over as special tokens they have their numbers already.
        trainer = trainers.WordPieceTrainer(
            vocab_size=self.vocab_size,
            min_frequency=self.min_frequency,
            special_tokens=[*BERT_SPECIAL_TOKENS, *within],
            initial_alphabet=letters,
            limit_alphabet=len(letters),
            show_progress=False,
        )
        blank.train_from_iterator(texts, trainer)
        learned = blank.get_vocab()
        grown = sorted(learned.keys() - set(given), key=learned.__getitem__)
        numbered = {token: number for number, token in enumerate([*given, *grown])}
        return BertTokenizer(
            vocab=numbered,
            do_lower_case=self.lowercase,
            strip_accents=self.strip_accents,
            model_max_length=model_max_length,
        )

    def remarks(self, characters: Counter[str]) -> list[str]:
        counts, notes = normalized(characters, self._blank.normalizer), []
        missing = 1 - sum(counts[letter] for letter in commonest(counts, self.limit_alphabet)) / max(1, counts.total())
        if missing > TOO_MANY:
            room = len(BERT_SPECIAL_TOKENS) + sum(map(len, self._letters(characters, len(counts))))
            notes.append(
                f"Warning: {missing:.2%} of the characters are beyond the alphabet, and make whole words unknown: "
                f"vocabulary.limit_alphabet: {len(counts)} keeps all letters; vocabulary.vocab_size must then be "
                f"{room} or more."
            )
        kept = BertTokenizer(do_lower_case=self.lowercase, strip_accents=False).backend_tokenizer.normalizer
        ask = self._blank.normalizer.normalize_str
        changed = sum(count for letter, count in characters.items() if ask(letter) != kept.normalize_str(letter))
        if self.strip_accents is None and changed > TOO_MANY * characters.total():
            notes.append(
                f"Warning: {changed / characters.total():.2%} of the characters lose accents or vowel signs, so that "
                "words such as drücken and drucken become one: vocabulary.strip_accents: false keeps them."
            )
        return notes

    @property
    def _blank(self) -> Tokenizer:
        """A tokenizer without a vocabulary."""
        return BertTokenizer(do_lower_case=self.lowercase, strip_accents=self.strip_accents).backend_tokenizer

    def _letters(self, characters: Counter[str], most: int) -> tuple[list[str], list[str]]:
        """The letters that are kept, and those of them with which a word can continue, as `##x`."""
        blank = self._blank
        letters = commonest(normalized(characters, blank.normalizer), most)
        return letters, ["##" + letter for letter in letters if joins_words(letter, blank)]

    def _check_room(self, given: list[str]) -> None:
        if len(given) > self.vocab_size:
            raise ValueError(
                f"vocabulary.vocab_size is {self.vocab_size}, but the special tokens and single letters alone are "
                f"{len(given)}: raise it, or lower vocabulary.limit_alphabet ({self.limit_alphabet})"
            )


@dataclass(frozen=True, kw_only=True)
class BytePairs(Learner):
    """GPT-2's tokenizer: any text can be written in it, so nothing is unknown."""

    vocab_size: int = 50_257

    whitespace: ClassVar = "keep"  # it has pieces for line breaks and indentation

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocab_size < 257:
            raise ValueError(
                f"vocabulary.vocab_size is {self.vocab_size}; the 256 bytes and {END_OF_TEXT} alone need 257"
            )

    def learn(
        self, texts: Iterator[list[str]], characters: Counter[str], model_max_length: int
    ) -> PreTrainedTokenizerFast:
        """See `Learner.learn`. The ids are in GPT-2's order: bytes, merges as they were found, `<|endoftext|>`."""
        blank = GPT2Tokenizer().backend_tokenizer
        # All letters are given, in order, so here nothing is numbered by a hash map.
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab_size - 1,
            min_frequency=self.min_frequency,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        learner = Tokenizer(models.BPE())
        learner.pre_tokenizer = blank.pre_tokenizer
        learner.train_from_iterator(texts, trainer)
        learned = json.loads(learner.to_str())["model"]
        numbered = {**learned["vocab"], END_OF_TEXT: len(learned["vocab"])}
        merges: Any = [tuple(pair) for pair in learned["merges"]]  # transformers declares strings, and takes pairs
        return GPT2Tokenizer(vocab=numbered, merges=merges, model_max_length=model_max_length)


@dataclass(frozen=True, kw_only=True)
class WholeWords(Learner):
    """The vocabulary of word2vec and GloVe: a token is a whole word, or a punctuation mark."""

    vocab_size: int = 400_000  # tokens at most: the commonest words
    min_frequency: int = 5  # a word that is seen less often is unknown
    lowercase: bool = True  # text is read in small letters

    in_pieces: ClassVar = False

    def learn(
        self, texts: Iterator[list[str]], characters: Counter[str], model_max_length: int
    ) -> PreTrainedTokenizerFast:
        """See `Learner.learn`. The ids: special tokens, words from the commonest on, equally common ones as Unicode has
        them. Errors: ValueError where hardly a word is common enough."""
        learner = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
        learner.normalizer = normalizers.BertNormalizer(lowercase=self.lowercase, strip_accents=False)
        learner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordLevelTrainer(
            vocab_size=self.vocab_size,
            min_frequency=self.min_frequency,
            special_tokens=[PADDING, UNKNOWN, END_OF_DOCUMENT],
            show_progress=False,
        )
        learner.train_from_iterator(texts, trainer)
        if (found := learner.get_vocab_size() - len(trainer.special_tokens)) < FEWEST:
            raise ValueError(
                f"{found} words stand {self.min_frequency} times or more in the text, and a vocabulary needs {FEWEST}: "
                + ("lower vocabulary.min_frequency, or " * (self.min_frequency > 1) + "give more text")
            )
        return PreTrainedTokenizerFast(
            tokenizer_object=learner, pad_token=PADDING, unk_token=UNKNOWN, eos_token=END_OF_DOCUMENT,
            model_max_length=model_max_length,
        )  # fmt: skip


KINDS: dict[str, type[Learner]] = {"wordpiece": WordPiece, "byte-bpe": BytePairs, "words": WholeWords}


def normalized(characters: Counter[str], normalizer: normalizers.Normalizer) -> Counter[str]:
    """Count what the characters become. BERT's normaliser takes each by itself, so each needs to be asked but once."""
    counts: Counter[str] = Counter()
    for character, count in characters.items():
        for letter in normalizer.normalize_str(character):
            if not letter.isspace():
                counts[letter] += count
    return counts


def commonest(counts: Counter[str], most: int) -> list[str]:
    """Return the `most` commonest letters in Unicode order. Of two equally common ones the first in Unicode counts."""
    return sorted(sorted(counts, key=lambda letter: (-counts[letter], letter))[:most])


def joins_words(letter: str, blank: Tokenizer) -> bool:
    """Whether a word can continue with this letter. Punctuation and Chinese characters always stand alone: the one is
    cut off by the pre-tokenizer, the other are set among blanks by the normaliser."""
    return len(blank.pre_tokenizer.pre_tokenize_str(blank.normalizer.normalize_str("a" + letter))) == 1
