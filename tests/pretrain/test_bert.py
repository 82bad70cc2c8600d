"""Is what is hidden and asked what BERT's paper says, and is the loss transformers' own?"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForPreTraining

from corpus.text.chapters import StoredText
from corpus.text.medium import Text
from corpus.text.units import SegmentPairs
from corpus.text.vocabulary import Vocabulary
from pretrain.examples import ChapterExamples, fixed_batches
from pretrain.objectives.bert import Bert
from tokenizer.load import load_tokenizer

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
LENGTH = 64


@pytest.fixture
def objective():
    return Bert(name="bert")


@pytest.fixture
def store(store_of):
    chance = np.random.default_rng(0)
    return store_of([chance.integers(1, 25, size=chance.integers(2, 60)).tolist() for _ in range(150)])


@pytest.fixture
def vocabulary(store, vocabulary_of):
    return vocabulary_of(store)


def chapter_of(store):
    return StoredText(store, seed=0, chapter_tokens=store.num_tokens).chapter(0, 0, {})


def whole_epoch(store, objective, vocabulary, number=0):
    epoch = ChapterExamples(chapter_of(store), objective, Text(vocabulary), LENGTH, number)
    return epoch, epoch.batch(np.arange(len(epoch.order)))


def restored(batch):
    ids = batch.x["input_ids"].clone().flatten()
    ids[batch.y["positions"]] = batch.y["tokens"]
    return ids.view_as(batch.x["input_ids"])


def test_the_answers_put_back_are_the_text(store, objective, vocabulary):
    epoch, batch = whole_epoch(store, objective, vocabulary)
    t = epoch.units.take(np.arange(len(epoch.order)))
    for row, ids in enumerate(restored(batch).numpy()):
        a, b = t.a_length[row], t.b_length[row]
        text = t.ids[row]
        expected = [1, *text[1 : a + 1], 2, *text[a + 2 : a + 2 + b], 2]
        padding = [0] * (len(ids) - len(expected))
        assert ids.tolist() == expected + padding
        assert batch.x["token_type_ids"][row].tolist() == [0] * (a + 2) + [1] * (b + 1) + padding
        assert batch.x["attention_mask"][row].tolist() == [1] * len(expected) + padding
    assert batch.counts == {"masked_lm": len(batch.y["tokens"]), "next_sentence": len(t.index)}
    assert (batch.y["is_random_next"].numpy() == t.is_random_next).all()


@pytest.mark.parametrize("rate", [0.01, 0.15, 0.4])
def test_the_masked_share_of_each_row_is_the_nearest_to_the_rate(store, vocabulary, rate):
    _, batch = whole_epoch(store, Bert(name="bert", mlm_probability=rate), vocabulary)
    maskable = batch.x["attention_mask"].sum(1).numpy() - 3
    masked = np.bincount(batch.y["positions"].numpy() // batch.x["input_ids"].shape[1], minlength=len(maskable))
    assert (np.abs(masked - rate * maskable) <= np.where(rate * maskable < 1, 1, 0.5)).all()
    assert masked.min() >= 1


def test_special_tokens_are_never_hidden_nor_put_in(store, objective, vocabulary):
    _, batch = whole_epoch(store, objective, vocabulary)
    assert batch.y["tokens"].min() >= 4
    shown = batch.x["input_ids"]
    assert ((shown == 1).sum(1) == 1).all()
    assert ((shown == 2).sum(1) == 2).all()
    assert ((shown == 0).sum(1) == (1 - batch.x["attention_mask"]).sum(1)).all()


def test_eighty_ten_ten_over_all_ordinary_words(store, objective, vocabulary):
    # Ordinary are forty of the ids, from all over: whatever is drawn must be one of them, and each as often.
    vocabulary = replace(vocabulary, ordinary=np.linspace(4, vocabulary.size - 1, 40, dtype=np.int64))
    became, replacements = [], []
    for number in range(5):
        _, batch = whole_epoch(store, objective, vocabulary, number)
        shown, true = batch.x["input_ids"].flatten()[batch.y["positions"]], batch.y["tokens"]
        became += [torch.where(shown == 3, 0, torch.where(shown == true, 2, 1))]
        replacements += [shown[(shown != 3) & (shown != true)]]
    kinds, words = torch.cat(became), torch.cat(replacements).numpy()
    share = torch.bincount(kinds).numpy() / len(kinds)
    five_sigma = 5 * np.sqrt(0.25 / len(kinds))
    assert share == pytest.approx([0.8, 0.1, 0.1], abs=five_sigma)
    drawn, times = np.unique(words, return_counts=True)
    assert drawn.tolist() == vocabulary.ordinary.tolist()
    assert times == pytest.approx(len(words) / 40, abs=5 * np.sqrt(len(words) / 40))


def test_a_word_that_replaces_is_no_special_token(tokenizer_folder):
    tokenizer = load_tokenizer(tokenizer_folder)
    ordinary = set(Vocabulary.of(tokenizer).ordinary.tolist())
    assert ordinary == set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids)


def test_every_place_of_a_row_is_hidden_equally_often(store, objective, vocabulary):
    _, batch = whole_epoch(store, objective, vocabulary)
    real, width = batch.x["attention_mask"].sum(1) == LENGTH, batch.x["input_ids"].shape[1]
    row, column = batch.y["positions"] // width, batch.y["positions"] % width
    found = torch.bincount(column[real[row]], minlength=LENGTH)[1:-1].numpy()
    assert found == pytest.approx(found.mean(), abs=5 * np.sqrt(found.mean()) + 0.05 * found.mean())


def test_masks_differ_between_epochs_and_not_between_batchings(store, objective, vocabulary):
    units = SegmentPairs(chapter_of(store), LENGTH, 0.1, 0)
    split = [objective.split(units.take(np.arange(32)), Text(vocabulary), key) for key in (0, 0, 1)]
    assert torch.equal(split[0].x["input_ids"], split[1].x["input_ids"])
    overlap = set(split[0].y["positions"].tolist()) & set(split[2].y["positions"].tolist())
    assert len(overlap) < 0.3 * len(split[0].y["positions"])
    order = np.random.default_rng(0).permutation(32)
    for part in np.array_split(order, 5):
        batch = objective.split(units.take(part), Text(vocabulary), 0)
        width = batch.x["input_ids"].shape[1]
        for name in batch.x:
            assert torch.equal(batch.x[name], split[0].x[name][part, :width])


# The loss


@pytest.fixture
def trio(corpus, tokenizer_folder, objective, tmp_path):
    """A vocabulary of words, a model and a batch of the small text."""
    from corpus.text.source import Source
    from corpus.text.store import prepare

    tokenizer = load_tokenizer(tokenizer_folder)
    text, _ = prepare([Source(kind="text", path=str(corpus))], tokenizer, "hash", tmp_path, 0.1, processes=1)
    vocabulary = Vocabulary.of(tokenizer)
    torch.manual_seed(0)
    model = objective.build(SMALL, Text(vocabulary))
    epoch = ChapterExamples(chapter_of(text), objective, Text(vocabulary), LENGTH, 0)
    return tokenizer, model, fixed_batches(epoch, 16, 16)[0]


def test_loss_and_gradient_are_those_of_transformers(trio, objective):
    _, model, batch = trio
    ours = objective.loss(model, batch)
    mean = ours["masked_lm"] / batch.counts["masked_lm"] + ours["next_sentence"] / batch.counts["next_sentence"]
    mean.backward()
    gradient = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    labels = torch.full_like(batch.x["input_ids"], -100).flatten()
    labels[batch.y["positions"]] = batch.y["tokens"]
    theirs = model(
        **batch.x, labels=labels.view_as(batch.x["input_ids"]), next_sentence_label=batch.y["is_random_next"]
    )
    assert mean.item() == pytest.approx(theirs.loss.item(), abs=1e-5)
    theirs.loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradient[name], parameter.grad, msg=name, rtol=1e-4, atol=1e-6)


def test_what_is_measured_is_what_transformers_predicts(trio, objective):
    _, model, batch = trio
    model.eval()
    with torch.inference_mode():
        sums, whole = objective.loss(model, batch), model(**batch.x)
    found = objective.metrics({name: float(value) for name, value in sums.items()}, batch.counts)
    words = whole.prediction_logits.flatten(0, 1)[batch.y["positions"]].argmax(-1)
    assert found["masked_lm_accuracy"] == pytest.approx((words == batch.y["tokens"]).float().mean().item())
    relation = whole.seq_relationship_logits.argmax(-1)
    assert found["next_sentence_accuracy"] == pytest.approx(
        (relation == batch.y["is_random_next"]).float().mean().item()
    )
    assert found["masked_lm_perplexity"] == pytest.approx(np.exp(found["masked_lm_loss"]))
    # A model that has seen nothing is no better than chance, and the unigram guesser is better than it.
    assert found["masked_lm_loss"] == pytest.approx(np.log(model.config.vocab_size), rel=0.05)
    assert objective.baselines([batch])["masked_lm_loss"] < found["masked_lm_loss"]


@pytest.mark.parametrize("opener", [AutoModelForMaskedLM, AutoModelForPreTraining])
def test_the_saved_model_opens_whole_in_transformers(trio, tmp_path, opener):
    _, model, batch = trio
    model.save_pretrained(tmp_path / "model")
    opened, report = opener.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["mismatched_keys"]
    model.eval(), opened.eval()
    with torch.inference_mode():
        ours, theirs = model(**batch.x).prediction_logits, opened(**batch.x)
    assert torch.equal(ours, theirs.prediction_logits if "prediction_logits" in theirs else theirs.logits)


def test_examples_are_shown_in_words(trio, objective):
    tokenizer, _, batch = trio
    line = objective.show(batch, Text.of(tokenizer, ""))[0]
    assert line.startswith("- B is ")
    assert "[CLS]" in line
    assert "[MASK: " in line
    assert "[PAD]" not in line


# What is refused


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"num_hiden_layers": 2}, r"unknown key 'model.num_hiden_layers'; did you mean 'num_hidden_layers'"),
        ({"model_type": "gpt2"}, "model.model_type is 'gpt2'; the bert objective trains bert, .*roberta"),
        ({"vocab_size": 100}, "model.vocab_size is 100, smaller than the tokenizer's 500"),
        ({"hidden_size": 33}, "33"),
    ],
)
def test_an_impossible_model_is_refused(objective, settings, complaint):
    vocabulary = Vocabulary(500, {"pad": 0, "cls": 1, "sep": 2, "mask": 3}, np.arange(4, 500))
    with pytest.raises(ValueError, match=complaint):
        objective.build({**SMALL, **settings}, Text(vocabulary))


@pytest.mark.parametrize(
    "settings", [{"mlm_probability": 0}, {"mlm_probability": 1.5}, {"short_seq_probability": -0.1}]
)
def test_an_impossible_rate_is_refused_by_name(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Bert(name="bert", **settings)


# Whole words, and masked LM alone


def test_whole_words_are_hidden_with_all_their_pieces(store, vocabulary):
    chance = np.random.default_rng(1)
    continues = chance.random(vocabulary.size) < 0.4
    continues[:4] = False
    vocabulary = replace(vocabulary, continues=continues)
    _, batch = whole_epoch(store, Bert(name="bert", whole_word_mask=True), vocabulary)
    true = restored(batch)
    hidden = torch.zeros(true.numel(), dtype=torch.bool)
    hidden[batch.y["positions"]] = True
    hidden = hidden.view_as(true)
    goes_on = torch.from_numpy(continues)[true] & (batch.x["attention_mask"] == 1)
    begins_text = torch.from_numpy(np.isin(np.roll(true.numpy(), 1, 1), (1, 2)))  # a piece cut off from its word
    together = goes_on[:, 1:] & ~begins_text[:, 1:]
    assert together.any()
    assert (hidden[:, 1:] == hidden[:, :-1])[together].all()
    assert hidden.sum() / (batch.num_units - 3 * len(true)) == pytest.approx(0.15, abs=0.01)


def test_masked_lm_alone_sees_the_whole_text_and_asks_no_next_sentence(store, vocabulary):
    alone = Bert(name="bert", next_sentence=False)
    _, batch = whole_epoch(store, alone, vocabulary)
    assert set(batch.counts) == {"masked_lm"}
    text = restored(batch)
    tokens = text[text >= 4]
    assert sorted(tokens.tolist()) == list(range(4, 4 + store.num_tokens))  # every token of the store, once
    assert (text[:, 0] == 1).all()
    assert batch.num_units / batch.room > 0.99
    model = alone.build(SMALL, Text(vocabulary))
    with torch.inference_mode():
        losses = alone.loss(model.eval(), batch)
    assert float(losses["masked_lm"]) / batch.counts["masked_lm"] == pytest.approx(np.log(vocabulary.size), rel=0.05)
    assert not hasattr(model.cls, "seq_relationship")
