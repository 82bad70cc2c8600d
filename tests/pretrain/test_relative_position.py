"""Does relative position ask what its paper asks, and is nothing there that gives the answer away?"""

import io
import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage import data
from transformers import AutoModel

from corpus.images.medium import Images
from corpus.images.pictures import PictureChapter, Shots
from networks.pictures import feature_maps, open_backbone
from networks.relative_position import ALONE, PLACES, RelativePositionModel, normalize_patches, opposite
from pretrain.examples import ChapterExamples
from pretrain.objectives.relative_position import RelativePosition
from pretrain.pretext.patch_sheets import guess
from pretrain.pretext.patches import Layout, blur_some, cut, cut_pairs, keep_one_channel
from tests.kills import left_in, survive

SMALL = {"layer_type": "basic", "embedding_size": 16, "hidden_sizes": [16, 16], "depths": [1, 1]}
TINY = RelativePosition(
    name="relative_position", image_size=32, area_range=(1.0, 1.0), patch_size=6, gap=2, jitter=1, downsample=0,
    head_size=32,
)  # fmt: skip


class Photographs:
    """Pictures that are in memory."""

    classes = ()

    def __init__(self, pictures):
        self.pictures, self.labels = pictures, np.full(len(pictures), -1)

    def __len__(self):
        return len(self.pictures)

    def load(self, index, least=0):
        return [self.pictures[number] for number in index]


def coordinates(height, width):
    """A picture in which a pixel's colours are its row and its column."""
    rows, columns = np.indices((height, width))
    return np.stack([rows, columns, np.zeros_like(rows)], -1).astype(np.uint8)


def examples_of(objective, pictures, key=3):
    chapter = PictureChapter(Photographs(pictures), np.arange(len(pictures)))
    return ChapterExamples(chapter, objective, Images(), objective.size, key)


def test_a_neighbour_lies_where_the_answer_says_a_gap_apart_and_moved_a_little():
    objective = replace(TINY, color="keep", grids=8)
    batch = examples_of(objective, [coordinates(32, 32)] * 4).batch(np.arange(4))
    corner = batch.x["patches"][:, 0, 0, :2].long()[batch.x["pairs"]]  # (M, 2, 2)
    apart = (corner[:, 1] - corner[:, 0]).numpy()
    nominal = 8 * np.array(PLACES)[batch.y["place"]]
    assert np.abs(apart - nominal).max() == 2 * objective.jitter
    assert len(np.unique(apart - nominal, axis=0)) > 20
    assert np.abs(apart).max(1).min() >= objective.patch_size  # they never overlap
    assert (corner >= 0).all()
    assert (corner <= 32 - 6).all()
    assert corner.flatten(0, 1).unique(dim=0).shape[0] > 100  # off any grid, such as that of a JPEG


def test_each_pair_is_asked_in_both_orders_and_each_place_equally_often():
    batch = examples_of(TINY, [coordinates(32, 32)] * 3).batch(np.arange(3))
    assert torch.bincount(batch.y["place"], minlength=8).tolist() == [3] * 8
    pairs, place = batch.x["pairs"].view(-1, 2, 2), batch.y["place"].view(-1, 2)
    assert torch.equal(pairs[:, 0], pairs[:, 1].flip(1))
    assert torch.equal(opposite(place[:, 0]), place[:, 1])
    assert all(tuple(-np.array(PLACES[number])) == PLACES[opposite(number)] for number in range(8))


def test_where_a_pair_lies_says_nothing_of_its_answer():
    layout, number = Layout(6, 2, 1), 4000
    sizes = np.full(number, 32)
    corners, place = layout.corners(sizes, sizes, np.arange(number), 1, key=1)
    middle = corners.mean(2)  # (B, 4, 2) of both patches
    assert place.tolist() == [4, 5, 6, 7]
    assert np.ptp(middle.mean(0), axis=0).max() < 0.4
    assert np.ptp(middle.std(0), axis=0).max() < 0.3


def test_pictures_are_made_as_large_as_the_paper_says_and_never_too_small_for_a_pair():
    objective = RelativePosition(name="relative_position", color="keep", downsample=0)
    photo, strip = data.coffee(), np.full((40, 900, 3), 7, np.uint8)
    assert objective.image_size**2 * np.array(objective.area_range) == pytest.approx((150_000, 450_000), rel=2e-3)
    shots = Shots([photo, strip], np.arange(2), np.full(2, -1))
    patches, _ = cut_pairs(shots, objective.layout, 548**2, (1.0, 1.0), 1, key=0)
    assert patches.shape == (2, 4, 2, 96, 96, 3)
    assert (patches[1] == 7).all()
    assert len(np.unique(cut_pairs(shots, objective.layout, 548**2, (0.5, 1.5), 1, key=0)[0][0] - patches[0])) > 1


def test_a_patch_of_a_scaled_picture_is_that_of_the_picture_made_larger():
    photo = data.astronaut()[:200, :300]
    whole = np.asarray(Image.fromarray(photo).resize((450, 300), Image.Resampling.BILINEAR)).astype(int)
    found = cut(photo, np.array([[30, 60], [0, 0], [210, 360]]), 90, np.array([1.5, 1.5])).astype(int)
    for patch, (row, column) in zip(found, [(30, 60), (0, 0), (210, 360)], strict=True):
        assert np.abs(patch - whole[row : row + 90, column : column + 90]).max() <= 1


def test_one_channel_is_left_and_the_others_are_noise():
    patches = np.stack([data.astronaut()[row : row + 96, 100:196] for row in range(0, 300, 10)])
    index = np.arange(len(patches))
    found = keep_one_channel(patches, 5, index, index)
    same = (found == patches).all((1, 2))
    assert (same.sum(1) == 1).all()
    assert same.any(0).all()
    noise = found.transpose(0, 3, 1, 2)[~same]
    assert set(np.unique(noise)) == {0, 1}
    assert noise.mean() == pytest.approx(0.5, abs=0.01)
    pixels = normalize_patches(torch.from_numpy(found), False).transpose(0, 1)[:, :, 0, 0]
    assert pixels.isfinite().all()


def test_a_lens_that_moves_red_and_blue_against_green_is_not_seen_by_the_projection():
    grey = torch.from_numpy(data.camera()[:96, 200:296]).float()
    shifted = torch.stack([grey, grey.roll(2, 1), grey], -1)[None]  # green apart from red and blue
    plain, projected = (normalize_patches(shifted, project)[0] for project in (False, True))
    assert torch.allclose(projected[0], projected[1], atol=1e-4)  # one picture in all channels: no fringes of colour
    assert not torch.allclose(plain[0], plain[1], atol=0.1)


def test_contrast_and_brightness_say_nothing_and_a_flat_patch_stays_quiet():
    patch = torch.from_numpy(data.astronaut()[:96, 200:296].astype(np.float32))[None]
    one, other = normalize_patches(patch, False), normalize_patches(patch * 0.5 + 20, False)
    assert torch.allclose(one, other, atol=0.1)
    assert one.square().mean() == pytest.approx(1, abs=0.1)
    assert normalize_patches(torch.full((1, 8, 8, 3), 100), False).abs().max() == 0


def test_some_patches_are_shown_with_fewer_pixels():
    patches = np.stack([data.astronaut()[100:196, column : column + 96] for column in range(0, 400, 2)])
    index = np.arange(len(patches))
    found = blur_some(patches, 0.33, 10, 5, index, index)
    changed = np.flatnonzero((found != patches).any((1, 2, 3)))
    assert len(changed) / len(patches) == pytest.approx(0.33, abs=0.1)
    before, after = (np.abs(np.diff(each[changed].astype(int), axis=2)).mean() for each in (patches, found))
    assert after < 0.7 * before
    assert found[changed].mean() == pytest.approx(patches[changed].mean(), rel=0.01)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"jitter": 30}, r"jitter is 30 and gap 48: two patches could overlap.*lower jitter to 24, or raise gap to 60"),
        ({"area_range": (2.0, 1.0)}, r"area_range is \[2.0, 1.0\]; two numbers"),
        ({"downsample": 2.0}, "downsample is 2.0; it is a share"),
        ({"patch_size": 6}, "downsample_to is 10, more than the 6 pixels of patch_size"),
        ({"grids": 0}, "grids is 0; it must be 1 or more"),
    ],
)
def test_settings_that_do_not_do_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        RelativePosition(name="relative_position", **changes)


@pytest.fixture
def model() -> RelativePositionModel:
    torch.manual_seed(0)
    return TINY.build(SMALL, Images())


def test_the_controls_see_one_patch_and_teach_the_trunk_nothing(model):
    batch = examples_of(TINY, [data.astronaut()[:32, :32]] * 4).batch(np.arange(4))
    sums = TINY.loss(model.train(), batch)
    (sums["neighbour_alone"] + sums["centre_alone"]).backward()
    assert all(weight.grad is None for weight in [*model.trunk.parameters(), *model.patch_features.parameters()])
    model.eval()
    patches, pairs = batch.x["patches"], torch.tensor([[0, 1], [2, 1], [0, 3]])
    found = model(patches, pairs)
    assert torch.equal(found["neighbour_alone"][0], found["neighbour_alone"][1])
    assert torch.equal(found["centre_alone"][0], found["centre_alone"][2])
    assert not torch.equal(found["place"][0], found["place"][1])


def test_a_picture_that_tells_where_each_patch_is_is_found_out(model):
    """Slopes that are steeper to the right and below: any patch knows where it is."""
    slope = np.linspace(0, 1, 32) ** 2
    telling = (255 * (slope[:, None, None] * [1, 0, 0] + slope[None, :, None] * [0, 1, 0])).astype(np.uint8)
    objective = replace(TINY, color="keep", grids=2)
    examples = examples_of(objective, [telling] * 32)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(30):
        batch = examples.batch(np.arange(16))
        sums = objective.loss(model.train(), batch)
        torch.stack([value / len(batch.y["place"]) for value in sums.values()]).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    unseen = [examples_of(replace(objective, grids=16), [telling] * 32, key=4).batch(np.arange(32))]
    told = objective.samples(model.eval(), Images(), 0, unseen)[0]
    assert "above chance: neighbour alone, centre alone" in told
    fresh = TINY.build(SMALL, Images()).eval()
    assert "above" not in objective.samples(fresh, Images(), 0, unseen)[0]


def test_pairs_and_samples_are_pictures(model):
    examples = examples_of(TINY, [data.astronaut()[: 32 * n, : 32 * n] for n in (1, 2, 3)])
    batch = examples.batch(np.arange(3))
    shown = TINY.show(batch, Images())
    assert len(shown) == 3
    assert Image.open(io.BytesIO(shown[0].png)).size == (4 * 128 + 3 * 2, 128)
    assert shown[0].caption == "→ ↙ ↓ ↘"
    said, *drawn = TINY.samples(model.eval(), Images(), 0, [batch])
    assert "Right of 3 held-out pictures: place" in said
    assert "chance 12.5%" in said
    assert [picture.caption.split()[0] for picture in drawn] == ["Rows:", "Patches", "The"]
    assert all(Image.open(io.BytesIO(picture.png)).size > (30, 30) for picture in drawn)


@pytest.mark.parametrize("kind", ["resnet_gn", "alexnet", "dinov2"])
def test_the_saved_model_opens_as_its_trunk_and_whole(kind, tmp_path):
    settings = {
        "resnet_gn": SMALL,
        "alexnet": {"hidden_sizes": [16] * 5},
        "dinov2": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8},
    }[kind]
    objective = RelativePosition(name="relative_position", head_size=16)
    model = objective.build({"model_type": kind, **settings}, Images()).eval()
    model.save_pretrained(tmp_path)
    patches = torch.randint(256, (2, 96, 96, 3), dtype=torch.uint8)
    pairs = torch.tensor([[0, 1], [1, 0]])
    again = RelativePositionModel.from_pretrained(tmp_path).eval()
    assert torch.equal(again(patches, pairs)["place"], model(patches, pairs)["place"])
    pixels = normalize_patches(patches, False)
    last = feature_maps(model.trunk, pixels)[-1]
    assert torch.equal(feature_maps(AutoModel.from_pretrained(tmp_path), pixels)[-1], last)
    torch.testing.assert_close(open_backbone(tmp_path)(pixels).feature_maps[-1], last, rtol=1e-4, atol=1e-4)


def textures(number: int, seed: int) -> list[np.ndarray]:
    """Pictures cut out of endless coarse noise: where a patch lies in one of them, nothing tells."""
    chance = np.random.default_rng(seed)
    fields = [gaussian_filter(chance.standard_normal((200, 200)), 4.0, mode="wrap") for _ in range(number // 8)]
    found = []
    for field in fields:
        for row, column in chance.integers(0, 200, (8, 2)):
            grey = np.roll(field, (row, column), (0, 1))[:32, :32]
            found.append(np.repeat(np.clip(128 + 900 * grey, 0, 255).astype(np.uint8)[:, :, None], 3, 2))
    return found


@pytest.mark.slow
def test_on_pictures_without_a_middle_both_patches_tell_the_place_and_one_tells_nothing():
    """So nothing that is done to the patches gives the answer away; on photographs what they show may."""
    objective = replace(TINY, grids=2)
    torch.manual_seed(0)
    model = objective.build({**SMALL, "hidden_sizes": [16, 32]}, Images())
    examples = examples_of(objective, textures(2048, seed=1))
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for step in range(200):
        batch = examples.batch(examples.order[np.arange(16 * step, 16 * step + 16) % len(examples.order)])
        sums = objective.loss(model.train(), batch)
        torch.stack([value / len(batch.y["place"]) for value in sums.values()]).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    unseen = examples_of(objective, textures(512, seed=2), key=9)
    found = guess(model.eval(), [unseen.batch(np.arange(512))])
    assert found.right("place")[0] > 0.16
    for name in ALONE:
        share, error = found.right(name)
        assert abs(share - 1 / 8) < max(4 * error, 0.005), name


RUN = {
    "name": "places", "images": {"sources": [{"kind": "photos", "limit": 200}], "held_out": 0.2}, "model": SMALL,
    "objective": {"name": "relative_position", "image_size": 64, "patch_size": 16, "gap": 4, "jitter": 2,
                  "head_size": 32},
    "optimizer": {"learning_rate": 1e-3}, "schedule": {},
    "plan": {"max_steps": 8, "global_batch_size": 8, "per_device_train_batch_size": 4, "logging_steps": 1,
             "eval_steps": 4, "save_steps": 2},
    "max_eval_samples": 16,
}  # fmt: skip


@pytest.fixture
def new(tmp_path):
    def make(name: str):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "recipe.yaml").write_text(yaml.safe_dump(RUN))
        return folder

    return make


def weights_of(folder):
    return (folder / "runs/places/model/model.safetensors").read_bytes()


@pytest.mark.slow
def test_stopped_by_a_signal_it_resumes_bit_by_bit_and_its_report_shows_the_controls(new, launch):
    whole, stopped = new("whole"), new("stopped")
    assert launch(whole, "recipe.yaml").status == 0
    signalled = []

    def stop(pid):
        if not signalled and (stopped / "runs/places/state/step-2").exists():
            signalled.append(pid)
            os.kill(pid, signal.SIGTERM)

    assert launch(stopped, "recipe.yaml", watch=stop).status == 3
    ended = launch(stopped, "recipe.yaml")
    assert ended.status == 0, ended.said
    assert weights_of(whole) == weights_of(stopped)
    run = whole / "runs/places"
    report, card = (run / "report.html").read_text(), (run / "model/README.md").read_text()
    for said in ("neighbour alone accuracy", "centre alone accuracy"):
        assert said in report
    for name in ("neighbour_alone_accuracy", "centre_alone_accuracy"):
        assert name in card
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert {f"{who}_{name}_accuracy" for who in ("eval", "baseline") for name in ("place", *ALONE)} <= last.keys()
    samples = (run / "samples/step-8.md").read_text()
    assert samples.count("![") == 3
    assert "chance 12.5%" in samples


@pytest.mark.slow
def test_killed_at_any_moment_it_reaches_the_same_end(new, launch):
    survive(launch, new, 4, lambda folder: {**left_in(folder / "runs/places/model", ("*.safetensors", "*.json"))})
