"""Does the whole road find what is there?  Proposals, features, SVMs and boxes on made-up pictures, and its table."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.feature import hog
from transformers import ResNetConfig, ResNetModel

from probe.detection import softmax_head
from probe.detection.boxes import overlaps
from probe.detection.crops import warp
from probe.detection.detector import Labels, label
from probe.detection.evaluation import Detection
from probe.detection.features import View, open_features
from probe.detection.guess import guess
from probe.detection.proposals import find_proposals, merge, propose, recall_of
from probe.detection.voc import Photo, read_voc
from probe.hog import describe_by_hog
from probe.run import main

COLOURS = {"disc": (200, 40, 40), "square": (40, 60, 200)}


def draw_picture(number):
    """A disc and a square somewhere on grey noise, and where: 96 x 72 pixels."""
    drawn = np.random.default_rng(number)
    pixels = drawn.normal(128, 8, (72, 96, 3))
    y, x = np.mgrid[:72, :96]
    boxes = {}
    for place, (name, colour) in enumerate(COLOURS.items()):
        side = int(drawn.integers(20, 33))
        left, top = 48 * place + int(drawn.integers(2, 14)), int(drawn.integers(2, 38))
        inside = (x >= left) & (x < left + side) & (y >= top) & (y < top + side)
        if name == "disc":
            inside &= (x - left - side / 2 + 0.5) ** 2 + (y - top - side / 2 + 0.5) ** 2 <= side**2 / 4
        pixels[inside] = colour + drawn.normal(0, 8, (int(inside.sum()), 3))
        boxes[name] = (left + 1, top + 1, left + side, top + side)
    return pixels.clip(0, 255).astype(np.uint8), boxes


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """12 training pictures and 6 test pictures in VOC's layout."""
    place = tmp_path_factory.mktemp("shapes")
    for name in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (place / name).mkdir(parents=True)
    for number in range(18):
        pixels, boxes = draw_picture(number)
        Image.fromarray(pixels).save(place / f"JPEGImages/{number}.png")
        objects = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax>"
            f"<ymax>{box[3]}</ymax></bndbox></object>" for name, box in boxes.items()
        )  # fmt: skip
        (place / f"Annotations/{number}.xml").write_text(f"<annotation>{objects}</annotation>")
    (place / "ImageSets/Main/train.txt").write_text("\n".join(map(str, range(12))))
    (place / "ImageSets/Main/val.txt").write_text("\n".join(map(str, range(12, 18))))
    return place


@pytest.fixture(scope="module")
def resnet(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("models") / "runs/small/model"
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ResNetModel(config).save_pretrained(place)
    return place


def test_proposals_are_the_same_each_time_and_find_the_objects(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos = read_voc(folder, "val")[:3]
    first = [propose(photo.load()) for photo in photos]
    assert all(np.array_equal(boxes, propose(photo.load())) for boxes, photo in zip(first, photos, strict=True))
    assert recall_of(first, photos) == 1
    assert recall_of([boxes[:0] for boxes in first], photos) == 0
    for boxes, photo in zip(first, photos, strict=True):
        assert len(np.unique(boxes, axis=0)) == len(boxes)
        assert boxes.min() >= 1
        assert (boxes[:, 2:].max(axis=0) <= [photo.width, photo.height]).all()
    kept = list(find_proposals(photos, 7))
    assert all(np.array_equal(boxes[:7], found) for boxes, found in zip(first, kept, strict=True))
    stored = sorted((tmp_path / "runs/stores/proposals").glob("*.npy"))
    assert len(stored) == len(photos)
    np.save(stored[0], np.array([[1, 1, 2, 2]], np.float32))
    assert [len(boxes) for boxes in find_proposals(photos, 7)].count(1) == 1  # computed once


def test_segments_merge_by_colour_first():
    """Four columns: red, red, blue, green. The reds become one; then blue and green, whose box is smaller; then all."""
    segments = np.repeat(np.arange(4), 2)[None].repeat(3, axis=0)
    colours = np.array([[0.9, 0.1, 0.1], [0.9, 0.1, 0.1], [0.1, 0.1, 0.9], [0.1, 0.9, 0.1]])
    found = merge(segments, colours[segments])
    assert found[:4].tolist() == [[0, 0, 2, 3], [2, 0, 4, 3], [4, 0, 6, 3], [6, 0, 8, 3]]
    assert found[4:].tolist() == [[0, 0, 4, 3], [4, 0, 8, 3], [0, 0, 8, 3]]


@pytest.mark.parametrize(("size", "cell"), [(32, 8), (30, 7), (9, 2)])
def test_hog_is_that_of_scikit_image(size, cell):
    crops = np.random.default_rng(0).integers(0, 255, (3, size, size, 3)).astype(np.uint8)
    theirs = [hog(crop, 9, (cell, cell), (2, 2), channel_axis=2) for crop in crops]
    np.testing.assert_allclose(describe_by_hog(crops, cell), theirs, atol=1e-5)


def test_crops_have_their_context_in_pixels_of_the_crop():
    """A white box of 20 x 10 on black, warped to 32 x 32 with 8 pixels around: the box is the middle 16 x 16."""
    pixels = np.zeros((60, 60, 3), np.uint8)
    pixels[20:30, 15:35] = 255
    (crop,) = warp(pixels, np.array([[16.0, 21, 35, 30]]), 32, 8)
    white = crop[..., 0] > 127
    assert white[8:24, 8:24].all()
    assert white.sum() == 16 * 16


def test_what_is_outside_of_the_picture_has_its_mean_colour():
    pixels = np.full((20, 20, 3), (200, 100, 0), np.uint8)
    pixels[:, 10:] = (100, 200, 0)
    crop, whole = warp(pixels, np.array([[1.0, 1, 10, 20], [1, 1, 20, 20]]), 32, 8)
    assert crop[16, 2].tolist() == [150, 150, 0]
    assert crop[16, 12].tolist() == [200, 100, 0]
    assert whole[1, 1].tolist() == [150, 150, 0]


def photo_of(*objects):
    names, boxes, difficult = zip(*objects, strict=True)
    return Photo("a", Path(), Path(), 50, 50, np.array(boxes, float), names, np.array(difficult, bool))


def test_boxes_are_labelled_as_r_cnn_does():
    """Objects are positives; what overlaps an object by less than .3, a difficult one too, is a negative."""
    photo = photo_of(("cat", [1, 1, 10, 10], False), ("cat", [30, 1, 39, 10], True), ("dog", [1, 30, 10, 39], False))
    near, far, hard = [1, 1, 10, 7], [1, 1, 10, 2], [30, 1, 39, 9]
    boxes = np.array([[1, 1, 10, 10], [1, 30, 10, 39], near, far, hard], float)
    found = label(photo, boxes, ("cat", "dog", "horse"))
    assert found.is_positive.T.tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert found.is_negative.T.tolist() == [[0, 1, 0, 1, 0], [1, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
    assert found.answers.tolist() == [0, 1, 0, 3, -1]  # near is on the cat, far beside it, hard on a difficult object
    assert found.near.tolist() == [[0, 0], [2, 0], [1, 1]]
    np.testing.assert_allclose(found.moves, [[0] * 4, [0, 1.5 / 7, 0, np.log(10 / 7)], [0] * 4])
    both = Labels.join([found, found])
    assert both.near.tolist() == [[0, 0], [2, 0], [1, 1], [5, 0], [7, 0], [6, 1]]


def test_who_does_not_look_detects_where_objects_were(folder):
    train, test = read_voc(folder, "train"), read_voc(folder, "val")
    found = guess(train, test, "square")
    first = found.boxes[found.picture == 0]
    assert np.array_equal(first, found.boxes[found.picture == 5])  # the same in each picture
    squares = np.concatenate([photo.boxes[photo.of("square")] for photo in train])
    assert overlaps(first[:1], squares).max() == 1
    assert (first[:, 0] > 40).all()  # all of them are on the right


@pytest.mark.parametrize("head", ["svm", "softmax"])
def test_crops_of_an_untrained_network_tell_red_discs_from_blue_squares(head, folder, resnet, monkeypatch):
    monkeypatch.chdir(resnet.parents[2])
    monkeypatch.setattr(softmax_head, "STEPS", 500)
    probe = Detection(
        name="detection", path=str(folder), features="crops", crop_size=32, context=4, proposals=30, bins=2, head=head
    )
    assert probe.task == {"svm": "detection/shapes0", "softmax": "detection/shapes0-softmax"}[head]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing that a solver says is for the user
        found = probe.ask(str(resnet), True, 0)
    assert "not the best one" not in found.page
    assert ("Fast R-CNN" in found.page) == (head == "softmax")
    scores, blind = found.metrics["val"], found.baseline["val"]
    assert scores["map"] == pytest.approx((scores["ap_disc"] + scores["ap_square"]) / 2)
    assert scores["map"] > 0.7 > blind["map"]


@pytest.mark.slow
def test_a_map_of_a_narrow_strip_has_bounds(resnet):
    describe = open_features(str(resnet), False, 0, View("map", "", 480, 32, 4, 3))  # of 480 x 384,000 pixels without
    assert len(describe(np.zeros((5, 4000, 3), np.uint8), np.array([[1.0, 1, 4000, 5]]))) == 1


def test_a_recipe_beside_hog_and_the_table(folder, resnet, launch_program, monkeypatch):
    """Features are pooled from maps; what is asked a second time comes out the same, to the last pixel."""
    from finetune.table.__main__ import main as table

    place = resnet.parents[2]
    monkeypatch.chdir(place)
    settings = {"path": str(folder), "map_size": 64, "crop_size": 32, "context": 4, "proposals": 40}
    settings["max_train_pictures"] = 8
    (place / "recipe.yaml").write_text(json.dumps({"name": "found", "probes": [{"name": "detection", **settings}]}))
    first = launch_program(main, place, "recipe.yaml", "--model", "runs/small")
    assert first.status == 0, first.said
    lines = [json.loads(line) for line in (place / "runs/found/results.jsonl").read_text().splitlines()]
    assert [(line["label"], line["init"], line["drawn_from"]) for line in lines] == [
        ("hog", "pretrained", 12), ("small", "pretrained", 12), ("small", "random", 12),
    ]  # fmt: skip
    again = Detection(name="detection", **settings).ask("runs/small", True, 0)
    assert again.metrics == lines[2]["metrics"]
    assert again.metrics["val"]["map"] > 0.8 > again.baseline["val"]["map"]
    job = place / "runs/found" / lines[2]["job"]
    drawn = re.findall(r"!\[.*?\]\((.*?\.png)\)", (job / "page.md").read_text())
    assert [(job / name).read_bytes() for name in drawn] == [picture.png for picture in again.pictures]
    assert [Image.open(job / name).width > 300 for name in drawn] == [True, True]
    assert launch_program(main, place, "recipe.yaml", "--model", "runs/small").said.count("done before") == 3
    shown = launch_program(table, place, "runs/found")
    assert shown.status == 0, shown.said
    assert "val mAP" in shown.said
    assert "8 of 12 rows" in shown.said
    wrong = launch_program(main, place, "recipe.yaml", "--model", "runs/small", "--probes.0.stage", "stage9")
    assert wrong.status == 2
    assert "has no stage 'stage9' (stages: stem, stage1, stage2)" in wrong.said
