"""Does a text go on as the model writes, the same for a seed, and is a gap filled with the likeliest words?"""

from collections import Counter

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, pipeline

from probe.generate import main
from tokenizer.learn import BytePairs
from tokenizer.load import load_tokenizer

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 32}


@pytest.fixture(scope="module")
def causal(corpus, tmp_path_factory):
    texts = [path.read_text(encoding="utf-8") for path in sorted(corpus.iterdir())]
    tokenizer = BytePairs(name="byte-bpe", vocab_size=400).learn(iter([texts]), Counter(), 32)
    return saved(AutoModelForCausalLM, tokenizer, "gpt2", tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="module")
def masked(tokenizer_folder, tmp_path_factory):
    return saved(AutoModelForMaskedLM, load_tokenizer(tokenizer_folder), "bert", tmp_path_factory.mktemp("bert"))


def saved(opener, tokenizer, kind, folder):
    torch.manual_seed(0)
    opener.from_config(AutoConfig.for_model(kind, **SIZES, vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def say(tmp_path, launch_program):
    def said(*argv):
        ended = launch_program(main, tmp_path, *argv)
        assert ended.status == 0, ended.said
        return ended.said

    return said


def test_a_seed_gives_the_same_text_and_another_one_another(causal, say):
    first = say(causal, "--prompt", "Kala", "--samples", "2", "--max_new_tokens", "10")
    assert first == say(causal, "--prompt", "Kala", "--samples", "2", "--max_new_tokens", "10")
    assert first != say(causal, "--prompt", "Kala", "--samples", "2", "--max_new_tokens", "10", "--seed", "1")
    one, two = first.split("--- 1\n")[1].split("--- 2\n")
    assert one != two
    assert one.startswith("Kala")
    assert two.startswith("Kala")


def test_without_heat_it_is_what_transformers_writes_and_streaming_writes_the_same(causal, say, tmp_path):
    (tmp_path / "prompt.txt").write_text("Kala mo\n")
    greedy = ("--temperature", "0", "--max_new_tokens", "8")
    found = say(causal, "--file", "prompt.txt", *greedy)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(causal), load_tokenizer(causal)
    ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer.encode("Kala mo")]])
    made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
    assert found == tokenizer.decode(made[0], skip_special_tokens=True) + "\n"
    assert say(causal, "--file", "prompt.txt", *greedy, "--stream") == found
    (tmp_path / "marked.txt").write_text("Kala mo\n", encoding="utf-8-sig")
    assert say(causal, "--file", "marked.txt", *greedy) == found


def test_a_gap_is_filled_as_transformers_fills_it(masked, say):
    lines = say(masked, "--prompt", "Kala [MASK] mo [MASK].", "--best", "3").splitlines()
    expected = pipeline("fill-mask", model=masked, top_k=3)("Kala [MASK] mo [MASK].")
    assert len(lines) == 2
    for line, guesses in zip(lines, expected, strict=True):
        assert line == "  ".join(f"{guess['token_str']} {guess['score']:.1%}" for guess in guesses)


def test_more_guesses_than_there_are_tokens_are_all_of_them(masked, say):
    line = say(masked, "--prompt", "Kala [MASK] mo.", "--best", "1000000")
    assert len(line.split("%  ")) == len(load_tokenizer(masked))


@pytest.mark.parametrize(
    ("model", "argv", "complaint"),
    [
        ("masked", ("--prompt", "Kala mo."), "write [MASK] in the prompt for each"),
        ("masked", ("--prompt", "[MASK] " * 40), "reads 32: shorten it"),
        ("causal", ("--prompt", "Kala mo " * 40), "reads 32: shorten it"),
        ("causal", ("--prompt", "a", "--file", "b"), "--prompt and --file are both the prompt"),
        ("causal", ("--top_p", "0"), "--top_p is 0"),
        ("causal", ("--temperature", "1e-300"), "--temperature is 1e-300; it is a finite number from 0.001 up, or 0"),
        ("causal", ("--temperature", "inf"), "--temperature is inf"),
        ("causal", ("--best", "9"), "is a causal language model: leave out --best, which masked ones take"),
        (
            "masked",
            ("--prompt", "[MASK]", "--samples", "3", "--temperature", "0.5", "--stream", "--max_new_tokens", "7"),
            "leave out --max_new_tokens, --temperature, --samples, --stream, which causal ones take",
        ),
        ("causal", ("--file", "nowhere.txt"), "nowhere.txt"),
        ("causal", ("--file", "latin.txt"), "--file latin.txt: byte 1 is not UTF-8"),
    ],
)
def test_a_mistake_is_told(request, tmp_path, launch_program, model, argv, complaint):
    (tmp_path / "latin.txt").write_bytes("Käse".encode("latin-1"))
    ended = launch_program(main, tmp_path, request.getfixturevalue(model), *argv)
    assert ended.status == 2, ended.said
    assert complaint in ended.said
    assert "Traceback" not in ended.said
