"""Does the page colour a picture as the model does, and does a person's picture come to it?"""

import base64
import io
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from finetune.ask.playground.facts import describe
from finetune.ask.playground.models import load_models
from finetune.ask.playground.page import page
from finetune.ask.playground.pictures import cut_patches, example_picture, read_picture, show_places, write_picture
from finetune.ask.playground.views import VIEWS
from networks.colorization import make_colorizer
from networks.colors import Bins
from networks.pictures import make_trunk, map_shapes
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
    assert loaded.abilities == ("color",)
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
    assert loaded.abilities == ("place",)
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
def test_in_a_browser_a_chosen_picture_is_coloured_and_nothing_is_uploaded(run, picture, tmp_path, browser):
    Image.fromarray(picture).save(tmp_path / "mine.bmp")
    playground = subprocess.Popen(
        [sys.executable, "-m", "finetune.playground", str(run)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
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
        assert not [url for url in asked if "upload" in url]
    finally:
        playground.send_signal(signal.SIGTERM)
        assert playground.wait(20) is not None
