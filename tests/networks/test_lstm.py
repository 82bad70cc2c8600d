"""Is it the LSTM of torch, the same from disk, with text that its state does not change, and the paper's dropouts?"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from networks.lstm import DROPOUTS, LSTMConfig, LSTMForCausalLM, LSTMLayer, variational_dropout

ROOT = Path(__file__).parents[2]
SMALL = {"vocab_size": 50, "embedding_size": 12, "hidden_size": 20, "num_hidden_layers": 3}
END = 3


@pytest.fixture
def model():
    """A model whose guesses are not all alike."""
    torch.manual_seed(0)
    made = LSTMForCausalLM(LSTMConfig(**SMALL, eos_token_id=END, pad_token_id=END))
    with torch.no_grad():
        made.lstm.embeddings.weight.mul_(20)
        for parameter in made.lstm.layers.parameters():
            parameter.mul_(3)
    return made.eval()


@pytest.fixture
def ids():
    return torch.randint(4, 50, (3, 7), generator=torch.Generator().manual_seed(1))


def by_torch(model, ids):
    """The logits of the same weights in a stack of `torch.nn.LSTM`, by a loop over layers."""
    x = model.lstm.embeddings.weight[ids]
    for layer in model.lstm.layers:
        same = nn.LSTM(layer.input.in_features, layer.hidden_size, batch_first=True)
        weights = layer.input.weight, layer.recurrent.weight, layer.input.bias, layer.recurrent.bias
        same.load_state_dict(dict(zip(same.state_dict(), weights, strict=True)))
        x, _ = same(x)
    return linear(x, model.lstm.embeddings.weight, model.lm_head.bias)


def test_it_is_torchs_lstm(model, ids):
    found = model(ids, labels=ids)
    right = by_torch(model, ids)
    torch.testing.assert_close(found.logits, right)
    loss = cross_entropy(right[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    torch.testing.assert_close(found.loss, loss)


def test_its_gradient_is_the_slope_of_its_loss(ids):
    torch.manual_seed(0)
    model = LSTMForCausalLM(LSTMConfig(**SMALL)).double().eval()

    def loss():
        return cross_entropy(model(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())

    loss().backward()
    for parameter in model.parameters():
        way = torch.randn_like(parameter)
        losses = []
        for step in (1e-5, -2e-5):
            with torch.no_grad():
                parameter += step * way
                losses.append(loss())
        assert (losses[0] - losses[1]).item() / 2e-5 == pytest.approx(
            (parameter.grad * way).sum().item(), rel=1e-3, abs=2e-6
        )


def test_it_has_the_papers_sizes_and_start():
    config = LSTMConfig()
    assert [getattr(config, name) for name in DROPOUTS] == [0.65, 0.3, 0.4, 0.1, 0.5]
    with torch.device("meta"):
        model = LSTMForCausalLM(config)
    assert [layer.hidden_size for layer in model.lstm.layers] == [1150, 1150, 400]
    assert model.num_parameters() == 33_556_078  # 33 million on WikiText-2, as the paper's section 5 says
    torch.manual_seed(0)
    model = LSTMForCausalLM(LSTMConfig(**SMALL))
    assert model.lm_head.weight is model.lstm.embeddings.weight
    assert 0.09 < model.lstm.embeddings.weight.abs().max() <= 0.1
    assert not model.lm_head.bias.any()
    for layer in model.lstm.layers:
        for parameter in layer.parameters():
            assert 0.9 < parameter.abs().max() * layer.hidden_size**0.5 <= 1


# To disk and back


@pytest.mark.slow
def test_one_line_opens_a_saved_one_and_nothing_else_does(model, ids, tmp_path):
    model.save_pretrained(tmp_path)
    torch.save(model(ids).logits, tmp_path / "logits")
    program = (
        "import networks, torch; from transformers import AutoModelForCausalLM\n"
        f"model, info = AutoModelForCausalLM.from_pretrained({str(tmp_path)!r}, output_loading_info=True)\n"
        "assert not any(info.values()), info\n"
        f"logits = torch.load({str(tmp_path / 'logits')!r})\n"
        f"assert torch.equal(model(torch.tensor({ids.tolist()})).logits, logits)\n"
    )
    for text, succeeds in ((program, True), (program.replace("import networks, torch", "import torch"), False)):
        ended = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True)
        assert (ended.returncode == 0) == succeeds, ended.stderr
    assert "model type `lstm`" in ended.stderr
    assert type(AutoConfig.from_pretrained(tmp_path)) is LSTMConfig
    assert AutoModel.from_pretrained(tmp_path).layers[0].weight_drop == 0.5


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"hidden_dropout": 1.0}, "hidden_dropout is 1.0; it is a share from 0 to below 1"),
        ({"weight_drop": -0.1}, "weight_drop is -0.1"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0; it must be 1 or more"),
    ],
)
def test_impossible_sizes_are_refused(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        AutoModelForCausalLM.from_config(AutoConfig.for_model("lstm", **settings))


# Text


@pytest.mark.parametrize("beams", [1, 3])
def test_text_is_the_same_with_the_state_and_without(model, ids, beams):
    def written(**options):
        mask = torch.ones_like(ids)
        return model.generate(ids, attention_mask=mask, max_new_tokens=12, num_beams=beams, do_sample=False, **options)

    assert torch.equal(written(use_cache=True), written(use_cache=False))


def test_with_a_state_only_new_tokens_are_read(model, ids):
    read = []
    model.lstm.register_forward_pre_hook(lambda _, given: read.append(given[0].shape[1]))
    model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False, eos_token_id=None)
    assert read == [7, 1, 1, 1]


def test_a_state_of_other_tokens_is_not_believed(model, ids):
    state = model(ids + 1 - 2 * (ids > 20), use_cache=True).state
    given = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 5, "do_sample": False}
    assert torch.equal(model.generate(ids, state=state, **given), model.generate(ids, **given))
    own = model(ids[:, :4], use_cache=True).state
    assert torch.equal(model.generate(ids, state=own, **given), model.generate(ids, **given))


def test_padding_on_either_side_changes_nothing(model, ids):
    """Each row alone, and among longer ones."""
    alone = model(ids[:1, :4]).logits
    for where, mask in (
        (slice(3, 7), [0, 0, 0, 1, 1, 1, 1]),
        (slice(0, 4), [1, 1, 1, 1, 0, 0, 0]),
    ):
        rows = ids.clone()
        rows[0] = END
        rows[0, where] = ids[0, :4]
        masks = torch.ones_like(ids)
        masks[0] = torch.tensor(mask)
        found = model(rows, attention_mask=masks, output_hidden_states=True)
        torch.testing.assert_close(found.logits[:1, where], alone)
        torch.testing.assert_close(found.logits[1:], model(ids[1:]).logits)
        torch.testing.assert_close(found.state.layers[2][0][:, :1], found.hidden_states[-1][:1, where][:, -1:])
        rest = torch.tensor([[5], [6], [7]])
        longer = torch.cat([masks, torch.ones_like(rest)], 1)
        after = model(rest, attention_mask=longer, state=found.state).logits
        torch.testing.assert_close(after[:1], model(torch.cat([ids[:1, :4], rest[:1]], 1)).logits[:, -1:])


# Dropout


@pytest.fixture
def only():
    """A model in training with one kind of dropout at a half, all others off."""

    def build(name):
        torch.manual_seed(0)
        return LSTMForCausalLM(LSTMConfig(**{**SMALL, **dict.fromkeys(DROPOUTS, 0.0), name: 0.5})).train()

    return build


def test_variational_dropout_drops_the_same_features_at_all_places_of_a_row():
    torch.manual_seed(0)
    kept = variational_dropout(torch.ones(4, 9, 500), 0.4, training=True)
    assert torch.equal(kept, kept[:, :1].expand_as(kept))
    assert not torch.equal(kept[0, 0], kept[1, 0])
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.6])
    assert kept.mean() == pytest.approx(1, abs=0.1)
    assert torch.equal(variational_dropout(kept, 0.4, training=False), kept)


def layers_inputs(model, ids):
    """What each layer reads, and the states after the last dropout."""
    read = []
    for layer in model.lstm.layers:
        layer.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    found = model.lstm(ids, output_hidden_states=True)
    return [*read, found.last_hidden_state], found.hidden_states


@pytest.mark.parametrize(
    ("name", "where"), [("input_dropout", (0,)), ("hidden_dropout", (1, 2)), ("output_dropout", (3,))]
)
def test_features_are_dropped_where_the_paper_drops_them(only, ids, name, where):
    given, before = layers_inputs(only(name), ids)
    for number, (x, whole) in enumerate(zip(given, before, strict=True)):
        if number in where:
            dropped = x == 0
            assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))  # at all places
            assert 0 < dropped[:, 0].float().mean() < 1
            torch.testing.assert_close(x[~dropped], 2 * whole[~dropped])
        else:
            assert torch.equal(x, whole)


def test_words_are_dropped_whole(only):
    ids = torch.arange(50).repeat(2, 2)
    (x, *_), (whole, *_) = layers_inputs(only("embedding_dropout"), ids)
    dropped = (x == 0).all(-1)  # (2, 100)
    assert torch.equal(dropped[0], dropped[1])
    assert torch.equal(dropped[:, :50], dropped[:, 50:])
    assert 10 < dropped[0, :50].sum() < 40
    torch.testing.assert_close(x[~dropped], 2 * whole[~dropped])


def test_recurrent_weights_are_dropped(monkeypatch):
    torch.manual_seed(0)
    layer, x = LSTMLayer(4, 6, weight_drop=0.5).train(), torch.randn(2, 5, 4)
    lstm, seen = torch.lstm, []
    monkeypatch.setattr(torch, "lstm", lambda *given: seen.append(given[2]) or lstm(*given))
    layer(x)[0].sum().backward()
    kept = seen[0][1] != 0
    assert 0.3 < kept.float().mean() < 0.7
    torch.testing.assert_close(seen[0][1][kept], 2 * layer.recurrent.weight[kept])
    assert not layer.recurrent.weight.grad[~kept].any()
    assert torch.equal(seen[0][0], layer.input.weight)
    layer.eval()(x)
    assert torch.equal(seen[1][1], layer.recurrent.weight)


@pytest.mark.parametrize("name", DROPOUTS)
def test_dropout_follows_torchs_seed_and_is_off_outside_of_training(only, ids, name):
    model = only(name)

    def loss(seed):
        torch.manual_seed(seed)
        return model(ids, labels=ids).loss.item()

    assert loss(1) == loss(1) != loss(2)
    model.eval()
    assert loss(1) == loss(2)


def test_it_trains_in_bf16_too(only, ids):
    model = only("weight_drop")
    torch.manual_seed(0)
    whole = model(ids, labels=ids).loss
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(ids, labels=ids).loss
    half.backward()
    assert half.item() == pytest.approx(whole.item(), rel=0.02)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
