"""Does a model of pictures begin with the trunk of another, and is it said what is new?"""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, BertConfig, BertModel

from corpus.images.medium import Images
from corpus.images.opening import Collection
from corpus.images.source import PictureSource
from engine.run.runtime import program
from engine.train.optimizer import Optimizer
from engine.train.plan import Plan
from engine.train.schedule import Schedule
from networks.colors import Bins
from pretrain.continued import head_of, take_trunk
from pretrain.objectives.colorization import Colorization
from pretrain.objectives.exemplar import Exemplar
from pretrain.objectives.relative_position import RelativePosition
from pretrain.pretext.colors import LEVELS, ColoredImages, ColorTable
from pretrain.recipe import PretrainRecipe
from pretrain.run import pretrain

SMALL = {"layer_type": "basic", "embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]}
PLACES = RelativePosition(name="relative_position", image_size=32, patch_size=6, gap=2, jitter=1, downsample=0,
                          head_size=16)  # fmt: skip
COLORS = Colorization(name="colorization", image_size=16, reduction=2, head_width=16)
SEEDS = Exemplar(name="exemplar", image_size=16, seeds=7)


def with_bins(seed: int) -> ColoredImages:
    """A medium of some colours."""
    bins = Bins.around(np.random.default_rng(seed).normal(0, 30, (500, 2)))
    return ColoredImages(table=ColorTable(bins, np.full((LEVELS, len(bins.prior)), 1 / len(bins.prior), np.float32)))


MEDIA = {"relative_position": Images(), "colorization": with_bins(0), "exemplar": Images()}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """`saved(objective)`: the folder of a model of it with random weights."""

    def save(objective, **settings):
        torch.manual_seed(1)
        folder = tmp_path_factory.mktemp(objective.name)
        objective.build({**SMALL, **settings}, MEDIA[objective.name]).save_pretrained(folder)
        return str(folder)

    return save


def began(objective, source, medium=None, **changes):
    torch.manual_seed(2)
    model = objective.build({"from": source, **changes}, medium or MEDIA[objective.name])
    return model, take_trunk(model, source)


@pytest.mark.parametrize("second", [PLACES, COLORS, SEEDS], ids=lambda objective: objective.name)
@pytest.mark.parametrize("first", [PLACES, COLORS, SEEDS], ids=lambda objective: objective.name)
def test_each_objective_takes_the_trunk_of_each(first, second, saved):
    source = saved(first)
    model, origin = began(second, source)
    theirs = AutoModel.from_pretrained(source).state_dict()
    assert all(torch.equal(theirs[name], values) for name, values in model.trunk.state_dict().items())
    assert origin.source == source
    keeps_head = first is second and first is not SEEDS  # seeds are numbered anew in each collection
    assert origin.random == (() if keeps_head else tuple(sorted(head_of(model))))
    assert bool(origin.left) == (not keeps_head)
    assert any("left out" in line for line in origin.lines()) == (not keeps_head)
    extra = {"relative_position", "colorization"} & model.config.to_dict().keys()
    assert extra == {second.name} - {"exemplar"}  # nothing of the other's head is kept


def test_a_head_of_other_sizes_or_of_another_meaning_is_new(saved):
    source = saved(PLACES)
    model, origin = began(replace(PLACES, head_size=24), source)
    assert origin.random == tuple(sorted(head_of(model)))
    colors = saved(COLORS)
    model, origin = began(COLORS, colors)
    theirs = load_file(f"{colors}/model.safetensors")
    assert all(torch.equal(theirs[name], values) for name, values in head_of(model).items())
    other = with_bins(0)
    shifted = other.table.bins.centers[::-1].copy()  # as many bins, and others
    table = replace(other.table, bins=Bins(shifted, other.table.bins.prior))
    model, origin = began(COLORS, colors, replace(other, table=table))
    assert origin.random == tuple(sorted(head_of(model)))


def test_any_trunk_that_opens_is_a_start(tmp_path):
    """transformers' ResNet, with the mean and variance that it has, and a ViT with its own places."""
    for kind, sizes in {
        "resnet": SMALL,
        "dinov2": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28},
    }.items():
        plain = AutoModel.from_config(AutoConfig.for_model(kind, **sizes))
        for name, values in plain.named_buffers():
            if name.endswith("running_mean"):
                values += 0.5
        plain.save_pretrained(tmp_path / kind)
        model, origin = began(replace(SEEDS, image_size=32), str(tmp_path / kind))
        assert all(torch.equal(values, model.trunk.state_dict()[name]) for name, values in plain.state_dict().items())
        assert origin.random == ("seed.bias", "seed.weight")
        assert origin.left == ()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"depths": [2, 1]}, r"has another encoder\.stages\.0\.layers\.1\..*: leave the sizes of its trunk out"),
        ({"hidden_sizes": [16, 48]}, "has another encoder.*: leave the sizes of its trunk out"),
        ({"hiden_sizes": [16, 32]}, r"unknown key 'model\.hiden_sizes'; did you mean 'hidden_sizes'"),
        ({"model_type": "resnet"}, "model.model_type is 'resnet', and .* is a resnet_gn; leave it out"),
        ({"revision": "main"}, "model.revision is 'main', and .* is a folder, which has none"),
    ],
)
def test_what_contradicts_the_trunk_is_refused(changes, complaint, saved):
    source = saved(SEEDS)
    with pytest.raises(ValueError, match=complaint):
        began(PLACES, source, **changes)
    assert began(PLACES, source, **SMALL)[1].source == source  # the sizes that it has


def test_what_has_no_trunk_of_pictures_is_refused(saved, tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(**sizes, vocab_size=9)).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match=r"is a bert model; pictures are for resnet_gn, resnet, alexnet, dinov2"):
        began(PLACES, str(tmp_path / "bert"))
    with pytest.raises(FileNotFoundError):
        began(PLACES, "./nowhere")
    source = saved(COLORS)
    weights = load_file(f"{source}/model.safetensors")
    name = next(name for name in weights if name.startswith("resnet.") and name.endswith("convolution.weight"))
    for damaged, complaint in {
        "lacking": r"lacks weights of its trunk, such as .*convolution\.weight \(1 in all\)",
        "not finite": "take another model, or train it again",
    }.items():
        shutil.copytree(source, tmp_path / damaged)
        changed = {**weights, name: weights[name] * torch.nan}
        if damaged == "lacking":
            changed.pop(name)
        save_file(changed, tmp_path / damaged / "model.safetensors", {"format": "pt"})
        with pytest.raises(ValueError, match=complaint):
            began(PLACES, str(tmp_path / damaged))


def test_a_run_begins_with_a_trunk_and_says_so(saved, tmp_path, launch_program):
    drawn, source = np.random.default_rng(0), saved(PLACES)
    (tmp_path / "pictures").mkdir()
    for number in range(40):
        pixels = drawn.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((40, 40)).save(tmp_path / f"pictures/{number}.png")

    plan = Plan(max_steps=2, global_batch_size=8, per_device_train_batch_size=8, logging_steps=2, eval_steps=2)
    recipe = PretrainRecipe(
        "second", {"from": source}, replace(SEEDS, shorter_side=32), Optimizer(learning_rate=1e-9), Schedule(), plan,
        images=Collection((PictureSource("folder", "pictures"),), held_out=0.4), max_eval_samples=16, probe_every=0,
    )  # fmt: skip

    @program
    def main(argv):
        pretrain(recipe)

    ended = launch_program(main, tmp_path)
    assert ended.status == 0, ended.said
    assert f"the weights of {source}: random are seed.bias, seed.weight" in " ".join(ended.said.split())
    card = (tmp_path / "runs/second/model/README.md").read_text()
    assert f"pretrained further, from the weights of {source}, with random weights for seed.bias, seed.weight" in card
    before, after = (
        AutoModel.from_pretrained(folder).state_dict() for folder in (source, tmp_path / "runs/second/model")
    )
    assert all(torch.allclose(values, before[name], atol=1e-6) for name, values in after.items())
