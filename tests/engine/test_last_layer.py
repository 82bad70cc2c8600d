"""Does leaving out what no loss reads in BERT's last layer change nothing?"""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForPreTraining,
    BertForSequenceClassification,
    BertForTokenClassification,
)  # fmt: skip

from engine.train.batch import Batch
from engine.train.last_layer import columns_to_read, read_first, read_selectively
from pretrain.objectives.bert import Bert

B, T, V = 3, 12, 40


@pytest.fixture(params=["sdpa", "eager"])
def attention(request):
    return request.param


def model_of(pairs: bool, attention: str = "sdpa", layers: int = 2):
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "num_hidden_layers": layers, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "attn_implementation": attention,
    }  # fmt: skip
    config = BertConfig(vocab_size=V, **settings)
    return read_selectively((BertForPreTraining if pairs else BertForMaskedLM)(config))


def batch_of(pairs: bool) -> Batch:
    """Rows of different lengths, with one, three and two hidden places."""
    chance = torch.Generator().manual_seed(1)
    real = torch.arange(T) < torch.tensor([[T], [9], [7]])
    ids = torch.randint(V, (B, T), generator=chance)
    places = torch.tensor([4, T + 1, T + 2, T + 8, 2 * T + 3, 2 * T + 6])
    read, slots = map(torch.from_numpy, columns_to_read(places.numpy(), (B, T), pairs))
    y = {"positions": places, "tokens": ids.flatten()[places], "read": read, "slots": slots}
    if pairs:
        y["is_random_next"] = torch.tensor([0, 1, 1])
    x = {"input_ids": ids, "attention_mask": real.long(), "token_type_ids": torch.zeros_like(ids)}
    counts = {"masked_lm": len(places), **({"next_sentence": B} if pairs else {})}
    return Batch(x, y, counts, tuple(real.sum(1).tolist()), ids.numel())


def losses_by_transformers(model, batch):
    """Of every position, by the model's own forward pass."""
    found = model(**batch.x)
    logits = found.prediction_logits if "is_random_next" in batch.y else found.logits
    asked = logits.flatten(0, 1)[batch.y["positions"]]
    losses = {"masked_lm": functional.cross_entropy(asked, batch.y["tokens"], reduction="sum")}
    if "is_random_next" in batch.y:
        pairs = functional.cross_entropy(found.seq_relationship_logits, batch.y["is_random_next"], reduction="sum")
        losses["next_sentence"] = pairs
    return losses


@pytest.mark.parametrize("pairs", [True, False])
def test_losses_and_gradients_are_those_of_the_whole_layer(pairs, attention):
    model, batch = model_of(pairs, attention), batch_of(pairs)
    expected = losses_by_transformers(model, batch)
    usual = torch.autograd.grad(sum(expected.values()), list(model.parameters()), allow_unused=True)
    found = Bert(name="bert", next_sentence=pairs).loss(model.train(), batch)
    assert found.keys() == expected.keys()
    for name, loss in found.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-5)
    ours = torch.autograd.grad(sum(found.values()), list(model.parameters()), allow_unused=True)
    for name, own, right in zip(dict(model.named_parameters()), ours, usual, strict=True):
        torch.testing.assert_close(own, right, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", [BertForSequenceClassification, BertForMultipleChoice])
def test_a_head_that_reads_the_first_token_needs_no_other(kind, attention):
    config = model_of(True, attention).config
    usual, batch = kind(config), batch_of(True)
    ours = kind(config)
    ours.load_state_dict(usual.state_dict())
    shape = (1, B, T) if kind is BertForMultipleChoice else (B, T)
    x = {name: values.view(shape) for name, values in batch.x.items()}
    found = [model(**x).logits for model in (usual, read_first(ours))]
    torch.testing.assert_close(*found)
    for logits in found:
        logits.square().sum().backward()
    for own, right in zip(ours.parameters(), usual.parameters(), strict=True):
        torch.testing.assert_close(own.grad, right.grad, rtol=1e-4, atol=1e-6)


def test_a_head_that_reads_every_token_is_left_alone():
    model = BertForTokenClassification(model_of(True).config)
    assert read_first(model)(**batch_of(True).x).logits.shape[:2] == (B, T)


def test_activations_that_are_computed_twice_are_the_same():
    batch, found = batch_of(True), {}
    for checkpointing in (False, True):
        model = model_of(True).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        sum(Bert(name="bert").loss(model, batch).values()).backward()
        found[checkpointing] = [parameter.grad for parameter in model.parameters()]
    for own, right in zip(found[True], found[False], strict=True):
        assert torch.equal(own, right)


def test_the_last_layer_does_less_work():
    def work(**options) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model_of(True, layers=1).bert(**batch.x, **options)
        return counter.get_total_flops()

    batch = batch_of(True)
    assert work(read=batch.y["read"]) < 0.6 * work()


def test_the_parameters_keep_their_names(tmp_path):
    model = model_of(True)
    model.save_pretrained(tmp_path)
    opened, batch = BertForPreTraining.from_pretrained(tmp_path), batch_of(True)
    assert torch.equal(opened(**batch.x).prediction_logits, model(**batch.x).prediction_logits)


@pytest.mark.parametrize("first", [True, False])
def test_each_place_is_found_among_the_columns_that_are_read(first):
    places = np.array([5, 7, 23, 36, 37, 38])
    read, slots = columns_to_read(places, (4, 12), first)
    assert read.shape == (4, 3 + first)
    rows, at = np.divmod(slots, read.shape[1])
    assert (12 * rows + read[rows, at]).tolist() == places.tolist()
    if first:
        assert not read[:, 0].any()
