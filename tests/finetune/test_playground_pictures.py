"""Does the page colour a picture as the model does, and does a person's picture come to it?"""

import base64
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch.nn.functional import cosine_similarity
from transformers import ConvNextImageProcessorPil, ResNetConfig, ResNetModel

from corpus.images.opening import Collection
from corpus.images.scaling import middle
from corpus.images.source import PictureSource
from corpus.images.store import prepare
from finetune.ask.playground.facts import describe
from finetune.ask.playground.gallery import open_folder
from finetune.ask.playground.models import load_models
from finetune.ask.playground.page import offer, page
from finetune.ask.playground.pictures import cut_patches, example_picture, read_picture, show_places, write_picture
from finetune.ask.playground.views import VIEWS
from networks.colorization import make_colorizer
from networks.colors import Bins
from networks.exemplar import ExemplarNet
from networks.pictures import make_trunk, map_shapes, open_backbone
from networks.relative_position import RelativePositionModel

ROOT = Path(__file__).parents[2]
SMALL = {"layer_type": "basic", "embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The run of a model that colours, with random weights."""
    torch.manual_seed(0)
    config, trunk = make_trunk(SMALL, 32)
    bins = Bins.around(np.random.default_rng(3).normal(0, 30, (500, 2)))
    settings = {
        "centers": bins.centers.tolist(), "prior": bins.prior.tolist(), "rebalance": 0.5, "image_size": 32,
        "reduction": 2, "channels": [channels for channels, *_ in map_shapes(trunk, 32)], "width": 16, "mean": 0.5,
        "std": 0.25,
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("runs") / "colorization-small"
    make_colorizer(config, trunk, settings).save_pretrained(folder / "model")
    return folder


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (40, 50, 3)).astype(np.uint8)


def pictures_in(answer: str) -> list[np.ndarray]:
    found = re.findall(r"base64,([^']+)'", answer)
    return [np.array(Image.open(io.BytesIO(base64.b64decode(each)))) for each in found]


def test_a_picture_is_coloured_as_the_model_colours_it(run, picture):
    (loaded,) = load_models([str(run)])
    assert loaded.abilities == ("color", "near")
    for temperature in (1.0, 0.0):
        (answer,) = VIEWS["color"].ask(loaded, write_picture(picture), temperature)
        grey, colored, truth = pictures_in(answer)
        assert np.ptp(grey.astype(int), axis=2).max() <= 2
        assert np.array_equal(colored, loaded.model.color(picture, temperature))
        assert np.array_equal(truth, picture)
    assert describe(loaded, ["Colour"])[1:4] == [
        "resnet_gn: colour", f"{loaded.model.num_parameters() / 1e6:,.1f} M parameters", "pictures",
    ]  # fmt: skip
    labels = [each.get("props", {}).get("label") for each in page([loaded]).config["components"]]
    assert "Colour" in labels
    assert "Look inside" not in labels  # there is no attention


def test_the_place_of_a_patch_is_what_the_model_guesses(tmp_path, picture):
    torch.manual_seed(0)
    model = RelativePositionModel.over(*make_trunk(SMALL, 8), patch_size=8, head_size=16, project=False)
    model.save_pretrained(tmp_path / "places/model")
    (loaded,) = load_models([str(tmp_path / "places")])
    assert loaded.abilities == ("place", "near")
    (answer,) = VIEWS["place"].ask(loaded, write_picture(picture), 3)
    patches = cut_patches(picture, 8)
    centre, chosen = pictures_in(answer)
    assert np.array_equal(centre, patches[4])
    assert np.array_equal(chosen, patches[2])
    with torch.inference_mode():
        logits = model.eval()(torch.from_numpy(patches[[4, 2]]), torch.tensor([[0, 1]]))["place"][0]
    shares = (100 * logits.softmax(-1)).tolist()
    found = re.findall(r"<td[^>]*>(<strong>✓ )?([\d.]+) %", answer)
    assert [float(share) for _, share in found] == pytest.approx(shares, abs=0.051)
    assert [place for place, (mark, _) in enumerate(found) if mark] == [2]


@pytest.mark.parametrize(
    ("address", "trouble"),
    [
        ("", "There is no picture yet"),
        ("no picture", "no picture that the browser can read"),
        ("data:image/png;base64,aGVsbG8=", "no picture that the browser can read"),
        (write_picture(np.zeros((4, 600, 3), np.uint8)), "no picture that the browser can read"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(address, trouble):
    with pytest.raises(ValueError, match=trouble):
        read_picture(address)


def test_the_first_picture_is_one_that_is_installed():
    assert min(read_picture(example_picture()).shape[:2]) > 100


@pytest.fixture(scope="module")
def animals(tmp_path_factory) -> Path:
    """16 pictures of two classes: noise in orange, and noise in blue."""
    folder = tmp_path_factory.mktemp("animals")
    drawn = np.random.default_rng(5)
    for name, colour in {"cat": (200, 120, 40), "fish": (30, 90, 200)}.items():
        (folder / name).mkdir()
        for number in range(8):
            pixels = np.clip(drawn.normal(colour, 30, (30, 34, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def captions_of(answer: str) -> list[tuple[str, float]]:
    """The class and the cosine of each near picture."""
    found = [caption.rpartition(" ") for caption in re.findall(r"<figcaption>([^<]*\d)</figcaption>", answer)]
    return [(label, float(cosine)) for label, _, cosine in found]


def test_the_nearest_pictures_are_those_with_the_largest_cosine(run, animals, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (loaded,) = load_models([str(run)], open_folder(str(animals)))
    assert offer([loaded]) == {"choices": ["stem", "stage1", "stage2"], "value": "stage2"}
    asked = np.array(Image.open(animals / "cat/3.png"))
    *waiting, answer = VIEWS["near"].ask(loaded, write_picture(asked), "stage1")
    assert [re.sub("<.*?>", "", each) for each in waiting] == [
        "colorization-small looks at the pictures for the first time: 0 of 16"
    ]
    backbone = open_backbone(run / "model", out_features=["stage1"])
    squares = {
        (path.parent.name, path.name): middle(np.array(Image.open(path)), 96) for path in sorted(animals.glob("*/*"))
    }
    pixels = torch.from_numpy(np.stack(list(squares.values()))).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.inference_mode():
        features = backbone((pixels - mean) / std).feature_maps[0].mean((2, 3))
    small = torch.nn.functional.adaptive_avg_pool2d(pixels, 32).flatten(1)
    expected = []
    for found in (features, small):  # one stage, and raw pixels
        cosines = cosine_similarity(found[list(squares).index(("cat", "3.png"))][None], found)
        expected += cosines.sort(descending=True).values[:8].tolist()
    captions = captions_of(answer)
    assert [cosine for _, cosine in captions] == pytest.approx(expected, abs=1e-3)
    assert captions[0] == captions[8] == ("cat", 1.0)
    assert {label for label, _ in captions[8:]} == {"cat"}
    assert np.array_equal(pictures_in(answer)[1], pictures_in(answer)[0])  # the picture itself is nearest
    assert "Among 16 pictures" in answer
    (again,) = VIEWS["near"].ask(loaded, write_picture(asked), "stage1")  # the pictures are looked at once
    assert again == answer
    with pytest.raises(ValueError, match=r"has no stage9 \(its stages: stem, stage1, stage2\)"):
        next(VIEWS["near"].ask(loaded, write_picture(asked), "stage9"))


def test_a_run_looks_among_the_pictures_that_it_was_trained_on(animals, picture, tmp_path, monkeypatch):
    """An exemplar run, whose head is for training alone, in a folder where its store is still; and elsewhere."""
    config, trunk = make_trunk(SMALL, 32)
    folder = tmp_path / "runs/exemplar-small"
    ExemplarNet(config, trunk, 5).save_pretrained(folder / "model")
    ConvNextImageProcessorPil(size={"shortest_edge": 24}).save_pretrained(folder / "model")
    monkeypatch.chdir(tmp_path)
    images = Collection((PictureSource("folder", str(animals)),), held_out=0.25)
    store = prepare(images.sources, Path(images.stores), images.held_out, images.decoded_side)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"images": {"stores": images.stores}}))
    (folder / "stamps.json").write_text(f'{{"corpus": "{store.manifest["fingerprint"]}"}}')
    monkeypatch.chdir("/")
    (loaded,) = load_models([str(folder)])
    assert loaded.abilities == ("near",)
    answer = list(VIEWS["near"].ask(loaded, write_picture(picture), "stem"))[-1]
    assert pictures_in(answer)[0].shape == (24, 24, 3)  # what its image processor says
    assert len(captions_of(answer)) == 16
    (folder / "stamps.json").write_text('{"corpus": "another"}')
    (loaded,) = load_models([str(folder)])
    with pytest.raises(ValueError, match=r"trained on are not here: start the playground with --pictures FOLDER"):
        next(VIEWS["near"].ask(loaded, write_picture(picture), "stem"))


def test_a_network_of_pictures_without_a_head_of_ours_is_asked_too(animals, picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ResNetModel(config).save_pretrained(tmp_path / "plain")
    (loaded,) = load_models(["plain"], open_folder(str(animals)))
    assert describe(loaded, ["Nearest pictures"])[1] == "resnet: nearest pictures"
    answer = list(VIEWS["near"].ask(loaded, write_picture(picture), "stage2"))[-1]
    assert len(captions_of(answer)) == 16


def test_patches_stand_in_a_square_around_the_middle():
    rows, columns = np.indices((90, 120))
    ramp = np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)
    patches = cut_patches(ramp, 12).astype(float)
    assert patches.shape == (9, 12, 12, 3)
    down, right = patches[..., 0].mean((1, 2)).reshape(3, 3), patches[..., 1].mean((1, 2)).reshape(3, 3)
    assert np.ptp(down, axis=1).max() < 1
    assert np.ptp(right, axis=0).max() < 1
    assert down[1] == pytest.approx(44.5, abs=1.5)
    assert right[:, 1] == pytest.approx(59.5, abs=1.5)
    assert np.diff(down[:, 0]) == pytest.approx(np.diff(right[0]), rel=0.05)


def test_the_right_place_is_marked():
    answer = show_places([0.05] * 5 + [0.6] + [0.075] * 2, 5)
    cells = re.findall(r"<td[^>]*>(?:<strong>)?([^<]*)", answer)
    assert cells == ["5.0 %"] * 4 + ["the middle", "5.0 %", "✓ 60.0 %", "7.5 %", "7.5 %"]


@pytest.mark.slow
def test_in_a_browser_a_chosen_picture_is_coloured_and_nothing_is_uploaded(run, animals, picture, tmp_path, browser):
    Image.fromarray(picture).save(tmp_path / "mine.bmp")
    playground = subprocess.Popen(
        [sys.executable, "-m", "finetune.playground", str(run), "--pictures", str(animals)],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        address = next(found[1] for line in playground.stdout if (found := re.search(r"(http://\S+)", line)))
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.get_by_role("button", name="Colour", exact=True).click()  # the picture that stands there at first
        page.locator(".answer .pictures img").nth(2).wait_for()
        first = page.locator(".answer .pictures img").nth(2).get_attribute("src")
        page.locator(".drop input").set_input_files(tmp_path / "mine.bmp")
        page.wait_for_function(
            "first => document.querySelectorAll('.answer .pictures img')[2].getAttribute('src') !== first", arg=first
        )
        sources = page.locator(".answer .pictures img").evaluate_all("found => found.map(each => each.src)")
        assert np.array_equal(pictures_in(f"'{sources[2]}'")[0], picture)
        (tmp_path / "words.txt").write_text("no picture")
        page.locator(".drop input").set_input_files(tmp_path / "words.txt")
        page.get_by_text("no picture that the browser can read").wait_for()
        page.get_by_role("tab", name="Nearest pictures", exact=True).first.click()
        page.get_by_role("button", name="Nearest pictures", exact=True).click()
        near = page.locator(".answer .pictures.small").locator("visible=true")
        near.nth(2).wait_for()  # what the model sees, the nearest by a stage, and by raw pixels
        assert page.get_by_role("heading", name="The nearest by stage2", exact=True).is_visible()
        third = near.nth(1).locator("img").nth(2).get_attribute("src")
        near.nth(1).locator("button").nth(2).click()  # which asks for those that are near to it
        page.wait_for_function(
            "third => [...document.querySelectorAll('.drop img')].some(each => each.src === third)", arg=third
        )
        asked_for = near.nth(0).locator("img").first
        page.wait_for_function("([box, third]) => box.src === third", arg=[asked_for.element_handle(), third])
        page.get_by_role("combobox", name="Stage of the network").fill("stage1")
        page.get_by_role("option", name="stage1").click()
        page.get_by_role("heading", name="The nearest by stage1", exact=True).wait_for()
        assert not [url for url in asked if "upload" in url]
    finally:
        playground.send_signal(signal.SIGTERM)
        assert playground.wait(20) is not None
