"""Is every token of the text asked once, from what stands before it, and is the model GPT-2?"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, pipeline

from corpus.text.chapters import StoredText
from corpus.text.medium import Text
from corpus.text.units import Block
from engine.train.flops import count_flops
from pretrain.examples import ChapterExamples
from pretrain.objectives.causal_lm import CausalLM
from tokenizer.learn import BytePairs

SMALL = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
}
LENGTH = 32
END = 2  # the id that ends a document in the stores of the fixtures


@pytest.fixture
def objective():
    return CausalLM(name="causal_lm")


@pytest.fixture
def store(store_of):
    chance = np.random.default_rng(0)
    return store_of([chance.integers(1, 9, size=chance.integers(1, 6)).tolist() for _ in range(40)])


@pytest.fixture
def vocabulary(store, vocabulary_of):
    return vocabulary_of(store)


def examples_of(store, objective, vocabulary):
    chapter = StoredText(store, seed=0, chapter_tokens=store.num_tokens).chapter(0, 0, {})
    return chapter, ChapterExamples(chapter, objective, Text(vocabulary), LENGTH, key=0)


def whole_chapter(store, objective, vocabulary):
    chapter, examples = examples_of(store, objective, vocabulary)
    return chapter, examples.batch(np.arange(len(examples.units)))


def text_of(chapter):
    """The chapter's documents, each with its end."""
    offsets, first = chapter.store.offsets(chapter.documents)
    documents = [chapter.store.tokens(np.arange(offsets[begin], offsets[end - 1])) for begin, end in pairwise(first)]
    return [np.append(document, END).tolist() for document in documents]


def test_each_token_is_asked_once_after_those_before_it(store, objective, vocabulary):
    chapter, batch = whole_chapter(store, objective, vocabulary)
    text = [token for document in text_of(chapter) for token in document]
    assert batch.x["input_ids"].shape[1] == LENGTH
    # All but the very first token, which nothing stands before; the ends of documents too.
    assert batch.y["tokens"].tolist() == text[1:]
    shown = batch.x["input_ids"].flatten()[batch.y["positions"]]
    assert shown.tolist() == text[:-1]
    assert batch.counts == {"next_token": len(text) - 1}
    assert set(batch.x) == {"input_ids"}  # GPT-2 reads across documents


def test_a_document_is_judged_packed_as_it_is_alone(store, vocabulary):
    objective = CausalLM(name="causal_lm", across_documents=False)
    chapter, batch = whole_chapter(store, objective, vocabulary)
    torch.manual_seed(0)
    model = objective.build(SMALL, Text(vocabulary)).eval()
    with torch.inference_mode():
        packed = model(**batch.x, use_cache=False).logits.flatten(0, 1)
        place, compared = 0, 0
        for number, document in enumerate(text_of(chapter)):
            # A document but the first is begun by the end of the one before it, and is asked from there on.
            alone = document[:-1] if number == 0 else [END, *document[:-1]]
            begin = place if number == 0 else place - 1
            place += len(document)
            if begin // LENGTH != (begin + len(alone) - 1) // LENGTH:
                continue  # cut in two by a block's end
            logits = model(torch.tensor([alone])).logits[0]
            torch.testing.assert_close(packed[begin : begin + len(alone)], logits, rtol=1e-4, atol=1e-5)
            compared += 1
        assert compared > 10
        # As GPT-2 is published, what stands before is seen.
        seen = model(input_ids=batch.x["input_ids"], use_cache=False).logits.flatten(0, 1)
    assert (seen - packed).abs().max() > 0.01


@pytest.mark.parametrize("across", [True, False])
def test_loss_and_gradient_are_those_of_transformers(store, vocabulary, across):
    objective = CausalLM(name="causal_lm", across_documents=across)
    _, batch = whole_chapter(store, objective, vocabulary)
    torch.manual_seed(0)
    model = objective.build(SMALL, Text(vocabulary))
    (objective.loss(model, batch)["next_token"] / batch.counts["next_token"]).backward()
    gradient = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    # Theirs has a mask, the published form of GELU, and logits for every place.
    config = GPT2Config(**SMALL, vocab_size=vocabulary.size, attn_implementation="eager")
    published = GPT2LMHeadModel(config)
    published.load_state_dict(model.state_dict())
    labels = torch.full((batch.room,), -100)
    labels[batch.y["positions"]] = batch.y["tokens"]
    labels = labels.view_as(batch.x["input_ids"])
    theirs = published(**batch.x, shift_labels=labels, labels=labels, use_cache=False).loss
    theirs.backward()
    for name, parameter in published.named_parameters():
        torch.testing.assert_close(gradient[name], parameter.grad, msg=name, rtol=1e-4, atol=1e-6)
    model.eval()
    with torch.inference_mode():
        sums = objective.loss(model, batch)
        logits = published.eval()(**batch.x, use_cache=False).logits.flatten(0, 1)[batch.y["positions"]]
    found = objective.metrics({name: float(value) for name, value in sums.items()}, batch.counts)
    assert found["next_token_loss"] == pytest.approx(theirs.item(), abs=1e-5)
    assert found["next_token_loss"] == pytest.approx(cross_entropy(logits, batch.y["tokens"]).item(), abs=1e-5)
    assert found["next_token_perplexity"] == pytest.approx(math.exp(found["next_token_loss"]))
    assert found["next_token_accuracy"] == pytest.approx((logits.argmax(-1) == batch.y["tokens"]).float().mean().item())


def test_the_baseline_is_the_best_guess_without_context(objective, store_of, vocabulary_of):
    store = store_of([[3]] * 32)
    _, batch = whole_chapter(store, objective, vocabulary_of(store))
    # A document is three tokens that stand nowhere else, and an end: in 127 tokens asked, 32 ends and 95 single ones.
    found = objective.baselines([batch])
    assert found["next_token_accuracy"] == pytest.approx(32 / 127)
    assert found["next_token_loss"] == pytest.approx(95 / 127 * math.log(127) + 32 / 127 * math.log(127 / 32))


def test_it_starts_as_the_paper_does(objective, vocabulary):
    torch.manual_seed(0)
    model = objective.build({**SMALL, "hidden_size": 64, "num_hidden_layers": 8}, Text(vocabulary))
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            expected = 0.02 / math.sqrt(2 * 8) if "c_proj" in name else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name
    assert model.lm_head.weight is model.transformer.wte.weight
    assert model.config.eos_token_id == model.config.bos_token_id == END


def test_its_arithmetic_can_be_counted(objective, store, vocabulary):
    model = objective.build(SMALL, Text(vocabulary))
    _, batch = whole_chapter(store, objective, vocabulary)
    projection = 6 * batch.counts["next_token"] * SMALL["hidden_size"] * vocabulary.size
    layers = 6 * batch.room * 12 * SMALL["hidden_size"] ** 2 * SMALL["num_hidden_layers"]
    assert projection + layers < count_flops(model, objective.loss, batch) < 1.3 * (projection + layers)


# What it makes up, and who can open it


@pytest.fixture(scope="module")
def tokenizer(corpus):
    texts = [path.read_text(encoding="utf-8") for path in sorted(corpus.iterdir())]
    return BytePairs(name="byte-bpe", vocab_size=400).learn(iter([texts]), {}, 64)


@pytest.fixture
def talker(objective, tokenizer):
    torch.manual_seed(0)
    return objective.build(SMALL, Text.of(tokenizer, "")).eval()


def test_it_talks_the_same_for_the_same_seed_and_leaves_chance_alone(objective, tokenizer, talker):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    said = objective.samples(talker, Text.of(tokenizer, ""), seed=1, unseen=[])
    assert torch.equal(torch.rand(3), expected)
    assert said == objective.samples(talker, Text.of(tokenizer, ""), seed=1, unseen=[])
    assert said != objective.samples(talker, Text.of(tokenizer, ""), seed=2, unseen=[])
    assert said[0] != said[1]  # two from nothing differ
    assert said[2].startswith("- In the year `")
    assert all("\n" not in line and len(line) > 20 for line in said)


def test_text_ends_where_the_model_ends_it(objective, tokenizer, talker):
    with torch.no_grad():
        talker.transformer.ln_f.weight.zero_()
        talker.transformer.ln_f.bias.copy_(1e5 * talker.lm_head.weight[tokenizer.eos_token_id])
    assert objective.samples(talker, Text.of(tokenizer, ""), seed=0, unseen=[])[2] == "- In the year `<|endoftext|>`"


def test_the_saved_model_opens_in_transformers_and_writes(tokenizer, talker, tmp_path):
    talker.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    opened, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.equal(opened.eval()(ids).logits, talker(ids).logits)
    write = pipeline("text-generation", model=str(tmp_path))
    said = write("Kala", max_new_tokens=5, do_sample=False)[0]["generated_text"]
    assert said.startswith("Kala")


def test_examples_are_shown_token_by_token(objective, tokenizer, store_of):
    ids = tokenizer.encode("Kala mo.")
    text, end = Text.of(tokenizer, ""), tokenizer.eos_token_id
    block = Block(np.array([[*ids, end, end]]), np.array([[0] * (len(ids) + 1) + [-1]]), np.array([0]))
    line = objective.show(objective.split(block, text, 0), text)[0]
    tokens = [tokenizer.decode([token]) for token in ids]
    assert "".join(tokens) == "Kala mo."
    assert line == f"- `{'|'.join(tokens)}|<|endoftext|>`"


# What is refused


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"num_hiden_layers": 2}, r"unknown key 'model.num_hiden_layers'; did you mean 'num_hidden_layers'"),
        ({"model_type": "bertt"}, "the causal_lm objective trains gpt2, .*; did you mean 'bert'"),
        ({"vocab_size": 100}, "model.vocab_size is 100, smaller than the tokenizer's"),
        ({"hidden_size": 33}, "33"),
    ],
)
def test_an_impossible_model_is_refused(objective, vocabulary, settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        objective.build({**SMALL, **settings}, Text(vocabulary))
