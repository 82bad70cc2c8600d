"""Do the transformations of exemplar networks do to one patch what scikit-image does, and to many what to one?"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.color import hsv2rgb, rgb2hsv
from skimage.data import astronaut
from skimage.transform import SimilarityTransform, warp

from corpus.images.transformations import (
    Colours,
    Transformations,
    draw_parameters,
    recolour,
    resample,
    transform,
    unchanged,
)

SIZE, WIDTH = 32, 72


@pytest.fixture(scope="module")
def window() -> np.ndarray:
    """(72, 72, 3) between 0 and 1."""
    return astronaut()[60 : 60 + WIDTH, 180 : 180 + WIDTH] / np.float32(255)


def tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy())


def array(patches: torch.Tensor) -> np.ndarray:
    return patches[0].numpy().transpose(1, 2, 0)


def test_the_unchanged_patch_is_the_middle_of_its_window(window):
    drawn, colours = unchanged(1), Colours.of(window.reshape(-1, 3))
    middle = window[20:52, 20:52]
    assert array(resample(tensor(window), SIZE, drawn)) == pytest.approx(middle, abs=1e-5)
    assert array(transform(tensor(window), SIZE, drawn, colours)) == pytest.approx(middle, abs=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"translation": [[0.2, 0.0]]}, {"translation": [[0.03, -0.17]]}, {"scale": [0.7]}, {"scale": [1.4]},
        {"rotation": [0.3]}, {"rotation": [-0.3], "scale": [1.2], "translation": [[-0.1, 0.2]]},
    ],
)  # fmt: skip
def test_shift_scale_and_angle_are_those_of_scikit_image(window, change):
    drawn = replace(unchanged(1), **{name: np.array(value, np.float32) for name, value in change.items()})
    found = array(resample(tensor(window), SIZE, drawn))
    middle = np.array([(WIDTH - 1) / 2] * 2)
    away, towards = SimilarityTransform(translation=-middle), SimilarityTransform(translation=middle)
    moved = SimilarityTransform(translation=drawn.translation[0] * SIZE)
    # Things move and grow, and then turn: anticlockwise, where rows count downwards.
    turned = SimilarityTransform(rotation=-drawn.rotation[0]) + SimilarityTransform(scale=drawn.scale[0])
    theirs = warp(window, (away + moved + turned + towards).inverse, order=1, mode="reflect")[20:52, 20:52]
    assert found == pytest.approx(theirs, abs=1e-4)


def test_things_move_to_the_right_and_down_grow_and_turn_anticlockwise():
    window = torch.zeros(1, 1, WIDTH, WIDTH)
    window[0, 0, 36, 44] = 1.0  # right of the middle

    def found(**change) -> tuple[int, int]:
        drawn = replace(unchanged(1), **{name: np.array(value, np.float32) for name, value in change.items()})
        place = int(resample(window.expand(1, 3, -1, -1), SIZE, drawn)[0, 0].argmax())
        return place // SIZE, place % SIZE

    assert found() == (16, 24)
    assert found(translation=[[0.125, 0.25]]) == (24, 28)
    assert found(scale=[1.4])[1] > 26
    row, column = found(rotation=[np.pi / 4])
    assert row < 12 and column < 24  # noqa: PT018


def test_saturation_value_and_hue_are_those_of_scikit_image(window):
    drawn = replace(
        unchanged(1),
        power=np.array([[0.5, 2.0]], np.float32), factor=np.array([[0.8, 1.3]], np.float32),
        shift=np.array([[0.05, -0.1]], np.float32), hue=np.array([-0.07], np.float32),
    )  # fmt: skip
    colours = Colours.of(window.reshape(-1, 3))
    hsv = rgb2hsv(window)
    hsv[..., 0] = (hsv[..., 0] - 0.07) % 1
    hsv[..., 1] = np.clip(hsv[..., 1] ** 0.5 * 0.8 + 0.05, 0, 1)
    hsv[..., 2] = np.clip(hsv[..., 2] ** 2.0 * 1.3 - 0.1, 0, 1)
    assert array(recolour(tensor(window), drawn, colours)) == pytest.approx(hsv2rgb(hsv), abs=1e-4)


def test_contrast_stretches_along_the_principal_components():
    drawn = np.random.default_rng(0)
    grey = drawn.uniform(0.3, 0.7, (4000, 1)) + drawn.normal(0, 0.01, (4000, 3))  # most of all lies along grey
    colours = Colours.of(grey)
    change = replace(unchanged(1), contrast=np.array([[1, 1, 2.0]], np.float32))
    pixels = np.array([[[0.4, 0.4, 0.4], [0.6, 0.6, 0.6]]], np.float32)
    found = array(recolour(tensor(pixels), change, colours))
    assert found[0, :, 0] == pytest.approx(2 * pixels[0, :, 0] - grey.mean(), abs=5e-3)
    assert np.ptp(found, axis=2).max() < 5e-3
    axis = colours.axes[:, 2]
    assert abs(axis) == pytest.approx(np.full(3, 3**-0.5), abs=0.01)


def test_draws_are_a_function_of_key_index_and_draw():
    strengths = Transformations()
    index, draw = np.arange(500), np.arange(500) % 7
    whole = draw_parameters(strengths, 5, index, draw)
    alone = draw_parameters(strengths, 5, index[8:9], draw[8:9])
    others = [draw_parameters(strengths, 6, index, draw), draw_parameters(strengths, 5, index, draw + 1)]
    for name, values in vars(whole).items():
        assert (values[8:9] == vars(alone)[name]).all()
        for other in others:
            assert (values != vars(other)[name]).all()
    assert abs(whole.translation).max() == pytest.approx(0.2, abs=0.01)
    assert np.degrees(abs(whole.rotation).max()) == pytest.approx(20, abs=0.5)
    for values, low, high in (
        (whole.scale, 0.7, 1.4), (whole.contrast, 0.5, 2), (whole.power, 0.25, 4), (whole.factor, 0.7, 1.4),
    ):  # fmt: skip
        assert low <= values.min() < 1.05 * low
        assert 0.95 * high < values.max() <= high
        assert np.median(values) == pytest.approx((low * high) ** 0.5, rel=0.15)


def test_a_batch_is_transformed_as_each_of_its_patches_is():
    windows = torch.rand(9, 3, WIDTH, WIDTH, generator=torch.Generator().manual_seed(0))
    strengths, index, draw = Transformations(), np.arange(9), np.zeros(9, np.int64)
    colours = Colours.of(windows.movedim(1, 3).reshape(-1, 3).numpy())
    whole = transform(windows, SIZE, draw_parameters(strengths, 1, index, draw), colours)
    assert whole.min() >= 0 and whole.max() <= 1  # noqa: PT018
    for row in range(9):
        some = slice(row, row + 1)
        alone = transform(windows[some], SIZE, draw_parameters(strengths, 1, index[some], draw[some]), colours)
        assert alone[0] == pytest.approx(whole[row], abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scale": (0.3, 1.4)}, "raise the first number of scale"),
        ({"power": (4, 0.25)}, "power is"),
        ({"hue": -1}, "hue"),
    ],
)
def test_strengths_that_make_no_sense_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Transformations(**settings)
