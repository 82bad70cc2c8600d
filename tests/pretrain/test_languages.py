"""Does any language train, is what is lost of it in the data report, and is an option that can do nothing refused?"""

import json
import random
from collections import Counter

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from corpus.text.medium import Text
from corpus.text.vocabulary import Vocabulary
from engine.train.batch import Batch
from pretrain.objectives.bert import Bert, words
from tokenizer.learn import BytePairs, WordPiece
from tokenizer.load import load_tokenizer

HAN = [chr(code) for code in range(0x4E00, 0x4E00 + 200)]
ENGLISH = "the old man sat by the sea and the sea sat by the older man; tokenization, antidisestablishment! " * 30
FEW_STEPS = {
    "max_steps": 2,
    "global_batch_size": 16,
    "per_device_train_batch_size": 16,
    "logging_steps": 1,
    "eval_steps": 2,
}


def chinese(seed: int) -> str:
    draw = random.Random(seed)
    return "".join("".join(draw.choices(HAN, k=draw.randint(4, 25))) + draw.choice("。！？") for _ in range(30))


@pytest.fixture
def recipe_of(tmp_path, write_recipe):
    """Write a recipe for documents and a tokenizer."""

    def write(texts: list[str], tokenizer: PreTrainedTokenizerFast, **changes):
        rows = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
        tokenizer.save_pretrained(tmp_path / "tokenizer")
        sources = [{"kind": "jsonl", "path": str(tmp_path / "rows.jsonl")}]
        about = {"corpus": {"sources": sources}, "tokenizer": str(tmp_path / "tokenizer"), "plan": FEW_STEPS}
        return str(write_recipe(tmp_path / "recipe", **about, **changes))

    return write


def wordpiece(texts: list[str], **changes) -> PreTrainedTokenizerFast:
    return WordPiece(name="wordpiece", vocab_size=500, **changes).learn(iter([texts]), Counter("".join(texts)), 512)


def unigram(text: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<unk>", "<pad>", "<cls>", "<sep>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    named = {f"{name}_token": f"<{name}>" for name in ("unk", "pad", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def test_chinese_trains_and_its_report_counts_sentences_and_characters(launch, recipe_of, tmp_path):
    texts = [chinese(number) for number in range(40)]
    ended = launch(tmp_path, recipe_of(texts, wordpiece(texts)))
    assert ended.status == 0, ended.said
    report = (tmp_path / "runs/small/data_report.md").read_text()
    counted = [line.split("|")[2:4] for line in report.splitlines() if line.startswith(("| training", "| held out"))]
    assert sum(int(number.replace(",", "")) for _, number in counted) == 30 * 40
    assert "training: unknown to the tokenizer are 0 tokens (0.00%)" in report
    assert "Warning" not in report
    assert "an epoch shows" in report


def test_unknown_characters_are_warned_of(launch, recipe_of, tmp_path):
    texts = [chinese(number) for number in range(40)]
    ended = launch(tmp_path, recipe_of(texts, wordpiece(texts, limit_alphabet=150), objective={"next_sentence": False}))
    assert ended.status == 0, ended.said
    report = (tmp_path / "runs/small/data_report.md").read_text()
    assert "Warning: what is unknown is neither read nor learnt" in report
    assert "raise vocabulary.limit_alphabet" in report


def test_identical_documents_are_counted(launch, recipe_of, tmp_path):
    ended = launch(tmp_path, recipe_of([ENGLISH] * 30 + [chinese(0), chinese(1)], wordpiece([ENGLISH, chinese(0)])))
    assert ended.status == 0, ended.said
    report = (tmp_path / "runs/small/data_report.md").read_text()
    training, held_out = (line for line in report.splitlines() if line.startswith("- Of the "))
    assert int(training.split(", ")[1].split()[0]) >= 20
    assert "are the same as a training document" in held_out
    assert "word for word the same, so their label is wrong" in report


def test_a_tokenizer_with_a_gap_in_its_ids_trains(launch, recipe_of, tmp_path):
    texts = [ENGLISH[number:] for number in range(40)]
    recipe = recipe_of(texts, wordpiece(texts))
    path = tmp_path / "tokenizer" / "tokenizer.json"
    made = json.loads(path.read_text())
    made["model"]["vocab"] = {token: number + 40 * (number > 30) for token, number in made["model"]["vocab"].items()}
    path.write_text(json.dumps(made))
    ended = launch(tmp_path, recipe)
    assert ended.status == 0, ended.said
    size = json.loads((tmp_path / "runs/small/model/config.json").read_text())["vocab_size"]
    assert size == max(made["model"]["vocab"].values()) + 1
    vocabulary = Vocabulary.of(load_tokenizer(tmp_path / "tokenizer"))
    assert set(vocabulary.ordinary) <= set(made["model"]["vocab"].values())


def test_whole_words_are_refused_where_no_word_has_two_tokens(launch, recipe_of, tmp_path):
    texts = [chinese(number) for number in range(40)]
    latin = wordpiece([*texts, "and some latin words"])  # its vocabulary has pieces that go on a word, the text none
    for tokenizer in (wordpiece(texts), latin):
        recipe = recipe_of(texts, tokenizer, objective={"name": "bert", "whole_word_mask": True})
        ended = launch(tmp_path, recipe)
        assert ended.status == 2, ended.said
        assert "objective.whole_word_mask can do nothing" in ended.said.splitlines()[-1]
    assert launch(tmp_path, recipe, "--objective.whole_word_mask", "False").status == 0


def words_in(tokenizer: PreTrainedTokenizerFast, text: str) -> list[str]:
    """The text's words as they are hidden whole, by their tokens' places in it."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = np.array([encoded["input_ids"]])
    first = words(ids, np.ones_like(ids, bool), True, Vocabulary.of(tokenizer))[0]
    spans = encoded["offset_mapping"]
    return [text[spans[start][0] : spans[np.flatnonzero(first == start)[-1]][1]].strip() for start in np.unique(first)]


@pytest.mark.parametrize("kind", ["wordpiece", "byte-bpe", "unigram"])
def test_a_word_is_whole_by_the_tokenizers_own_marks(kind):
    made = {
        "wordpiece": lambda: wordpiece([ENGLISH], min_frequency=100),
        "byte-bpe": lambda: BytePairs(name="byte-bpe", vocab_size=300).learn(iter([[ENGLISH]]), Counter(ENGLISH), 512),
        "unigram": lambda: unigram(ENGLISH),
    }[kind]()
    text = "the oldest man (tokenized) sat by seas, at last"
    assert len(made.tokenize(text)) > 15
    found = [word for word in words_in(made, text) if word]  # a blank before a bracket may be a token of its own
    assert found == ["the", "oldest", "man", "(", "tokenized", ")", "sat", "by", "seas", ",", "at", "last"]


def test_whole_words_are_refused_by_a_vocabulary_without_marks():
    letters = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE({"[PAD]": 0, "[MASK]": 1, "a": 2, "b": 3}, [])), pad_token="[PAD]"
    )
    with pytest.raises(ValueError, match=r"objective\.whole_word_mask can do nothing: the tokenizer does not mark"):
        Bert(name="bert", whole_word_mask=True).check(Text.of(letters, ""))


def test_marks_of_blanks_are_refused_where_a_text_has_none():
    tokenizer = BytePairs(name="byte-bpe", vocab_size=260).learn(iter([[chinese(0)]]), Counter(chinese(0)), 512)
    ids = torch.tensor([tokenizer("".join(HAN[:30]))["input_ids"]])
    batch = Batch(
        {"input_ids": ids}, {"positions": torch.tensor([0]), "tokens": ids[0, :1]}, {}, (ids.shape[1],), ids.numel()
    )
    vocabulary = Vocabulary.of(tokenizer)
    vocabulary.special.update(pad=-1, cls=-1, sep=-1)
    with pytest.raises(ValueError, match=r"a word of this text has \d+ token\(s\) on average"):
        Bert(name="bert", whole_word_mask=True).remarks([batch], Text(vocabulary))


def test_a_random_replacement_is_a_token_that_a_text_can_become(tmp_path):
    more = ["[unused1]", "##字", "字", "##!", "Ü", "zebra", "##bra"]
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", *more]))
    tokenizer = load_tokenizer(tmp_path)
    tokenizer.backend_tokenizer.normalizer.lowercase = True
    tokens = tokenizer.convert_ids_to_tokens(Vocabulary.of(tokenizer).ordinary.tolist())
    assert sorted(tokens) == sorted(["a", "字", "zebra", "##bra"])


def test_an_option_of_pairs_is_refused_where_none_are_made():
    with pytest.raises(ValueError, match=r"short_seq_probability is 0\.5, but it shortens pairs"):
        Bert(name="bert", next_sentence=False, short_seq_probability=0.5)
