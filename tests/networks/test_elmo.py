"""Do ELMo's two directions keep what they are asked from each other, and is a token read by its characters alone?"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModel, AutoModelForPreTraining

from networks.elmo import (
    BEGINS,
    END,
    FRAMES,
    GOES_ON,
    PADDING,
    CharacterEncoder,
    ElmoConfig,
    ElmoForPreTraining,
    numbered,
)

ROOT = Path(__file__).parents[2]
TOKENS = 40
SMALL = {
    "projection_size": 6, "cell_size": 10, "character_size": 5, "filters": [[1, 16], [3, 16]], "max_characters": 12,
}  # fmt: skip


@pytest.fixture
def model():
    """A model whose states are not all alike."""
    torch.manual_seed(0)
    made = ElmoForPreTraining(ElmoConfig(**SMALL, vocab_size=TOKENS))
    with torch.no_grad():
        for parameter in made.elmo.parameters():
            parameter.mul_(2)
    return made.eval()


@pytest.fixture
def ids():
    return torch.randint(0, TOKENS, (3, 7), generator=torch.Generator().manual_seed(1))


def states(model, ids, mask=None):
    """The layers of the forward and of the backward language model: (L, B, T, P) each."""
    found = model.elmo(ids, mask, output_hidden_states=True)
    assert torch.equal(found.last_hidden_state, found.hidden_states[-1])
    return torch.stack(found.hidden_states).chunk(2, -1)


@pytest.mark.parametrize("place", range(7))
def test_no_direction_sees_what_it_is_asked(model, ids, place):
    """What a token's layers are does not change with what comes later (forward) or came before (backward)."""
    before = states(model, ids)
    other = ids.clone()
    other[:, place] = (ids[:, place] + 7) % TOKENS
    after = states(model, other)
    differs = [
        (one != another).any(-1).any(0).any(0).tolist()  # (T,)
        for one, another in zip(before, after, strict=True)
    ]
    assert differs[0] == [column >= place for column in range(7)]
    assert differs[1] == [column <= place for column in range(7)]


def test_guesses_are_made_from_the_right_side(model, ids):
    found = model(ids, labels=ids)
    left, right = states(model, ids)
    torch.testing.assert_close(found.forward_logits, model.softmax(left[-1]))
    torch.testing.assert_close(found.backward_logits, model.softmax(right[-1]))
    losses = [
        cross_entropy(found.forward_logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()),
        cross_entropy(found.backward_logits[:, 1:].flatten(0, 1), ids[:, :-1].flatten()),
    ]
    torch.testing.assert_close(found.loss, torch.stack(losses).mean())


def test_padding_on_either_side_changes_nothing(model, ids):
    alone = states(model, ids[:1, :4])
    for where, mask in ((slice(0, 4), [1, 1, 1, 1, 0, 0, 0]), (slice(3, 7), [0, 0, 0, 1, 1, 1, 1])):
        rows, masks = ids.clone(), torch.ones_like(ids)
        rows[0, where], masks[0] = ids[0, :4], torch.tensor(mask)
        for found, right in zip(states(model, rows, masks), alone, strict=True):
            torch.testing.assert_close(found[:, :1, where], right)


def test_layers_are_the_tokens_twice_and_then_sums_with_the_layer_below(model, ids):
    left, right = states(model, ids)
    assert len(left) == 3
    assert torch.equal(left[0], right[0])
    layer = model.elmo.layers[1]
    both = torch.stack([left[1], right[1].flip(1)])
    torch.testing.assert_close(torch.stack([left[2], right[2].flip(1)]), layer(both) + both)


def test_the_two_directions_have_no_weight_in_common_but_characters_and_softmax(model):
    names = [name for name, _ in model.named_parameters()]
    left, right = ([name for name in names if side in name] for side in ("from_left", "from_right"))
    assert [name.replace("left", "right") for name in left] == right
    rest = {name.split(".")[1] for name in names if name not in (*left, *right)}
    assert rest == {"tokens", "weight", "bias"}  # of characters and of the softmax


# Characters


def test_a_token_is_what_its_characters_are(model, ids):
    """Tokens of the same characters are the same vector, and the others of the batch change nothing."""
    tokens = model.elmo.tokens
    spelt = [("begins", b"bank"), ("begins", b"bank"), ("goes on", b"bank"), ("begins", b"bank" * 9)]
    model.elmo.spell(dict(enumerate(spelt, start=3)))
    one, same, inside, long = tokens(torch.tensor([[3, 4, 5, 6]]))[0]
    assert torch.equal(one, same)
    assert not torch.allclose(one, inside)
    assert not torch.allclose(one, long)
    torch.testing.assert_close(tokens(torch.tensor([[3]]))[0, 0], one)
    assert tokens.characters[3, :6].tolist() == [BEGINS, *b"bank", END]
    assert tokens.characters[5, 0] == GOES_ON
    assert tokens.characters[6].tolist() == [BEGINS, *(b"bank" * 9)[:10], END]


def test_a_token_is_computed_once_however_often_it_stands_there(model):
    asked = []
    encode = CharacterEncoder.encode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CharacterEncoder, "encode", lambda self, given: asked.append(len(given)) or encode(self, given))
        model.elmo.tokens(torch.tensor([[5, 5, 7], [7, 5, 9]]))
    assert asked == [3]


def test_the_papers_sizes():
    config = ElmoConfig(vocab_size=10)
    with torch.device("meta"):
        model = ElmoForPreTraining(config)
    found = model.elmo.tokens.convolutions
    assert [(module.kernel_size[0], module.out_channels) for module in found] == [
        (1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024),
    ]  # fmt: skip
    shapes = {name: tuple(value.shape) for name, value in model.elmo.layers[1].from_left.named_parameters()}
    assert shapes == {
        "input.weight": (16384, 512), "input.bias": (16384,), "recurrent.weight": (16384, 512),
        "projection.weight": (512, 4096),
    }  # fmt: skip
    assert sum(parameter.numel() for parameter in model.elmo.parameters()) == 93_600_848  # 93.6 million, as published
    assert (config.cell_clip, config.projection_clip, config.dropout, config.max_characters) == (3, 3, 0.1, 50)


def test_at_the_start_forget_gates_are_open_and_highways_carry():
    torch.manual_seed(0)
    model = ElmoForPreTraining(ElmoConfig(**SMALL, vocab_size=TOKENS))
    cells = SMALL["cell_size"]
    bias = model.elmo.layers[0].from_right.input.bias
    assert bias.view(4, cells).unique(dim=1).tolist() == [[0], [1], [0], [0]]
    assert (model.elmo.tokens.highways[1].gate.bias == -2).all()


# To disk and back


@pytest.mark.slow
def test_one_line_opens_a_saved_one_with_its_characters(model, ids, tmp_path):
    model.elmo.spell({3: ("begins", b"bank")})
    model.save_pretrained(tmp_path)
    torch.save(model(ids).forward_logits, tmp_path / "logits")
    program = (
        "import networks, torch; from transformers import AutoModelForPreTraining\n"
        f"model, info = AutoModelForPreTraining.from_pretrained({str(tmp_path)!r}, output_loading_info=True)\n"
        "assert not any(info.values()), info\n"
        f"logits = torch.load({str(tmp_path / 'logits')!r})\n"
        f"assert torch.equal(model(torch.tensor({ids.tolist()})).forward_logits, logits)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_the_encoder_alone_is_opened_from_it(model, ids, tmp_path):
    model.elmo.spell({3: ("begins", b"bank")})
    model.save_pretrained(tmp_path)
    encoder = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(encoder.tokens.characters, model.elmo.tokens.characters)
    assert torch.equal(encoder(ids).last_hidden_state, model.elmo(ids).last_hidden_state)


def test_tokens_that_nobody_spelt_are_told_apart():
    table = numbered(0, 70_000, 8)
    assert len(table.unique(dim=0)) == 70_000
    assert table[258].tolist() == [BEGINS, 0, 0, 1, 2, END, PADDING, PADDING]
    assert FRAMES not in table


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"filters": [[1, 8], [2]]}, "filters is .*; it is a list of .width, how many., such as"),
        ({"filters": []}, "filters is"),
        ({"max_characters": 2}, "max_characters is 2; it must be 6 or more, such as 50"),
        ({"filters": [[9, 4]], "max_characters": 8}, "a width of 9, and of a token only 8 characters are read"),
        ({"dropout": 1.0}, "dropout is 1.0; it is a share from 0 to below 1"),
        ({"cell_clip": 0}, "cell_clip is 0; it must be above 0"),
        ({"cell_size": 0}, "cell_size is 0; it must be 1 or more"),
        ({"features": "all"}, "features is 'all'; it is one of both, forward, backward, static, none"),
    ],
)
def test_impossible_settings_are_refused(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        AutoModelForPreTraining.from_config(AutoConfig.for_model("elmo", **settings))
