"""Which trunks are there, does transformers open them, and does an example's map depend on its neighbours?"""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoBackbone, AutoModel

import networks  # noqa: F401
from networks.pictures import KINDS, PretextModel, feature_maps, make_trunk, map_shapes, open_backbone

SIZE = 48
SMALL: dict[str, dict[str, Any]] = {
    "resnet_gn": {"layer_type": "basic", "embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]},
    "resnet": {"layer_type": "basic", "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 1]},
    "alexnet": {"hidden_sizes": [16, 16, 32, 32, 16]},
    "dinov2": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8},
}
SHAPES = {
    "resnet_gn": [(16, 48, 48), (16, 48, 48), (32, 24, 24)],
    "resnet": [(8, 12, 12), (8, 12, 12), (16, 6, 6)],
    "alexnet": [(16, 5, 5), (16, 2, 2), (32, 2, 2), (32, 2, 2), (16, 1, 1)],
    "dinov2": [(16, 6, 6)] * 3,
}


class Pretext(PretextModel):
    """A pretext task with a head of one layer."""

    def __init__(self, config, trunk=None):
        super().__init__(config, trunk)
        self.place = nn.Linear(4, 8)
        self.post_init()


@pytest.fixture(params=KINDS)
def model(request) -> Pretext:
    torch.manual_seed(0)
    model = Pretext(*make_trunk({"model_type": request.param, **SMALL[request.param]}, SIZE))
    for name, values in model.state_dict().items():  # batch normalisation, as a checkpoint has it
        if name.endswith(("running_mean", "running_var", "normalization.weight")):
            nn.init.uniform_(values, 0.5, 2)
    return model.eval()


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def test_a_saved_pretext_model_opens_as_its_trunk_alone(model, pixels, tmp_path):
    maps = feature_maps(model.trunk, pixels)
    assert map_shapes(model.trunk, SIZE) == [tuple(found.shape[1:]) for found in maps]
    assert map_shapes(model.trunk, SIZE) == SHAPES[model.config.model_type]
    model.save_pretrained(tmp_path)
    trunk = AutoModel.from_pretrained(tmp_path)
    assert all(map(torch.equal, maps, feature_maps(trunk, pixels)))
    last = len(maps) - 1
    backbone = open_backbone(tmp_path, out_indices=(last - 1, last))
    assert type(backbone) is type(AutoBackbone.from_config(trunk.config))
    found = backbone(pixels).feature_maps
    torch.testing.assert_close(found[-1], maps[-1], rtol=1e-4, atol=1e-4)
    if model.config.model_type != "dinov2":  # which normalises each map that it gives as a backbone
        torch.testing.assert_close(found[0], maps[-2], rtol=1e-4, atol=1e-4)
    assert backbone.channels == [SHAPES[model.config.model_type][number][0] for number in (-2, -1)]
    again = Pretext.from_pretrained(tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_batch_moves_no_state_and_an_example_does_not_see_its_neighbours(model, pixels):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluated = feature_maps(model.trunk, pixels)
    model.train()
    trained = feature_maps(model.trunk, pixels)
    alone = feature_maps(model.trunk, pixels[1:2])
    for one, two, three in zip(evaluated, trained, alone, strict=True):
        torch.testing.assert_close(one, two)
        torch.testing.assert_close(two[1:2], three, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_each_weight_is_trained(model, pixels):
    feature_maps(model.train().trunk, pixels)[-1].square().sum().backward()
    assert all(weight.grad is not None for weight in model.trunk.parameters())


def test_activations_are_made_again_where_transformers_can(pixels):
    model = Pretext(*make_trunk({"model_type": "dinov2", **SMALL["dinov2"]}, SIZE)).train()
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert any(getattr(layer, "gradient_checkpointing", False) for layer in model.modules())
        model.zero_grad()
        feature_maps(model.trunk, pixels)[-1].square().sum().backward()
        gradients.append([weight.grad.clone() for weight in model.trunk.parameters()])
    assert all(map(torch.allclose, *gradients))
    resnet = Pretext(*make_trunk(SMALL["resnet_gn"], SIZE))
    with pytest.raises(ValueError, match="does not support activation checkpointing"):
        resnet.gradient_checkpointing_enable()


def test_a_deep_resnet_begins_without_growing(pixels):
    settings = {"model_type": "resnet", "hidden_sizes": [16, 16, 16, 16], "embedding_size": 16, "depths": [3, 4, 6, 3]}
    first, *_, last = feature_maps(make_trunk(settings, SIZE)[1], pixels)
    assert 0.1 < last.std() / first.std() < 10


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model_type": "resnett"}, "model_type is 'resnett'; did you mean 'resnet'"),
        ({"hiden_sizes": [16]}, "unknown key 'model.hiden_sizes'; did you mean 'hidden_sizes'"),
        ({"hidden_sizes": [24, 40], "depths": [1, 1]}, "channels_per_group is 16, which does not divide 24 channels"),
        ({"model_type": "alexnet", "hidden_sizes": [16]}, "hidden_sizes has 1 numbers; AlexNet has 5"),
        ({"model_type": "alexnet"}, r"pictures of 6 pixels"),
    ],
)
def test_settings_that_do_not_do_are_refused_in_one_line(settings, said):
    with pytest.raises(ValueError, match=said) as error:
        make_trunk(settings, 6)
    assert "\n" not in str(error.value)
