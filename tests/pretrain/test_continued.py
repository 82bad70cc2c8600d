"""Does training start from what a checkpoint has learnt, and is it said what starts random?"""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForPreTraining

from corpus.text.medium import Text
from pretrain.continued import check_tokenizer, take_weights
from pretrain.objectives.bert import Bert
from pretrain.objectives.causal_lm import CausalLM
from tokenizer.load import load_tokenizer, tokenizer_hash

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
         "max_position_embeddings": 32}  # fmt: skip


@pytest.fixture(scope="module")
def text(tokenizer_folder) -> Text:
    tokenizer = load_tokenizer(tokenizer_folder)
    return Text.of(tokenizer, tokenizer_hash(tokenizer))


@pytest.fixture(scope="module")
def saved(text, tmp_path_factory):
    """Save a small model of a kind, with the head of an Auto class, and return its folder."""

    def save(opener, kind="bert", **changes):
        torch.manual_seed(1)
        vocabulary = text.vocabulary
        config = AutoConfig.for_model(kind, **SIZES, vocab_size=vocabulary.size, pad_token_id=vocabulary.pad, **changes)
        folder = tmp_path_factory.mktemp(kind)
        opener.from_config(config).save_pretrained(folder)
        text.words.save_pretrained(folder)
        return str(folder)

    return save


def began(objective, text, source, **changes):
    torch.manual_seed(0)
    model = objective.build({"from": source, **changes}, text)
    return model, take_weights(model, source)


def test_all_weights_are_the_checkpoints(saved, text):
    source = saved(AutoModelForPreTraining)
    model, origin = began(Bert(name="bert"), text, source, hidden_dropout_prob=0.25)
    theirs = AutoModelForPreTraining.from_pretrained(source).state_dict()
    assert all(torch.equal(theirs[name], weight) for name, weight in model.state_dict().items())
    assert model.config.hidden_dropout_prob == model.bert.embeddings.dropout.p == 0.25
    assert (origin.random, origin.left) == ((), ())
    assert origin.in_short == f"pretrained further, from the weights of {source}"


def test_what_starts_random_is_named(saved, text):
    _, origin = began(Bert(name="bert"), text, saved(AutoModelForMaskedLM))
    pooler = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert set(origin.random) == pooler | {"cls.seq_relationship.weight", "cls.seq_relationship.bias"}
    _, origin = began(Bert(name="bert", next_sentence=False), text, saved(AutoModel))
    assert "cls.predictions.transform.dense.weight" in origin.random
    assert not any(name.startswith("bert.") for name in origin.random)
    assert "random weights for cls.predictions" in origin.in_short
    _, origin = began(Bert(name="bert", next_sentence=False), text, saved(AutoModelForPreTraining))
    assert origin.random == ()
    assert "cls.seq_relationship.weight" in origin.left
    assert any("left out" in line for line in origin.lines())


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_new_positions_and_words_keep_the_old_rows(saved, text, kind):
    sizes = {"hidden_dim": 64} if kind == "distilbert" else {}
    source = saved(AutoModelForMaskedLM, kind, **sizes)
    more = text.vocabulary.size + 5
    model, origin = began(
        Bert(name="bert", next_sentence=False), text, source, max_position_embeddings=48, vocab_size=more
    )
    theirs = AutoModelForMaskedLM.from_pretrained(source)
    words = model.get_input_embeddings().weight
    assert words.shape[0] == more
    assert torch.equal(words[:-5], theirs.get_input_embeddings().weight)
    assert model.get_output_embeddings().weight is words
    positions = model.base_model.embeddings.position_embeddings.weight
    assert torch.equal(positions[:32], theirs.base_model.embeddings.position_embeddings.weight)
    assert positions[32:].abs().min(1).values.max() > 0
    assert any(part.startswith("the last 16 rows of") for part in origin.random)
    assert any(part.startswith("the last 5 rows of") for part in origin.random)


def test_a_causal_lm_goes_on_too(text, saved):
    source = saved(AutoModelForCausalLM, "llama")
    tokenizer = load_tokenizer(source)
    tokenizer.add_special_tokens({"eos_token": "[SEP]"})
    own = Text.of(tokenizer, "")
    model, origin = began(CausalLM(name="causal_lm", block_size=32), own, source)
    theirs = AutoModelForCausalLM.from_pretrained(source).state_dict()
    assert all(torch.equal(theirs[name], weight) for name, weight in model.state_dict().items())
    assert origin.random == ()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"max_position_embeddings": 16}, "is 16, and .* has 32; it can grow, not shrink"),
        ({"num_hidden_layers": 3}, "of its sizes only vocab_size and max_position_embeddings may be changed"),
        ({"hidden_size": 64}, "of its sizes only vocab_size and max_position_embeddings may be changed"),
        ({"hiden_dropout_prob": 0.1}, "unknown key 'model.hiden_dropout_prob'; did you mean 'hidden_dropout_prob'"),
        ({"model_type": "roberta"}, "model.model_type is 'roberta', and .* is a bert; leave it out"),
    ],
)
def test_a_change_that_cannot_be_is_refused(saved, text, changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        began(Bert(name="bert"), text, saved(AutoModelForPreTraining), **changes)


def test_a_start_that_cannot_be_is_refused(saved, text, tmp_path):
    source = saved(AutoModelForPreTraining)
    with pytest.raises(ValueError, match="start: local is a start from random weights"):
        began(Bert(name="bert", start="local"), text, source)
    with pytest.raises(ValueError, match="bert is an encoder"):
        began(CausalLM(name="causal_lm"), Text.of(with_end(text), ""), source)
    with pytest.raises(FileNotFoundError):
        began(Bert(name="bert"), text, "./nowhere")
    damaged = tmp_path / "damaged"
    shutil.copytree(source, damaged)
    weights = load_file(damaged / "model.safetensors")
    weights.pop("bert.encoder.layer.0.output.dense.weight")
    save_file(weights, damaged / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights of the encoder, such as bert\.encoder\.layer\.0"):
        began(Bert(name="bert"), text, str(damaged))


def with_end(text):
    tokenizer = load_tokenizer(text.words.name_or_path)
    tokenizer.add_special_tokens({"eos_token": "[SEP]"})
    return tokenizer


def test_the_tokenizer_is_the_models_own_or_an_extension_of_it(saved, text):
    source = saved(AutoModelForPreTraining)
    check_tokenizer(text.words, source)
    longer = load_tokenizer(source)
    longer.add_tokens(["Pemberley", "Netherfield"])
    check_tokenizer(longer, source)
    size = text.vocabulary.size + 2
    with pytest.raises(ValueError, match=f"say model.vocab_size: {size}, and the new ones start random"):
        began(Bert(name="bert"), Text.of(longer, ""), source)
    assert began(Bert(name="bert"), Text.of(longer, ""), source, vocab_size=size)[1].random
    other = json.loads(longer.backend_tokenizer.to_str())
    vocabulary = other["model"]["vocab"]
    first, second = [token for token in vocabulary if token.isalpha()][:2]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    longer._tokenizer = Tokenizer.from_str(json.dumps(other))
    with pytest.raises(ValueError, match="the embeddings would be those of other tokens"):
        check_tokenizer(longer, source)


def test_a_run_goes_on_from_a_run_and_says_so(tmp_path, write_recipe, launch):
    path = write_recipe(tmp_path, plan={"max_steps": 20, "eval_steps": 20})
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    before = evaluations(tmp_path / "runs/small")[-1]
    recipe = yaml.safe_load(path.read_text())
    del recipe["tokenizer"]
    recipe |= {"name": "further", "model": {"from": "runs/small"}, "schedule": {"warmup_ratio": 1.0}}
    recipe["plan"] |= {"max_steps": 4, "eval_steps": 1}
    recipe["optimizer"] = {"learning_rate": 1e-6}
    (tmp_path / "further.yaml").write_text(yaml.safe_dump(recipe))
    ended = launch(tmp_path, "further.yaml")
    assert ended.status == 0, ended.said
    assert "the weights of runs/small: all of them" in ended.said
    after = evaluations(tmp_path / "runs/further")[0]  # after a step of next to nothing
    assert after["eval_masked_lm_loss"] == pytest.approx(before["eval_masked_lm_loss"], abs=1e-2)
    assert (
        "pretrained further, from the weights of runs/small" in (tmp_path / "runs/further/model/README.md").read_text()
    )
    # The same, said on the command line, with longer examples than the model has positions
    ended = launch(tmp_path, "further.yaml", "--name", "longer", "--objective.max_seq_length", "48")
    assert ended.status == 2
    assert "objective.max_seq_length is 48, but the model has 32 positions" in ended.said
    ended = launch(
        tmp_path, "further.yaml", "--name", "longer", "--objective.max_seq_length", "48",
        "--model.max_position_embeddings", "48",
    )  # fmt: skip
    assert ended.status == 0, ended.said
    assert "random are the last 16 rows of bert.embeddings.position_embeddings.weight" in ended.said


def test_from_is_an_option_of_any_recipe(tmp_path, write_recipe, launch, saved):
    write_recipe(tmp_path, plan={"max_steps": 2, "eval_steps": 2})
    ended = launch(tmp_path, "recipe.yaml", "--model.from", saved(AutoModelForPreTraining))
    assert ended.status == 0, ended.said
    assert "all of them" in ended.said


def evaluations(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "eval_masked_lm_loss" in line]
