"""Are the states of a text transformers' own, whatever stands beside it, and is a word's vector that of its pieces?"""

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    ConvBertConfig,
    ConvBertModel,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from networks.elmo import ElmoConfig, ElmoModel
from networks.lstm import LSTMConfig, LSTMForCausalLM
from networks.occurrences import BANK, LECTURE, Occurrence, cosines, read_marked, read_occurrences, read_words
from networks.states import StateReader
from networks.word_vectors import WordVectors, WordVectorsConfig

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "open", "a", "bank", "account", "on", "the", "river", "fish",
         "##ing", "##es", "."]  # fmt: skip
SIZE = len(WORDS)


@pytest.fixture
def pieces(tmp_path) -> PreTrainedTokenizerFast:
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return BertTokenizer.from_pretrained(tmp_path, do_lower_case=True)


@pytest.fixture
def words() -> PreTrainedTokenizerFast:
    """One token a word, nothing around a text, and an end of documents."""
    tokens = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=tokens, unk_token="[UNK]", eos_token="[SEP]", pad_token="[PAD]")


def make(kind: str):
    torch.manual_seed(0)
    small: dict[str, Any] = {"vocab_size": SIZE, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "bert":
        return BertModel(BertConfig(**small, intermediate_size=16, initializer_range=0.5)).eval()
    if kind == "convbert":  # its convolutions see the padding
        config = ConvBertConfig(**small | {"num_attention_heads": 4}, embedding_size=8, intermediate_size=16)
        return ConvBertModel(config).eval()
    if kind == "gpt":
        return GPT2LMHeadModel(GPT2Config(vocab_size=SIZE, n_embd=8, n_layer=2, n_head=2, n_positions=32)).eval()
    if kind == "lstm":
        return LSTMForCausalLM(LSTMConfig(vocab_size=SIZE, embedding_size=6, hidden_size=8, num_hidden_layers=2)).eval()
    if kind == "elmo":
        sizes: dict[str, Any] = {
            "projection_size": 6,
            "cell_size": 10,
            "character_size": 5,
            "filters": [[1, 8], [3, 8]],
        }
        return ElmoModel(ElmoConfig(**sizes, vocab_size=SIZE, separator_token_id=3)).eval()
    return WordVectors(WordVectorsConfig(vocab_size=SIZE, hidden_size=8)).eval()


def read(reader, *texts):
    return {texts[number]: (encoded, states) for number, encoded, states in reader.read(texts)}


@pytest.mark.parametrize("kind", ["bert", "convbert", "gpt", "lstm", "elmo", "vectors"])
def test_a_text_has_the_same_states_alone_and_beside_longer_ones(kind, pieces, words):
    reader = StateReader(make(kind), pieces if "bert" in kind else words, 32)
    assert reader.pads == (kind != "convbert")
    short, long = "open a bank", "the river fish on a bank on the river bank ."
    encoded, alone = read(reader, short)[short]
    beside = read(reader, short, long, "the")[short][1]
    assert len(encoded.ids) == {"bert": 5, "convbert": 5, "gpt": 4, "lstm": 4, "elmo": 5, "vectors": 3}[kind]
    assert len(alone) == (1 if kind == "vectors" else 3)
    for one, other in zip(alone, beside, strict=True):
        assert one.shape[0] == len(encoded.ids)
        assert torch.allclose(one, other, atol=1e-5)


def test_they_are_transformers_own(pieces):
    model = make("bert")
    (_, states) = read(StateReader(model, pieces, 32), LECTURE)[LECTURE]
    expected = model(**pieces(LECTURE, return_tensors="pt"), output_hidden_states=True).hidden_states
    for one, other in zip(states, expected, strict=True):
        assert torch.allclose(one, other[0], atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "context"), [("bert", "both"), ("elmo", "both"), ("gpt", "left"), ("lstm", "left"), ("vectors", "none")]
)
def test_what_a_state_depends_on_is_found_out(kind, context, words):
    assert StateReader(make(kind), words, 32).context == context


def test_a_text_that_is_too_long_is_cut_and_its_frame_is_kept(pieces, words):
    assert StateReader(make("bert"), pieces, 6).encode("the river " * 9).ids == [2, 10, 11, 10, 11, 3]
    assert StateReader(make("elmo"), words, 6).encode("the river " * 9).ids == [3, 10, 11, 10, 11, 3]


@pytest.mark.parametrize("kind", ["bert", "gpt", "elmo", "vectors"])
def test_a_text_says_whether_it_was_cut(kind, pieces, words):
    reader = StateReader(make(kind), pieces if kind == "bert" else words, 6)
    room = {"bert": 4, "gpt": 5, "elmo": 4, "vectors": 6}[kind]
    assert [reader.encode("the " * number).is_cut for number in (room, room + 1)] == [False, True]


def test_a_model_that_also_writes_is_refused(words):
    small = T5Config(vocab_size=SIZE, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0)
    with pytest.raises(ValueError, match="a t5 reads one text and writes another"):
        StateReader(T5ForConditionalGeneration(small), words, 32)


def test_words_are_marked_where_they_stand():
    first, second = read_marked(LECTURE)
    assert first.text == second.text == "Open a bank account on the river bank."
    assert (first.start, second.start) == (7, 33)
    assert [first.word, second.word] == ["bank", "bank"]
    assert read_marked("2 * 3 * 4 is no word, but a *long river* is")[0].word == "long river"
    assert read_marked("none") == []


def test_an_occurrence_is_the_mean_of_its_pieces(pieces):
    model, text = make("bert"), "a *fishing* river"
    reader = StateReader(model, pieces, 32)
    layers, known = read_occurrences(reader, [*read_marked(text), Occurrence("a zebra", 2, 7)])
    assert known == [True, False]
    states = model(**pieces("a fishing river", return_tensors="pt"), output_hidden_states=True).hidden_states
    for layer, expected in zip(layers, states, strict=True):
        assert torch.allclose(layer, expected[0, [2, 3]].mean(0, keepdim=True), atol=1e-6)


def test_a_word_alone_stands_in_its_special_tokens(pieces):
    model = make("bert")
    layers, known = read_words(StateReader(model, pieces, 32), ["fishes", "zebra", "Bank"])
    assert known == [True, False, True]
    states = model(torch.tensor([[2, 12, 14, 3]]), output_hidden_states=True).last_hidden_state
    assert torch.allclose(layers[-1][0], states[0, 1:3].mean(0), atol=1e-6)
    states = model(torch.tensor([[2, 7, 3]])).last_hidden_state
    assert torch.allclose(layers[-1][1], states[0, 1], atol=1e-6)


@pytest.mark.parametrize(("kind", "same"), [("vectors", True), ("elmo", False), ("gpt", False)])
def test_the_lectures_two_banks_have_one_vector_only_without_context(kind, same, words):
    text = LECTURE.lower()
    layers, _ = read_occurrences(StateReader(make(kind), words, 32), read_marked(text))
    assert bool(torch.allclose(layers[-1][0], layers[-1][1])) == same
    if kind == "elmo":  # its layer 0 sees the word alone
        assert torch.allclose(layers[0][0], layers[0][1])


def test_a_gpts_first_bank_does_not_know_what_follows(words):
    reader = StateReader(make("gpt"), words, 32)
    layers, _ = read_occurrences(reader, [*read_marked("a *bank* account"), *read_marked("a *bank* on the river")])
    assert torch.allclose(layers[-1][0], layers[-1][1], atol=1e-6)


def test_cosines_are_of_each_with_each():
    found = cosines(torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, -4.0]]))
    assert found.tolist() == [pytest.approx([0.6, 0.8, -1.0])]


def test_both_senses_of_the_example_have_as_many_sentences_with_one_bank_each():
    assert {len(texts) for texts in BANK.values()} == {10}
    for text in (text for texts in BANK.values() for text in texts):
        (one,) = read_marked(text)
        assert one.word == "bank"
