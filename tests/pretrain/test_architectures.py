"""Is every architecture judged as transformers judges it, and trained with all its weights?"""

from collections import Counter

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from corpus.text.chapters import StoredText
from corpus.text.medium import Text
from corpus.text.source import Source
from corpus.text.store import prepare
from engine.run.architecture import count_positions
from engine.train.flops import count_flops
from networks import heads
from pretrain.examples import ChapterExamples
from pretrain.objectives.bert import Bert
from pretrain.objectives.causal_lm import APART, CausalLM
from tokenizer.learn import BytePairs
from tokenizer.load import load_tokenizer

SIZE = 32
SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "hidden_dim": 48,
    "max_position_embeddings": SIZE, "num_key_value_heads": 2, "head_dim": 16, "embedding_size": 16,
}  # fmt: skip
MASKED = ("bert", "ernie", "megatron-bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "albert",
          "deberta-v2", "modernbert", "mpnet", "convbert")  # fmt: skip
CAUSAL = ("gpt2", "openai-gpt", "gpt_neox", "opt", "llama", "mistral", "qwen2", "qwen3", "olmo2", "smollm3", "gemma2",
          "cohere")  # fmt: skip
UNKNOWN = ("mpnet", "convbert", "gemma2", "cohere")  # to networks.heads


def settings_of(kind: str, size: int = SIZE) -> dict:
    """Small sizes under the names that a kind of model has for them, without dropout."""
    config = AutoConfig.for_model(kind)
    known = config.to_dict()
    sizes = {name: value for name, value in SMALL.items() if name in set(known) | set(config.attribute_map)}
    drops = {name: 0.0 for name, value in known.items() if "drop" in name and isinstance(value, float)}
    padded = {"roberta", "xlm-roberta", "camembert", "mpnet"}  # keep the first positions for padding
    return {"model_type": kind, **drops, **sizes, "max_position_embeddings": size + 2 * (kind in padded)}


@pytest.fixture(scope="module")
def masked(corpus, tokenizer_folder, tmp_path_factory):
    tokenizer = load_tokenizer(tokenizer_folder)
    store, _ = prepare([Source("text", str(corpus))], tokenizer, "hash", tmp_path_factory.mktemp("m"), 0.1, processes=1)
    return Text.of(tokenizer, "hash"), StoredText(store, 0, store.num_tokens).chapter(0, 0, {})


@pytest.fixture(scope="module")
def causal(corpus, tmp_path_factory):
    texts = [path.read_text(encoding="utf-8") for path in sorted(corpus.iterdir())]
    tokenizer = BytePairs(name="byte-bpe", vocab_size=400).learn(iter([texts]), Counter(), SIZE)
    store, _ = prepare([Source("text", str(corpus))], tokenizer, "hash", tmp_path_factory.mktemp("c"), 0.1, processes=1)
    return Text.of(tokenizer, "hash"), StoredText(store, 0, store.num_tokens).chapter(0, 0, {})


def batch_of(objective, text, chapter, rows=8):
    return ChapterExamples(chapter, objective, text, SIZE, key=3).batch(np.arange(rows))


def built(objective, kind, text):
    torch.manual_seed(0)
    model = objective.build(settings_of(kind), text)
    with torch.no_grad():  # larger than at the start, so that a wrong turn shows
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(3)
    return model


def labels_of(batch):
    labels = torch.full((batch.room,), -100)
    labels[batch.y["positions"]] = batch.y["tokens"]
    return labels.view_as(batch.x["input_ids"])


def assert_equal(objective, model, batch, published, **inputs):
    """Our sum, gradients and right guesses beside those of `published`, a model of transformers with our weights."""
    published.load_state_dict(model.state_dict())
    labels, (term,) = labels_of(batch), batch.counts
    theirs = published(**inputs, labels=labels)
    theirs.loss.backward()
    mean = objective.loss(model, batch)[term] / batch.counts[term]
    mean.backward()
    assert mean.item() == pytest.approx(theirs.loss.item(), rel=1e-5)
    expected = {name: parameter.grad for name, parameter in published.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], msg=name, rtol=1e-3, atol=1e-5)
    with torch.no_grad():
        found = objective.loss(model.eval(), batch)
    right = theirs.logits.flatten(0, 1)[batch.y["positions"]].argmax(-1) == batch.y["tokens"]
    assert float(found[f"{term}_correct"]) == right.sum()
    assert count_flops(model, objective.loss, batch) > 0
    assert heads.is_known(model.config.model_type) == (model.config.model_type not in UNKNOWN)


@pytest.mark.parametrize("kind", MASKED)
def test_a_masked_lm_has_the_loss_and_gradient_of_transformers(kind, masked):
    text, chapter = masked
    objective = Bert(name="bert", next_sentence=False)
    batch, model = batch_of(objective, text, chapter), built(objective, kind, text)
    published = AutoModelForMaskedLM.from_config(model.config, attn_implementation="eager")
    inputs = {name: values for name, values in batch.x.items() if name != "token_type_ids"}  # all of them are 0
    assert_equal(objective, model, batch, published, **inputs)


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_causal_lm_has_the_loss_and_gradient_of_transformers(kind, causal):
    text, chapter = causal
    objective = CausalLM(name="causal_lm")
    batch, model = batch_of(objective, text, chapter), built(objective, kind, text)
    published = AutoModelForCausalLM.from_config(model.config, attn_implementation="eager")
    cache = {} if kind == "openai-gpt" else {"use_cache": False}
    assert_equal(objective, model, batch, published, shift_labels=labels_of(batch), **batch.x, **cache)
    assert model.get_input_embeddings().padding_idx is None  # a token that would never be learnt


@pytest.mark.parametrize("kind", APART)
def test_positions_that_begin_again_keep_documents_apart(kind, causal):
    text, chapter = causal
    objective = CausalLM(name="causal_lm", across_documents=False)
    batch, model = batch_of(objective, text, chapter, rows=64), built(objective, kind, text).eval()
    (row, begin), *_ = [place for place in (batch.x["position_ids"] == 0).nonzero().tolist() if place[1] > 4]
    end = begin + 1 + int((batch.x["position_ids"][row, begin + 1 :] > 0).long().cumprod(0).sum())
    alone = {"input_ids": batch.x["input_ids"][row : row + 1, begin:end]}
    with torch.no_grad():
        packed = heads.encode(model, batch.x)[0][row, begin:end]
        torch.testing.assert_close(packed, heads.encode(model, alone)[0][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", MASKED)
def test_the_longest_example_fits_the_positions(kind, masked):
    text, _ = masked
    model = Bert(name="bert", next_sentence=False).build(settings_of(kind), text).eval()
    ids = torch.full((1, count_positions(model)), 7)
    assert SIZE <= ids.shape[1] <= SIZE + 1
    with torch.no_grad():
        assert heads.encode(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})[0].isfinite().all()


@pytest.mark.parametrize("kind", heads.NEXT_SENTENCE)
def test_pairs_are_asked_of_all_that_have_a_head_for_them(kind, masked):
    text, chapter = masked
    objective = Bert(name="bert")
    batch, model = batch_of(objective, text, chapter), built(objective, kind, text)
    theirs = model(**batch.x, labels=labels_of(batch), next_sentence_label=batch.y["is_random_next"].long())
    sums = objective.loss(model, batch)
    assert sum(float(sums[term]) / count for term, count in batch.counts.items()) == pytest.approx(
        theirs.loss.item(), rel=1e-5
    )


def test_the_deberta_of_the_v3_weights_projects_onto_its_embeddings(masked):
    """`legacy: false` has another head, whose projection is no module."""
    text, chapter = masked
    objective = Bert(name="bert", next_sentence=False)
    torch.manual_seed(0)
    model = objective.build({**settings_of("deberta-v2"), "legacy": False}, text)
    batch = batch_of(objective, text, chapter)
    inputs = {name: values for name, values in batch.x.items() if name != "token_type_ids"}
    assert_equal(objective, model, batch, AutoModelForMaskedLM.from_config(model.config), **inputs)


def test_a_special_token_has_the_id_of_the_tokenizer(masked, causal):
    """transformers' own are those of a larger vocabulary, beyond the embeddings."""
    text, _ = masked
    config = Bert(name="bert", next_sentence=False).build(settings_of("modernbert"), text).config
    words = text.vocabulary
    assert (config.pad_token_id, config.cls_token_id, config.sep_token_id) == (words.pad, words.cls, words.sep)
    config = CausalLM(name="causal_lm").build(settings_of("opt"), causal[0]).config
    assert (config.pad_token_id, config.eos_token_id) == (None, causal[0].vocabulary.eos)


@pytest.mark.parametrize(
    ("objective", "model", "complaint"),
    [
        (Bert(name="bert"), "roberta", "roberta has no head for the next sentence .* say objective.next_sentence"),
        (Bert(name="bert", next_sentence=False), "robert", "did you mean 'roberta'"),
        (Bert(name="bert", next_sentence=False), "bart", "bart is an encoder with a decoder"),
        (Bert(name="bert", next_sentence=False, start="local"), "roberta", "start: local is a start of bert"),
        (CausalLM(name="causal_lm"), "bert", "bert is an encoder, whose tokens see those behind them"),
        (CausalLM(name="causal_lm"), "xlnet", "lets a token see those behind it"),
        (CausalLM(name="causal_lm", across_documents=False), "opt", "and not for model_type opt; leave across_docum"),
    ],
)  # fmt: skip
def test_what_an_architecture_cannot_do_is_said(objective, model, complaint, masked, causal):
    text = (masked if isinstance(objective, Bert) else causal)[0]
    settings = {"model_type": model}
    if model == "xlnet":
        settings |= {"d_model": 32, "n_layer": 1, "n_head": 2, "d_inner": 32, "d_head": 16}
    with pytest.raises(ValueError, match=complaint):
        objective.build(settings, text)


@pytest.mark.parametrize("kind", ["mpnet", "qwen3"])
def test_a_run_of_any_architecture_ends_in_a_model_that_transformers_opens(
    kind, causal, tmp_path, launch, write_recipe
):
    if kind in CAUSAL:
        causal[0].words.save_pretrained(tmp_path / "tokenizer")
        path = write_recipe(tmp_path, objective={"name": "causal_lm"}, tokenizer=str(tmp_path / "tokenizer"))
    else:
        path = write_recipe(tmp_path, objective={"name": "bert", "next_sentence": False})
    recipe = yaml.safe_load(path.read_text())
    recipe |= {"model": settings_of(kind), "plan": {**recipe["plan"], "max_steps": 2, "eval_steps": 2}}
    path.write_text(yaml.safe_dump(recipe))
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    assert ("makes its guesses at all positions" in ended.said) == (kind in UNKNOWN)
    folder = tmp_path / "runs/small/model"
    opener = AutoModelForCausalLM if kind in CAUSAL else AutoModelForMaskedLM
    assert not opener.from_pretrained(folder, output_loading_info=True)[1]["missing_keys"]
    assert load_tokenizer(folder).model_max_length <= SIZE
    assert f"A {kind} model of" in (folder / "README.md").read_text()
