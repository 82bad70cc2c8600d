"""Do the probes of pictures say what scikit-learn and scikit-image say, at every stage, beside what is to be beaten?"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from skimage.feature import hog
from sklearn.neighbors import KNeighborsClassifier
from transformers import AutoConfig, AutoModel, BertConfig, BertModel

from corpus.images.medium import Images
from corpus.images.source import PictureSource
from engine.run.recipe import load
from networks.alexnet import AlexNetConfig, AlexNetModel
from networks.pictures import PretextModel, feature_maps, make_trunk
from networks.trunk import take_pixels
from probe.features import describe, open_trunk, take_hog
from probe.knn import Knn
from probe.linear import Linear
from probe.recipe import ProbeRecipe
from probe.run import probe

SMALL = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A network as pretraining leaves it, with a head that is no part of the trunk."""
    torch.manual_seed(0)
    network = PretextModel(*make_trunk(SMALL, 16))
    network.head = torch.nn.Linear(32, 5)
    folder = tmp_path_factory.mktemp("runs") / "mine/model"
    network.save_pretrained(folder)
    Images((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)).processor_for(16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("stores"))


def test_the_features_of_each_stage_are_those_of_the_trunk_in_evaluation_mode(model):
    squares = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    trunk = open_trunk(str(model))
    assert not trunk.backbone.training
    found = describe(str(model), False, 0, squares[:1], squares[1:])
    pixels = torch.from_numpy(squares).permute(0, 3, 1, 2) / 255
    pixels = (pixels - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    torch.manual_seed(0)
    with torch.no_grad():
        maps = feature_maps(PretextModel(*make_trunk(SMALL, 16)).eval().trunk, pixels)
    assert [tuple(each.shape) for each in found.values()] == [(3, 16, 2, 2), (3, 16, 2, 2), (3, 32, 2, 2)]
    for each, expected in zip(found.values(), maps, strict=True):
        assert each.mean((2, 3)) == pytest.approx(expected.mean((2, 3)), abs=1e-5)
    other = describe(str(model), True, 1, squares)
    assert not torch.allclose(other["stage2"], found["stage2"])


def test_pixels_and_hog_are_what_they_are_called():
    squares = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    theirs = hog(squares[1], orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2), channel_axis=2)
    assert take_hog(squares)[1] == pytest.approx(torch.from_numpy(theirs).float())
    assert take_pixels(squares)[1] == pytest.approx(torch.from_numpy(squares[1]).permute(2, 0, 1).flatten() / 255)
    assert take_pixels(squares, 16).shape == (2, 768)


def test_knn_on_pixels_is_that_of_scikit_learn(stores):
    knn = Knn(name="knn", train=PictureSource("digits"), image_size=8, k=20, stores=stores)
    known, asked = knn.load()
    found = knn.ask("pixels", False, 0)
    vote = KNeighborsClassifier(20, metric="cosine", algorithm="brute", weights=lambda far: np.exp((1 - far) / 0.1))
    vote.fit(known.squares.reshape(len(known.squares), -1), known.labels)
    theirs = vote.score(asked.squares.reshape(len(asked.squares), -1), asked.labels)
    assert found.metrics["test"]["accuracy"] == pytest.approx(theirs, abs=0.006)
    assert found.metrics["test"]["accuracy"] > 0.9 > 0.2 > found.baseline["test"]["accuracy"]


def test_the_table_has_every_stage_beside_pixels_hog_and_the_untrained_network(
    model, stores, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    shared = {"train": {"kind": "digits"}, "image_size": 16, "max_train_samples": 100, "max_test_samples": 50}
    probes = [{"name": name, "stores": stores, **shared} for name in ("knn", "linear")]
    content = {"name": "images", "seeds": [0, 1], "model": [str(model)], "probes": probes}
    Path("images.yaml").write_text(yaml.safe_dump(content))
    probe(load(ProbeRecipe, Path("images.yaml")))
    lines = [json.loads(line) for line in Path("runs/images/results.jsonl").read_text().splitlines()]
    systems = {(line["task"], line["label"], line["init"], line["seed"]) for line in lines}
    label = next(line["label"] for line in lines if line["label"] not in ("pixels", "hog"))
    assert systems == {
        (task, *system)
        for task in ("knn/digits", "linear/digits")
        for system in (
            ("pixels", "pretrained", 0), ("hog", "pretrained", 0), (label, "pretrained", 0), (label, "random", 0),
            (label, "random", 1),
        )
    }  # fmt: skip
    for line in lines:
        scores = line["metrics"]["test"]
        stages = {"accuracy"} if line["label"] in ("pixels", "hog") else {"accuracy", "stem", "stage1", "stage2"}
        assert set(scores) == stages
        assert scores["accuracy"] in [scores.get(stage, scores["accuracy"]) for stage in ("stem", "stage1", "stage2")]
        assert line["sizes"] == {"train": 100, "test": 50}
    page = next(Path("runs/images").glob("*/*/seed-0/page.md")).read_text()
    assert "| stage | features |" in page
    capsys.readouterr()
    probe(load(ProbeRecipe, Path("images.yaml")))
    assert capsys.readouterr().out.count("done before") == len(lines)


def test_what_makes_no_maps_of_pictures_is_refused(stores, tmp_path):
    BertModel(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="bert model, which transformers opens as no backbone"):
        open_trunk(str(tmp_path / "bert"))


def draw_classes(folder: Path, *classes: str) -> PictureSource:
    for number, name in enumerate(classes * 6):
        (folder / name).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng([number, *name.encode()]).integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return PictureSource("folder", str(folder))


def test_pictures_without_classes_to_tell_apart_are_refused_with_where_classes_are(stores, tmp_path):
    for source, said in (
        (PictureSource("photos"), "photos: no picture has a class; photos have none: take digits"),
        (draw_classes(tmp_path / "flat", "."), r"flat`: no picture has a class; it is the first folder below `path`"),
        (
            draw_classes(tmp_path / "deep", "all/a", "all/b"),
            r"deep`: all \d+ .* of one class, all, and two are the few",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            Linear(name="linear", train=source, stores=stores).ask("pixels", False, 0)
    named = PictureSource("folder", str(tmp_path / "deep/all"))  # as the message advises
    assert Linear(name="linear", train=named, stores=stores).ask("pixels", False, 0).sizes["train"] > 2


def test_test_pictures_may_have_fewer_classes_and_no_others(stores, tmp_path):
    train = draw_classes(tmp_path / "train", "a", "b", "c")
    probe = Knn(name="knn", train=train, test=draw_classes(tmp_path / "few", "c"), stores=stores, image_size=12, k=1)
    assert probe.ask("pixels", False, 0).metrics["test"]["accuracy"] < 1
    same = Knn(name="knn", train=train, test=PictureSource("folder", str(tmp_path / "train/c/../../train"), limit=20),
               stores=stores, image_size=12, k=1)  # fmt: skip
    assert same.ask("pixels", False, 0).metrics["test"]["accuracy"] == 1.0
    strange = Knn(name="knn", train=train, test=draw_classes(tmp_path / "other", "a", "x"), stores=stores)
    with pytest.raises(
        ValueError, match=r"other` has the class x, which folder `.*train` has not \(its classes: a, b, c"
    ):
        strange.load()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("convnext", {"hidden_sizes": [8, 8], "depths": [1, 1], "num_stages": 2}),
        ("swin", {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1], "window_size": 2, "image_size": 32}),
        ("dinov2", {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28}),
        ("resnet", SMALL),
    ],
)
def test_networks_of_the_hub_are_opened(tmp_path, kind, settings):
    AutoModel.from_config(AutoConfig.for_model(kind, **settings)).save_pretrained(tmp_path)
    squares = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    first, again = (describe(str(tmp_path), False, 0, squares) for _ in range(2))
    assert all(torch.equal(first[stage], again[stage]) for stage in first)
    assert len(first) >= 2


def test_a_size_that_a_network_does_not_take_is_told(stores, tmp_path):
    AlexNetModel(AlexNetConfig(hidden_sizes=[16] * 5)).save_pretrained(tmp_path / "alexnet")
    knn = Knn(name="knn", train=PictureSource("digits"), max_train_samples=20, max_test_samples=5, stores=stores)
    with pytest.raises(
        ValueError, match=r"this alexnet takes no pictures of 32 x 32 pixels .*: give another image_size"
    ):
        knn.ask(str(tmp_path / "alexnet"), False, 0)
    assert replace(knn, image_size=64).ask(str(tmp_path / "alexnet"), False, 0).sizes["test"] == 5
