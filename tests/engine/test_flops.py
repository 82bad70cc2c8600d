"""Is the count of operations the one done by hand, whatever the kernel, and is the peak what this machine can reach?"""

import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertForPreTraining, GPT2Config, GPT2LMHeadModel

from engine.train.batch import Batch
from engine.train.cross_entropy import projected_cross_entropy
from engine.train.flops import (
    PASSED_OVER,
    UncountableError,
    card,
    count_flops,
    measured_peak,
    peak_flops,
    shape_of,
)
from networks.word_vector_tasks import WordVectorsForSequenceClassification
from networks.word_vectors import WordVectorsConfig

B, T, M, V, H, WIDE, LAYERS = 4, 64, 37, 1000, 64, 256, 3  # M masked positions of B x T


def bert(attention: str = "sdpa") -> BertForPreTraining:
    sizes: dict[str, Any] = {
        "hidden_size": H,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": WIDE,
    }
    model = BertForPreTraining(BertConfig(vocab_size=V, **sizes))
    model.set_attn_implementation(attention)
    return model


def pairs() -> Batch:
    ids = torch.randint(V, (B, T))
    real = (torch.arange(T) < torch.arange(T - B, T)[:, None]).long()  # some padding
    y = {"positions": torch.arange(M), "tokens": torch.zeros(M, dtype=torch.long), "b": torch.zeros(B).long()}
    x, sizes = {"input_ids": ids, "attention_mask": real}, tuple(real.sum(1).tolist())
    return Batch(x, y, {"words": M, "b": B}, sizes, B * T)


def judge(model: BertForPreTraining, batch: Batch) -> dict[str, Tensor]:
    encoded = model.bert(**batch.x)
    words = model.cls.predictions(encoded.last_hidden_state.flatten(0, 1)[batch.y["positions"]])
    relation = model.cls.seq_relationship(encoded.pooler_output)
    entropy = nn.functional.cross_entropy
    return {"words": entropy(words, batch.y["tokens"]), "b": entropy(relation, batch.y["b"])}


def by_hand() -> int:
    """A matrix product of (a, b) and (b, c) takes 2abc; backward takes two such, for its input and for its weight."""
    layer = (
        4 * 2 * B * T * H * H + 2 * 2 * B * T * H * WIDE + 2 * 2 * B * T * T * H
    )  # q k v o; the two of the MLP; qk, av
    heads = 2 * M * H * H + 2 * M * H * V + 2 * B * H * H + 2 * B * H * 2  # transform, vocabulary; pooler, relation
    return 3 * (LAYERS * layer + heads)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_bert_with_the_masked_positions_gathered_is_the_count_done_by_hand(attention):
    assert count_flops(bert(attention), judge, pairs()) == by_hand()


def test_what_is_computed_twice_to_save_memory_counts_once():
    model = bert()
    model.activation_checkpointing_enable()
    assert count_flops(model, judge, pairs()) == by_hand()
    assert model.is_activation_checkpointing


def test_counting_leaves_the_model_the_random_numbers_and_evaluation_mode_alone():
    model, batch = bert().eval(), pairs()
    before, weights = torch.get_rng_state(), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count_flops(model, judge, batch)
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_a_model_too_large_for_memory_is_counted():
    with torch.device("meta"):
        config = GPT2Config(n_embd=12288, n_layer=16, n_head=96, n_positions=2048)  # a sixth of GPT-3: 120 GB
        model = GPT2LMHeadModel(config)
    ids = torch.zeros(1, 2048, dtype=torch.long)
    batch = Batch({"input_ids": ids}, {}, {"next": 2048}, (ids.shape[1],) * len(ids), ids.numel())
    found = count_flops(model, lambda model, batch: {"next": model(batch.x["input_ids"]).logits.sum()}, batch)
    matrices = sum(weight.numel() for weight in model.parameters() if weight.ndim == 2)
    matrices -= (
        model.transformer.wpe.weight.numel()
    )  # looked up, not multiplied; the word embeddings are the projection
    attention = 12 * 16 * 12288 * 2048  # a token
    assert found == (6 * matrices + attention) * 2048


def test_an_outline_taken_before_a_model_is_sharded_counts_the_same_and_holds_nothing():
    model = bert()
    outline = shape_of(model)
    assert all(tensor.device.type == "meta" for tensor in outline.state_dict().values())
    assert outline.cls.predictions.decoder.weight is outline.bert.embeddings.word_embeddings.weight
    assert count_flops(outline, judge, pairs()) == by_hand()
    assert next(model.parameters()).device.type == "cpu"


def test_a_loss_whose_shapes_hang_on_numbers_is_told_from_one_that_is_wrong():
    def picks(model: BertForPreTraining, batch: Batch) -> dict[str, Tensor]:
        states = model.bert(**batch.x).last_hidden_state
        return {"words": states[batch.x["attention_mask"].bool()].sum()}

    with pytest.raises(UncountableError):
        count_flops(bert(), picks, replace(pairs(), y={}, counts={"words": 1}))
    with pytest.raises(KeyError):
        count_flops(bert(), lambda model, batch: {"words": batch.y["no such"]}, pairs())


class Squared(torch.autograd.Function):
    """(x w)^2, summed, with a backward pass of its own in pieces, as a fused kernel has it."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return sum((piece @ weight).square().sum() for piece in x.split(5))

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        for_x, for_weight = torch.empty_like(x), torch.zeros_like(weight)
        for start in range(0, len(x), 5):
            piece = x[start : start + 5]
            slope = 2 * upstream * (piece @ weight)
            for_x[start : start + 5] = slope @ weight.T
            for_weight.addmm_(piece.T, slope)
        return for_x, for_weight


def test_the_products_inside_a_function_with_its_own_backward_are_counted():
    model = nn.Linear(8, 6, bias=False)

    def loss(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"square": Squared.apply(batch.x["rows"].requires_grad_(), model.weight.T)}

    batch = Batch({"rows": torch.zeros(17, 8)}, {}, {"square": 17}, (1,) * 17, 17)
    assert count_flops(model, loss, batch) == 4 * 2 * 17 * 8 * 6  # one forward, and three backward: one is done anew


def test_the_projection_that_makes_no_table_counts_as_if_it_did():
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=V, n_embd=H, n_layer=LAYERS, n_head=2, n_positions=T, bos_token_id=0, eos_token_id=0)
    )

    def loss(model: GPT2LMHeadModel, batch: Batch) -> dict[str, Tensor]:
        ids = batch.x["input_ids"]
        states = model.transformer(ids).last_hidden_state[:, :-1].flatten(0, 1)
        return {"next": projected_cross_entropy(states, model.lm_head.weight, None, ids[:, 1:].flatten())[0]}

    layer = 12 * 2 * B * T * H * H + 2 * 2 * B * T * T * H  # q k v o and the MLP; qk, av: in full, though causal
    batch = Batch({"input_ids": torch.randint(V, (B, T))}, {}, {"next": B * (T - 1)}, (T,) * B, B * T)
    assert count_flops(model, loss, batch) == 3 * (LAYERS * layer + 2 * B * (T - 1) * H * V)


def test_a_pair_that_is_read_as_two_texts_counts_what_reading_two_texts_takes():
    """The row is twice as wide as what the BiLSTM reads; a counter of the real computation is the oracle."""
    config = WordVectorsConfig(
        vocab_size=V, hidden_size=16, encoder_size=8, encoder_layers=1, classifier_size=8, num_labels=2,
        text_columns=["premise", "hypothesis"], frame_token_ids=[0], feature_dropout=0.0, classifier_dropout=0.0,
    )  # fmt: skip
    model = WordVectorsForSequenceClassification(config).train()
    ids = torch.randint(1, V, (B, 2 * T + 1))
    ids[:, T] = 0  # stands between two texts of T words
    labels = torch.zeros(B, dtype=torch.long)

    def loss(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"label": model(batch.x["input_ids"], labels=batch.y["labels"]).loss}

    batch = Batch({"input_ids": ids}, {"labels": labels}, {"label": B}, (ids.shape[1],) * B, ids.numel())
    with FlopCounterMode(display=False, custom_mapping=PASSED_OVER) as counter:
        loss(model, batch)["label"].backward()
    assert count_flops(model, loss, batch) == pytest.approx(counter.get_total_flops(), rel=0.03)


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A100 80GB PCIe", "A100"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA RTX A6000", "A6000"),
        ("NVIDIA RTX 6000 Ada Generation", "6000 Ada"),
        ("NVIDIA GeForce RTX 3090 Ti", "3090 Ti"),
        ("rtx4090", "4090"),
        ("a100", "A100"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),  # another chip
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),  # a seventh of one
        ("NVIDIA GH200 480GB", None),
    ],
)
def test_a_card_is_known_by_what_its_driver_calls_it_and_a_variant_is_not_taken_for_it(said, known):
    found = card(said)
    assert (found and found.name) == known


def test_a_cpu_is_measured_in_the_precision_it_trains_in():
    began = time.perf_counter()
    peak = peak_flops(Accelerator(cpu=True))
    assert time.perf_counter() - began < 2
    a = torch.ones(512, 512)
    took = []
    for _ in range(20):
        began = time.perf_counter()
        a @ a
        took.append(time.perf_counter() - began)
    reached = 2 * 512**3 / min(took) / torch.get_num_threads()
    assert 0.3 < reached * torch.get_num_threads() / peak < 1.5
    assert measured_peak(torch.bfloat16, 0.1) != pytest.approx(measured_peak(torch.float32, 0.1), rel=1e-6)
