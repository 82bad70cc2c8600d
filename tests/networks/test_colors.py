"""Is Lab what scikit-image says, and are bins, targets, weights and guesses what their definitions say?"""

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab

from networks.colorization import ForColorization, make_colorizer, paint
from networks.colors import GRID, NEAREST, SIGMA, Bins, annealed_mean
from networks.lab import lab_to_rgb, rgb_to_lab
from networks.pictures import make_trunk, map_shapes

SMALL = {"layer_type": "basic", "embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]}


@pytest.fixture
def colors() -> np.ndarray:
    """Every 15th of each primary colour: 18**3 of all colours."""
    steps = np.arange(0, 256, 15).astype(np.uint8)
    return np.stack(np.meshgrid(steps, steps, steps), axis=-1)


class TestLab:
    def test_it_is_that_of_scikit_image(self, colors):
        assert np.abs(rgb_to_lab(colors) - rgb2lab(colors)).max() < 1e-4

    def test_every_colour_comes_back(self, colors):
        assert np.array_equal(lab_to_rgb(rgb_to_lab(colors)), colors)

    @pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
    def test_colours_that_no_screen_shows_are_cut_off_as_there(self):
        lab = np.random.default_rng(0).uniform([0, -110, -110], [100, 110, 110], (5000, 3))
        assert np.abs(lab_to_rgb(lab) - 255 * lab2rgb(lab)).max() < 0.51


class TestBins:
    @pytest.fixture
    def ab(self) -> np.ndarray:
        return np.random.default_rng(1).normal(0, 25, (4000, 2)).clip(-100, 90).astype(np.float32)

    @pytest.fixture
    def bins(self, ab) -> Bins:
        return Bins.around(ab)

    def test_they_are_the_squares_that_occur(self, bins, ab):
        squares = {(round(a / GRID) * GRID, round(b / GRID) * GRID) for a, b in ab.astype(float).tolist()}
        assert sorted(squares) == [tuple(center) for center in bins.centers.tolist()]

    def test_a_target_is_a_gaussian_over_the_nearest_bins(self, bins):
        asked = np.random.default_rng(2).uniform(-105, 95, (3000, 2)).astype(np.float32)  # some far from all bins
        found, shares = bins.encode(asked)
        apart = ((asked[:, None].astype(float) - bins.centers) ** 2).sum(-1)
        nearest = np.sort(apart, axis=1)[:, :NEAREST]
        assert np.take_along_axis(apart, found, 1) == pytest.approx(nearest, rel=1e-4, abs=1e-2)
        gaussian = np.exp((nearest[:, :1] - nearest) / (2 * SIGMA**2))
        assert shares == pytest.approx(gaussian / gaussian.sum(1, keepdims=True), abs=1e-4)
        assert all(len(set(row)) == NEAREST for row in found.tolist())

    def test_the_prior_is_the_mean_of_the_targets(self, bins, ab):
        found, shares = bins.encode(ab)
        dense = np.zeros((len(ab), len(bins)))
        np.put_along_axis(dense, found, shares, 1)
        assert bins.prior == pytest.approx(dense.mean(0), rel=1e-4, abs=1e-7)

    @pytest.mark.parametrize("rebalance", [0.0, 0.5, 1.0])
    def test_weights_are_one_in_the_mean_and_larger_for_rarer_colours(self, bins, rebalance):
        weights = bins.weights(rebalance)
        assert (weights * bins.prior).sum() == pytest.approx(1, rel=1e-5)
        mixed = (1 - rebalance) * bins.prior + rebalance / len(bins)
        assert weights * mixed == pytest.approx(np.full(len(bins), weights[0] * mixed[0]), rel=1e-4)

    def test_a_few_bins_are_enough(self):
        bins = Bins.around(np.array([[0.0, 0.0], [40.0, 0.0]]))
        found, shares = bins.encode(np.array([[31.0, 2.0]], np.float32))
        assert found.tolist() == [[1, 0]]
        assert shares.sum() == pytest.approx(1)

    def test_without_pictures_they_are_those_of_all_colours(self, colors):
        bins = Bins.of_gamut()
        squares = np.unique(np.rint(rgb_to_lab(colors).reshape(-1, 3)[:, 1:] / GRID), axis=0)
        assert len(bins) == len(squares)
        assert np.ptp(bins.prior) == 0


def test_the_annealed_mean_goes_from_the_mean_to_the_likeliest():
    centers = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 80.0]])
    shares = torch.tensor([0.5, 0.3, 0.2])
    assert annealed_mean(shares.log(), centers, 1.0).tolist() == pytest.approx([15, 16], rel=1e-5)
    sharper = shares ** (1 / 0.38)
    expected = (sharper / sharper.sum()) @ centers
    assert annealed_mean(shares.log(), centers, 0.38).tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert annealed_mean(shares.log(), centers, 0.0).tolist() == [0, 0]


class TestModel:
    @pytest.fixture
    def model(self) -> ForColorization:
        torch.manual_seed(0)
        config, trunk = make_trunk(SMALL, 16)
        bins = Bins.around(np.random.default_rng(3).normal(0, 30, (500, 2)))
        channels = [channels for channels, *_ in map_shapes(trunk, 16)]
        settings = {
            "centers": bins.centers.tolist(), "prior": bins.prior.tolist(), "rebalance": 0.5, "image_size": 16,
            "reduction": 2, "channels": channels, "width": 16, "mean": 0.5, "std": 0.25,
        }  # fmt: skip
        return make_colorizer(config, trunk, settings).eval()

    @pytest.fixture
    def picture(self) -> np.ndarray:
        return np.random.default_rng(4).integers(0, 256, (40, 50, 3)).astype(np.uint8)

    def test_a_saved_one_colours_as_before_without_data(self, model, picture, tmp_path):
        model.save_pretrained(tmp_path)
        again = ForColorization.from_pretrained(tmp_path).eval()
        for temperature in (1.0, 0.38, 0.0):
            assert np.array_equal(again.color(picture, temperature), model.color(picture, temperature))

    def test_the_lightness_of_a_picture_stays_and_its_colours_are_not_looked_at(self, model, picture):
        found = model.color(picture, 1.0)
        grey = lab_to_rgb(rgb_to_lab(picture) * np.array([1, 0, 0], np.float32))
        assert found.shape == picture.shape
        lightness = rgb_to_lab(picture)[..., 0]
        assert np.abs(rgb_to_lab(found)[..., 0] - lightness).mean() < 2  # but for what cannot be shown
        assert np.abs(model.color(grey, 1.0).astype(int) - found).mean() < 2

    def test_its_first_guess_is_the_prior(self, model):
        with torch.no_grad():
            model.guess.weight.zero_()
            shares = model(torch.rand(2, 1, 16, 16)).softmax(-1)
        assert shares.shape == (2, 8, 8, len(model.settings.prior))
        assert shares[1, 3, 4].tolist() == pytest.approx(model.settings.prior, rel=1e-3, abs=1e-6)

    def test_its_trunk_sees_no_colour(self, model):
        """The three channels are one: a picture and the mean of its channels look alike to it."""
        pixels = torch.rand(1, 3, 16, 16)
        grey = pixels.mean(1, keepdim=True).expand(-1, 3, -1, -1)
        with torch.no_grad():
            one, other = (model.trunk(pixel_values=each).last_hidden_state for each in (pixels, grey))
        assert torch.allclose(one, other, atol=1e-5)


def test_colours_are_drawn_out_to_the_size_of_the_lightness():
    lightness, ab = torch.full((1, 8, 8), 0.5), torch.zeros(2, 2, 2)
    ab[:, 1] = torch.tensor([40.0, 20.0])
    painted = rgb_to_lab(paint(lightness, ab))
    assert painted[0, 0] == pytest.approx([50, 0, 0], abs=1)
    assert painted[7, 7] == pytest.approx([50, 40, 20], abs=1)
