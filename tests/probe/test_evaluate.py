"""Are the figures those that a careful person would work out with transformers alone?"""

import json
import math
from collections import Counter

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification

from probe.evaluate import main
from probe.language_models import open_language_model
from probe.losses import cut, judge_alone, judge_causal, judge_masked
from tokenizer.learn import BytePairs
from tokenizer.load import load_tokenizer

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 32}


def save(opener, folder, tokenizer, kind, **sizes):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SIZES, **sizes}, vocab_size=len(tokenizer), initializer_range=0.5)
    opener.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def texts(corpus):
    return [path.read_text(encoding="utf-8") for path in sorted(corpus.iterdir())][:3]


@pytest.fixture(scope="module")
def causal(corpus, tmp_path_factory):
    texts = [path.read_text(encoding="utf-8") for path in sorted(corpus.iterdir())]
    tokenizer = BytePairs(name="byte-bpe", vocab_size=400).learn(iter([texts]), Counter(), 32)
    return save(AutoModelForCausalLM, tmp_path_factory.mktemp("gpt2"), tokenizer, "gpt2")


@pytest.fixture(scope="module")
def masked(tokenizer_folder, tmp_path_factory):
    sizes = {"intermediate_size": 64}
    return save(
        AutoModelForMaskedLM, tmp_path_factory.mktemp("bert"), load_tokenizer(tokenizer_folder), "bert", **sizes
    )


@pytest.mark.parametrize(("window", "stride"), [(32, 16), (32, 32), (20, 1), (32, 7)])
def test_each_token_is_judged_once_behind_enough_others(window, stride):
    for length in (1, 2, 19, 20, 32, 33, 100):
        ids = list(range(length))
        judged = []
        for part in cut(ids, window, stride):
            assert len(part.ids) <= window
            for place in range(part.first, len(part.ids)):
                assert place >= min(max(1, window - stride), part.ids[place])
                judged.append(part.ids[place])
        assert judged == ids[1:]


@pytest.mark.parametrize("stride", [16, 32])
def test_perplexity_and_bits_per_byte_are_those_of_the_model(causal, texts, stride):
    asked = open_language_model(causal)
    found = judge_causal(asked, texts, 32, stride)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(causal), load_tokenizer(causal)
    losses = []
    with torch.no_grad():
        for text in texts:
            ids = [tokenizer.eos_token_id, *tokenizer.encode(text)]
            for part in cut(ids, 32, stride):
                logits = model(torch.tensor([part.ids])).logits[0]
                answers = torch.tensor(part.ids[part.first :])
                losses.append(cross_entropy(logits[part.first - 1 : -1], answers, reduction="none"))
    loss = torch.cat(losses)
    assert found["tokens"] == len(loss) == sum(len(tokenizer.encode(text)) for text in texts)
    assert found["loss"] == pytest.approx(loss.mean().item(), abs=1e-3)
    assert found["perplexity"] == pytest.approx(math.exp(loss.mean()), rel=1e-3)
    size = sum(len(text.encode()) for text in texts)
    assert found["bits_per_byte"] == pytest.approx(loss.sum().item() / math.log(2) / size, rel=1e-3)
    assert found["unigram_loss"] < math.log(len(tokenizer))


def test_the_loss_by_place_adds_up(causal, texts):
    found = judge_causal(open_language_model(causal), texts, 32, 32, by_place=True)
    assert list(found["by_place"]) == ["4", "8", "12", "16", "20", "24", "28", "32"]
    assert min(found["by_place"].values()) < found["loss"] < max(found["by_place"].values())


def test_a_masked_lm_is_asked_what_was_hidden(masked, texts):
    asked = open_language_model(masked)
    found = judge_masked(asked, texts, 32, 0.15, 0, seed=0)
    tokens = sum(len(asked.encode(text)) for text in texts)
    assert found["tokens"] == pytest.approx(0.15 * tokens, rel=0.15)  # rounded in each short window
    assert found == judge_masked(asked, texts, 32, 0.15, 0, seed=0)
    assert found != judge_masked(asked, texts, 32, 0.15, 0, seed=1)


def test_the_pseudo_perplexity_hides_each_token_alone(masked, texts):
    asked = open_language_model(masked)
    tokenizer, model = asked.tokenizer, AutoModelForMaskedLM.from_pretrained(masked).eval()
    rows = [
        tokenizer(text, truncation=True, max_length=length)["input_ids"]
        for text, length in zip(texts, (12, 20, 9), strict=True)
    ]
    losses = []
    with torch.no_grad():
        for ids in rows:
            for place in range(1, len(ids) - 1):
                x = torch.tensor([ids])
                x[0, place] = tokenizer.mask_token_id
                losses.append(-model(x).logits[0, place].log_softmax(-1)[ids[place]])
    found = judge_alone(asked, rows, 10_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, torch.stack(losses), rtol=1e-3, atol=1e-4)
    assert len(judge_alone(asked, rows, 7, torch.Generator().manual_seed(0))) == 7


# The program


def test_models_of_both_kinds_are_evaluated_on_one_text(causal, masked, corpus, tmp_path, launch_program):
    argv = (causal, masked, "--corpus", f"text:{corpus}", "--max_mb", "0.004", "--pseudo_tokens", "20")
    ended = launch_program(main, tmp_path, *argv, "--format", "json")
    assert ended.status == 0, ended.said
    found = json.loads(ended.said[ended.said.index("{") :])
    assert [one["kind"] for one in found.values()] == ["causal", "masked"]
    assert all(3000 < one["bytes"] <= 4000 for one in found.values())
    ended = launch_program(main, tmp_path, *argv)
    assert ended.status == 0, ended.said
    for word in ("perplexity", "bits per byte", "unigram loss", "pseudo perplexity", "stride"):
        assert word in ended.said


def test_a_recipe_names_what_it_holds_out(causal, corpus, tmp_path, launch_program, write_recipe):
    write_recipe(tmp_path)
    ended = launch_program(main, tmp_path, causal, "--corpus", "recipe.yaml", "--format", "json")
    assert ended.status == 0, ended.said
    (found,) = json.loads(ended.said[ended.said.index("{") :]).values()
    assert 1 < found["documents"] < 20  # of 40, about 15 %


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ((), "name a model, or several"),
        (("MODEL",), "is no run, so there is no recipe to say on what: say --corpus RECIPE or KIND:PATH"),
        (("MODEL", "--corpus", "novels"), "it is a recipe (.yaml), or KIND:PATH with a KIND of wikipedia, books"),
        (("MODEL", "--corpus", "text:nowhere"), "nowhere"),
        (("MODEL", "--window", "64", "--corpus", "text:nowhere"), "--window is 64, and"),
        (("MODEL", "--window", "1", "--corpus", "text:nowhere"), "judges a token in a window of 2 or more"),
        (("MASKED", "--window", "2", "--corpus", "text:nowhere"), "judges a token in a window of 3 or more"),
        (("MODEL", "--max_mb", "inf"), "--max_mb is inf; it is a finite number from 0.001 up"),
        (("MODEL", "--max_mb", "1e-6"), "--max_mb is 1e-06; it is a finite number from 0.001 up"),
        (("MODEL", "--by_place", "--stride", "4"), "--by_place takes windows that do not overlap"),
        (("CLASSIFIER", "--corpus", "text:nowhere"), "BertForSequenceClassification, which is no masked and no causal"),
    ],
)  # fmt: skip
def test_a_mistake_is_told(causal, masked, tokenizer_folder, tmp_path, launch_program, argv, complaint):
    if "CLASSIFIER" in argv:
        kind = AutoModelForSequenceClassification
        argv = (save(kind, tmp_path / "own", load_tokenizer(tokenizer_folder), "bert", intermediate_size=64), *argv[1:])
    ended = launch_program(main, tmp_path, *({"MODEL": causal, "MASKED": masked}.get(word, word) for word in argv))
    assert ended.status == 2, ended.said
    assert complaint in ended.said
    assert "Traceback" not in ended.said
