"""Are the ids of words, one after the other, those of the text?"""

import json
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from corpus.text import words as words_module
from corpus.text.words import Words, parts_at_blanks

# What could go wrong: blanks of all kinds and runs of them, contractions, marks, letters without case, and surrogates.
LETTERS = " \n\t\r\u00a0\u3000\u200b\u2028\x1c\x85'sStrevmld,.!?\"([-1²½é\u0301ßİςΣ中한א\u202b😀"
TEXTS = [
    "it's here , 'tis  double",
    "a  b   c",
    " led by a blank",
    "ends in one ",
    "",
    " ",
    "   ",
    "\n A\n\n \nEnd \n x",
]
CHANCE = random.Random(0)
TO_LEARN_FROM = ["".join(CHANCE.choices(LETTERS[:9] * 2 + LETTERS, k=12)) for _ in range(3000)]


def as_bert() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=["[UNK]", "[MASK]"], show_progress=False)
    tokenizer.train_from_iterator(TO_LEARN_FROM, trainer)
    return tokenizer


def as_gpt2() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=2000, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TO_LEARN_FROM, trainer)
    return tokenizer


KINDS = {"bert": as_bert(), "gpt2": as_gpt2()}
WORDS = {kind: Words(tokenizer) for kind, tokenizer in KINDS.items()}


def by_words(words: Words, texts: list[str]) -> list[list[int]]:
    ids, lengths, _ = words.encode(texts)
    ends = [0, *lengths.cumsum().tolist()]
    return [ids[start:end].tolist() for start, end in pairwise(ends)]


def by_texts(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(st.text(st.sampled_from(LETTERS), max_size=20), min_size=1, max_size=5))
@settings(max_examples=500, deadline=None)
def test_words_have_the_ids_of_their_text(kind, texts):
    assert by_words(WORDS[kind], texts) == by_texts(KINDS[kind], texts)


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_remembered_and_forgotten_without_a_difference(kind, monkeypatch):
    monkeypatch.setattr(words_module, "MOST_WORDS", 10)
    monkeypatch.setattr(words_module, "AT_A_TIME", 4)
    words = Words(KINDS[kind])
    for texts in (TEXTS, TEXTS[::-1], ["one more word"], TEXTS):
        assert by_words(words, texts) == by_texts(KINDS[kind], texts)
        assert len(words.numbers) < 40


def test_a_word_is_given_to_the_tokenizer_once():
    class Counting:
        def __init__(self):
            self.asked = []

        def to_str(self):
            return KINDS["gpt2"].to_str()

        def encode_batch_fast(self, texts, add_special_tokens):
            self.asked += texts
            return KINDS["gpt2"].encode_batch_fast(texts, add_special_tokens=add_special_tokens)

    assert all(parts_at_blanks(tokenizer) for tokenizer in KINDS.values())
    words = Words(Counting())
    words.encode(["as good as it gets", "as it is"])
    words.encode(["good as gold"])
    assert words.tokenizer.asked == ["as", " good", " as", " it", " gets", " is", "good", " gold"]


@pytest.mark.parametrize("change", ["prefix", "joins", "dropout", "normalizer", "phrase", "none"])
def test_a_tokenizer_that_may_join_what_a_blank_parts_is_given_whole_texts(change):
    tokenizer = Tokenizer.from_str(KINDS["gpt2"].to_str())
    if change == "phrase":
        tokenizer.add_tokens([AddedToken("it s", normalized=False)])
    elif change == "normalizer":
        tokenizer.normalizer = normalizers.Replace("a b", "c")
    elif change == "none":
        tokenizer.pre_tokenizer = None
    else:
        made = json.loads(tokenizer.to_str())
        made["pre_tokenizer"]["add_prefix_space"] = change == "prefix"
        made["pre_tokenizer"]["use_regex"] = change != "joins"
        made["model"]["dropout"] = 0.1 if change == "dropout" else None
        tokenizer = Tokenizer.from_str(json.dumps(made))
    assert not parts_at_blanks(tokenizer)
    if change != "dropout":
        assert by_words(Words(tokenizer), TEXTS[:3]) == by_texts(tokenizer, TEXTS[:3])
