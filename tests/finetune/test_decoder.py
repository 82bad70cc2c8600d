"""Is a decoder fine-tuned as OpenAI GPT was: framed, read at the last token, with a language model's loss beside?"""

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import GPT2LMHeadModel, pipeline

from finetune.ask.predict_split import encode
from finetune.batches import make_batch, pad_examples
from finetune.decoder import FRAME, WithLanguageModel, add_frame, refuse_encoder
from finetune.model import open_model
from finetune.questions import QUESTIONS
from finetune.tasks.task import find_task
from tokenizer.load import load_tokenizer

RTE = find_task("glue/rte")


@pytest.fixture
def tokenizer(small_gpt):
    return load_tokenizer(str(small_gpt))


def rows():
    return Dataset.from_dict(
        {"sentence1": ["the cat sat", "a dog"], "sentence2": ["it was yes", "on"], "label": [1, 0]}
    )


def test_two_texts_are_framed_and_parted(tokenizer):
    own = add_frame(tokenizer)
    columns = encode(RTE, rows(), tokenizer, 32).columns
    text = own.decode(columns["input_ids"][0])
    assert text.startswith("<|start|>the cat sat")
    assert text.endswith("it was yes<|extract|>")
    assert text.count("<|delimiter|>") == 1


def test_the_given_tokenizer_stays_as_it_was_and_a_framed_one_too(tokenizer, small_model):
    own = add_frame(tokenizer)
    assert tokenizer("ab")["input_ids"] == tokenizer("ab", add_special_tokens=False)["input_ids"]
    assert not set(FRAME) & set(tokenizer.get_vocab())
    assert add_frame(own) is own
    bert = load_tokenizer(str(small_model))
    assert add_frame(bert) is bert


def opened(small_gpt, tokenizer, head):
    torch.manual_seed(0)
    return open_model(str(small_gpt), head, RTE, add_frame(tokenizer), {}, fresh=False)


def batch(tokenizer, head):
    own = add_frame(tokenizer)
    columns = encode(RTE, rows(), own, 32).columns
    x = pad_examples(columns, np.arange(2), own.pad_token_id, longest=32)
    y = head.target(columns, [0, 1], x["input_ids"].shape[1])
    return make_batch(x, y, head.counts(x, y))


def test_the_new_tokens_get_embeddings_and_the_old_ones_keep_theirs(small_gpt, tokenizer):
    model, fresh = opened(small_gpt, tokenizer, QUESTIONS["classification"])
    before = GPT2LMHeadModel.from_pretrained(small_gpt).transformer.wte.weight
    after = model.get_input_embeddings().weight
    assert len(after) == len(before) + 3 == len(add_frame(tokenizer)) == model.config.vocab_size
    assert torch.equal(after[:-3], before)
    assert after[-3:].std() > 0.01
    assert "the embeddings of 3 tokens that frame the texts" in fresh


def test_the_language_models_loss_is_that_of_transformers(small_gpt, tokenizer):
    """Weighted 0.5 beside the task's; the padding is asked for nothing."""
    head = WithLanguageModel(QUESTIONS["classification"], 0.5)
    model, _ = opened(small_gpt, tokenizer, QUESTIONS["classification"])
    model.eval()
    whole = batch(tokenizer, head)
    sums = head.loss(model, whole)
    assert set(sums) == set(whole.counts) == {"loss", "language_model"}
    plain = QUESTIONS["classification"].loss(model, whole)["loss"]
    assert sums["loss"].item() == pytest.approx(plain.item(), rel=1e-6)
    judge = GPT2LMHeadModel(model.config).eval()
    judge.transformer.load_state_dict(model.transformer.state_dict())
    judge.tie_weights()
    labels = whole.x["input_ids"].masked_fill(whole.x["attention_mask"] == 0, -100)
    theirs = judge(**whole.x, labels=labels).loss * whole.counts["language_model"]
    assert sums["language_model"].item() == pytest.approx(0.5 * theirs.item(), rel=1e-5)


def test_it_is_one_forward_pass_and_both_losses_teach(small_gpt, tokenizer):
    head = WithLanguageModel(QUESTIONS["classification"], 0.5)
    model, _ = opened(small_gpt, tokenizer, QUESTIONS["classification"])
    passes = []
    model.transformer.register_forward_hook(lambda *_: passes.append(1))
    for term in ("loss", "language_model"):
        model.zero_grad()
        head.loss(model, batch(tokenizer, head))[term].backward()
        assert model.transformer.h[0].mlp.c_fc.weight.grad.abs().sum() > 0
    assert len(passes) == 2


def test_an_encoder_sees_what_it_would_have_to_predict(small_gpt, small_model, tokenizer):
    refuse_encoder(opened(small_gpt, tokenizer, QUESTIONS["classification"])[0])
    bert = load_tokenizer(str(small_model))
    model, _ = open_model(str(small_model), QUESTIONS["classification"], RTE, bert, {}, fresh=False)
    with pytest.raises(ValueError, match="auxiliary_lm is for decoders"):
        refuse_encoder(model)


@pytest.mark.slow
def test_a_run_of_it_learns_both_and_opens_with_the_same_answers(
    tmp_path, launch, write_finetune_recipe, small_gpt, labelled
):
    write_finetune_recipe(tmp_path, model=str(small_gpt), auxiliary_lm=0.5, predict_test=True)
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    folder = tmp_path / "runs/small/glue-rte/seed-0"
    reports = [line for line in (folder / "metrics.jsonl").read_text().splitlines() if "language_model" in line]
    assert reports
    texts = [row.split("\t")[1:] for row in (labelled / "RTE/test.tsv").read_text().splitlines()[1:]]
    judge = pipeline("text-classification", str(folder / "model"))
    said = [answer["label"] for answer in judge([{"text": a, "text_pair": b} for a, b in texts])]
    kept = [
        line.split('"prediction": "')[1].split('"')[0]
        for line in (folder / "glue-rte-test.jsonl").read_text().splitlines()
    ]
    assert said == kept
    write_finetune_recipe(tmp_path, auxiliary_lm=0.5)
    ended = launch(tmp_path, "recipe.yaml", "--name", "encoder")
    assert ended.status == 2
    assert "auxiliary_lm is for decoders" in ended.said.splitlines()[-1]
