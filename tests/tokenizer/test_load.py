"""Does a name open the right tokenizer, and does a broken vocabulary say where?"""

from pathlib import Path

import pytest
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoTokenizer, BertTokenizer

from tokenizer.load import BERT_SPECIAL_TOKENS, load_tokenizer, tokenizer_hash

TEXTS = {
    "plain": "The quick brown fox jumps over the lazy dog, doesn't it?",
    "accents": "Élève naïve, Ångström; e\u0301 written as two, İstanbul, ß, ﬁ",
    "chinese, japanese, korean": "東京は2015年 中文混在text 한국어",
    "emoji": "🤗 👩‍👩‍👧‍👦 🇩🇪 ❤️",
    "right to left": "שלום עולם! مرحبا \u202babc\u202c",
    "control characters": "a\x00b\x07c\ufffdd\u00ade\u200bf\tg\nh\r\ni\u00a0j\u3000k",
    "long words": "x" * 99 + " " + "y" * 100 + " " + "z" * 101 + " " + "internationalization" * 20,
    "special tokens in text": "What is [MASK]? [CLS] [SEP] [PAD] [UNK] [mask] <|endoftext|> end",
    "markup": "<p class='x'>1,234.5 -- $9.99 (50%)</p>\n\n\n    def f(x):\n        return x",
    "empty": "",
    "blank": "   ",
}


def write_vocabulary(folder: Path, *ordinary: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join([*BERT_SPECIAL_TOKENS, *ordinary]) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("kind", TEXTS)
def test_berts_published_vocabulary_gives_the_ids_of_a_published_model(data, kind):
    ours = load_tokenizer("vocab/bert-base-uncased")
    published = AutoTokenizer.from_pretrained(data / "checkpoints" / "all-MiniLM-L6-v2")
    assert len(ours) == 30_522
    assert ours(TEXTS[kind])["input_ids"] == published(TEXTS[kind], truncation=False)["input_ids"]
    pair = ours(TEXTS[kind], TEXTS["plain"])
    reference = published(TEXTS[kind], TEXTS["plain"], truncation=False)
    assert pair["input_ids"] == reference["input_ids"]
    assert pair["token_type_ids"] == reference["token_type_ids"]


@pytest.mark.parametrize("kind", TEXTS)
def test_gpt2s_published_vocabulary_gives_the_ids_of_its_files(data, kind):
    ours, folder = load_tokenizer("vocab/gpt2"), data / "vocab" / "gpt2"
    published = ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    published.add_special_tokens(["<|endoftext|>"])
    assert len(ours) == 50_257
    assert ours.eos_token_id == 50_256
    assert ours(TEXTS[kind])["input_ids"] == published.encode(TEXTS[kind]).ids
    assert ours.decode(ours(TEXTS[kind])["input_ids"], clean_up_tokenization_spaces=False) == TEXTS[kind]


@pytest.mark.parametrize(("name", "length"), [("bert-base-uncased", 512), ("gpt2", 1024)])
def test_a_bare_vocabulary_truncates_at_the_published_length(data, name, length):
    tokenizer = load_tokenizer(data / "vocab" / name)
    assert len(tokenizer("word " * 2000, truncation=True)["input_ids"]) == length


@pytest.mark.parametrize("name", ["vocab/bert-base-uncased", "vocab/gpt2", "checkpoints/all-MiniLM-L6-v2"])
def test_the_hash_outlives_saving_and_use(data, name, tmp_path):
    tokenizer = load_tokenizer(data / name)
    before = tokenizer_hash(tokenizer)
    tokenizer(["a", "b c d e"], truncation=True, max_length=4, padding=bool(tokenizer.pad_token))
    tokenizer.save_pretrained(tmp_path / "saved")
    assert tokenizer_hash(tokenizer) == before
    assert tokenizer_hash(load_tokenizer(tmp_path / "saved")) == before
    load_tokenizer(tmp_path / "saved").save_pretrained(tmp_path / "again")
    assert tokenizer_hash(load_tokenizer(tmp_path / "again")) == before


def test_other_ids_other_hash(tmp_path):
    one = load_tokenizer(write_vocabulary(tmp_path / "one", "cat", "dog"))
    swapped = load_tokenizer(write_vocabulary(tmp_path / "swapped", "dog", "cat"))
    cased = BertTokenizer(vocab=one.get_vocab(), do_lower_case=False)
    assert len({tokenizer_hash(one), tokenizer_hash(swapped), tokenizer_hash(cased)}) == 3


def test_a_bare_vocabulary_with_capitals_is_read_as_cased(tmp_path):
    cased = load_tokenizer(write_vocabulary(tmp_path / "cased", "Paris", "paris", "É"))
    assert cased.tokenize("Paris paris É") == ["Paris", "paris", "É"]
    uncased = load_tokenizer(write_vocabulary(tmp_path / "uncased", "paris", "e"))
    assert uncased.tokenize("Paris paris É") == ["paris", "paris", "e"]


def test_a_doubled_line_is_named(tmp_path):
    folder = write_vocabulary(tmp_path, "cat", "dog", "cat")
    with pytest.raises(ValueError, match=r"vocab\.txt:8: 'cat' stands on line 6 already"):
        load_tokenizer(folder)


def test_a_vocabulary_without_mask_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\ncat\ndog\n")
    with pytest.raises(ValueError, match=r"lacks \[MASK\]"):
        load_tokenizer(tmp_path)


def test_a_vocabulary_of_special_tokens_alone_is_refused(tmp_path):
    with pytest.raises(ValueError, match="5 tokens, 0 of them ordinary"):
        load_tokenizer(write_vocabulary(tmp_path / "bare"))
    BertTokenizer(vocab_file=str(tmp_path / "bare" / "vocab.txt")).save_pretrained(tmp_path / "saved")
    with pytest.raises(ValueError, match="5 tokens, 0 of them ordinary"):
        load_tokenizer(tmp_path / "saved")


def test_a_vocabulary_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_bytes("[PAD]\nÄ\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"vocab\.txt is not UTF-8 \(byte 6\)"):
        load_tokenizer(tmp_path)


def test_a_damaged_tokenizer_file_is_named(tmp_path):
    folder = tmp_path / "saved"
    load_tokenizer(write_vocabulary(tmp_path / "bare", "cat", "dog")).save_pretrained(folder)
    whole = (folder / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"{folder} cannot be read"):
        load_tokenizer(folder)


def test_nothing_there_names_the_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOZE_DATA", str(tmp_path / "data"))
    with pytest.raises(FileNotFoundError, match=f"nothing at {tmp_path / 'data/no/such/one'} and {tmp_path}"):
        load_tokenizer("no/such/one")
    with pytest.raises(FileNotFoundError, match="the Hub gives none"):
        load_tokenizer("someone/no-such-tokenizer")


def test_a_folder_without_a_vocabulary_says_what_it_needs(tmp_path):
    (tmp_path / "notes.md").write_text("hello")
    with pytest.raises(FileNotFoundError, match=r"it needs tokenizer\.json, or vocab\.txt, or"):
        load_tokenizer(tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        load_tokenizer(tmp_path / "notes.md")
