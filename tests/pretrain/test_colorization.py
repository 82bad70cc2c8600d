"""Are colours asked for as the paper asks: bins of one's own pictures, grey ones left out, rare ones weighed?"""

import numpy as np
import pytest
import torch

from corpus.images.medium import Images
from corpus.images.pictures import PictureChapter, Shots
from networks.lab import rgb_to_lab
from pretrain.objectives.colorization import Colorization, RebalancedCrossEntropy
from pretrain.pretext.color_sheets import nearness
from pretrain.pretext.colors import (
    Cut,
    count_colors,
    cut_squares,
    level_of,
    open_table,
    read_colors,
    table_of,
    with_colors,
)

SIZE = 16
SMALL = {"hidden_sizes": [16, 32], "depths": [1, 1], "embedding_size": 16, "layer_type": "basic"}


class Photos:
    """Pictures that are half one colour, half another, and every fourth of them grey."""

    classes = ()

    def __init__(self, folder=None, number=24):
        drawn = np.random.default_rng(0).integers(0, 256, (number, 2, 3)).astype(np.uint8)
        drawn[::4] = drawn[::4, :, :1]
        self.pixels = np.repeat(np.repeat(drawn[:, :, None], SIZE // 2, 1), SIZE, 2)
        self.labels = np.full(number, -1)
        if folder:
            self.folder = folder / "pictures"

    def __len__(self):
        return len(self.pixels)

    def load(self, index, least=0):
        return list(self.pixels[index])


@pytest.fixture
def chapter():
    photos = Photos()
    return PictureChapter(photos, np.arange(len(photos)))


@pytest.fixture
def objective():
    return Colorization(name="colorization", image_size=SIZE, reduction=2, head_width=16)


@pytest.fixture
def medium(objective, chapter):
    return with_colors(Images(), chapter, objective.cut(SIZE), 1000)


def split(objective, medium, chapter, index, key=1):
    return objective.split(objective.units(chapter, SIZE, medium, key).take(np.asarray(index)), medium, key)


class TestRebalancedCrossEntropy:
    @pytest.fixture
    def case(self):
        chance = torch.Generator().manual_seed(0)
        logits = torch.randn(6, 5, generator=chance, dtype=torch.double, requires_grad=True)
        bins = torch.stack([torch.randperm(5, generator=chance)[:3] for _ in range(6)])
        shares = torch.rand(6, 3, generator=chance, dtype=torch.double).softmax(1)
        return logits, bins, shares, torch.tensor([0.2, 3.0, 1.0, 0.5, 2.0], dtype=torch.double)

    def targets(self, bins, shares):
        return torch.zeros(6, 5, dtype=torch.double).scatter(1, bins, shares)

    def test_the_loss_is_without_weights(self, case):
        logits, bins, shares, _ = case
        expected = -(self.targets(bins, shares) * logits.log_softmax(1)).sum()
        assert RebalancedCrossEntropy.apply(*case).item() == pytest.approx(expected.item())

    def test_its_gradient_is_that_of_the_weighed_loss(self, case):
        logits, bins, shares, weights = case
        (3 * RebalancedCrossEntropy.apply(*case)).backward()
        found, logits.grad = logits.grad, None
        each = -(self.targets(bins, shares) * (logits + weights.log()).log_softmax(1)).sum(1)
        (3 * weights[bins[:, 0]] * each).sum().backward()
        assert torch.allclose(found, logits.grad)

    def test_with_weights_of_one_it_is_the_plain_gradient(self, case):
        logits, bins, shares, _ = case
        function = RebalancedCrossEntropy.apply
        assert torch.autograd.gradcheck(lambda z: function(z, bins, shares, torch.ones(5).double()), (logits,))

    def test_at_its_minimum_the_output_is_the_share_of_each_colour_without_weights(self):
        """Colour 0 is three times as common as 1, which weighs more: what is trained says otherwise, the output does
        not."""
        logits = torch.zeros(1, 2, requires_grad=True)
        optimizer = torch.optim.SGD([logits], lr=0.3)
        bins, shares, weights = torch.tensor([[0], [0], [0], [1]]), torch.ones(4, 1), torch.tensor([0.5, 2.5])
        for _ in range(60):
            optimizer.zero_grad()
            RebalancedCrossEntropy.apply(logits.expand(4, 2), bins, shares, weights).backward()
            optimizer.step()
        assert logits.softmax(1)[0].tolist() == pytest.approx([0.75, 0.25], abs=1e-3)


class TestSplit:
    def test_lightness_is_shown_and_ab_asked_for_but_of_grey_pictures(self, objective, medium, chapter):
        batch = split(objective, medium, chapter, range(8))
        assert batch.x["lightness"].shape == (8, 1, SIZE, SIZE)
        assert batch.y["positions"].tolist() == [1, 2, 3, 5, 6, 7]
        assert batch.counts == {"color": 6 * 64}
        lab = rgb_to_lab(chapter.pictures.pixels[:8])
        assert 100 * batch.x["lightness"][:, 0].numpy() == pytest.approx(lab[..., 0], abs=1e-3)  # mirrored or not
        assert batch.y["ab"].numpy() == pytest.approx(lab[[1, 2, 3, 5, 6, 7], ::2, ::2, 1:], abs=1e-3)

    def test_a_pixel_with_little_colour_is_grey_as_the_threshold_says(self, chapter):
        shots = Shots(chapter.pictures.load(np.arange(24)), np.arange(24), np.full(24, -1))
        most = np.abs(rgb_to_lab(chapter.pictures.pixels)[..., 1:]).sum(-1).max((1, 2))
        for grey in (5.0, 60.0):
            assert read_colors(shots, Cut(SIZE, 2, grey), 0).is_asked.tolist() == (most > grey).tolist()

    def test_a_batch_of_grey_pictures_asks_nothing_and_costs_nothing(self, objective, medium, chapter):
        batch = split(objective, medium, chapter, [0, 4])
        assert batch.is_filler
        model = objective.build(SMALL, medium)
        loss = objective.loss(model, batch)["color"]
        loss.backward()
        assert loss.item() == 0
        assert all(not parameter.grad.any() for parameter in model.parameters())

    def test_a_later_phase_may_have_larger_pictures(self, objective, medium, chapter):
        t = objective.units(chapter, 24, medium, 1).take(np.arange(2))
        assert objective.split(t, medium, 1).x["lightness"].shape == (2, 1, 24, 24)
        with pytest.raises(ValueError, match="image_size is 25, which reduction 2 does not divide: give 24"):
            objective.units(chapter, 25, medium, 1)

    def test_pictures_of_any_size_are_cut_to_squares_and_half_of_them_mirrored(self):
        ramp = np.repeat(np.arange(90, dtype=np.uint8)[None, :, None], 60, 0).repeat(3, 2)
        shots = Shots([ramp] * 200, np.arange(200), np.full(200, -1))
        found = cut_squares(shots, Cut(48, 2, 5), 7)
        assert found.shape == (200, 48, 48, 3)
        rising = found[:, 0, -1, 0].astype(int) > found[:, 0, 0, 0]
        assert 70 < rising.sum() < 130
        assert len(set(found[rising, 0, 0, 0].tolist())) > 10  # cut at many places
        assert np.array_equal(found, cut_squares(shots, Cut(48, 2, 5), 7))


class TestCounting:
    def test_p_of_ab_given_lightness_is_a_naive_count(self, objective, medium, chapter):
        table = table_of(medium)
        lab = rgb_to_lab(chapter.pictures.pixels)[:, ::2, ::2]
        lab = lab[(np.abs(lab[..., 1:]).sum(-1) > 5).any((1, 2))].reshape(-1, 3)
        level = level_of(lab[:, 0])
        commonest = np.bincount(level).argmax()
        bins, shares = table.bins.encode(np.rint(lab[level == commonest, 1:]))
        dense = np.zeros((len(bins), len(table.bins)))
        np.put_along_axis(dense, bins, shares, 1)
        expected = (dense.sum(0) + 100 * table.bins.prior) / (len(dense) + 100)
        assert table.given_lightness[commonest] == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert table.given_lightness.sum(1) == pytest.approx(np.ones(51), rel=1e-4)

    def test_it_is_counted_once_beside_the_store(self, objective, tmp_path, monkeypatch):
        photos = Photos(tmp_path / "store")
        chapter, cut = PictureChapter(photos, np.arange(12)), objective.cut(SIZE)
        first = open_table(chapter, cut, 100)
        monkeypatch.setattr("pretrain.pretext.colors.count_colors", lambda *_: pytest.fail("counted again"))
        again = open_table(chapter, cut, 100)
        assert again.stamp == first.stamp
        assert np.array_equal(again.given_lightness, first.given_lightness)
        with pytest.raises(pytest.fail.Exception, match="counted again"):
            open_table(PictureChapter(photos, np.arange(11)), cut, 100)  # other pictures, other colours

    def test_other_colours_are_another_medium(self, objective, medium, chapter):
        other = with_colors(Images(), PictureChapter(chapter.pictures, np.arange(9)), objective.cut(SIZE), 1000)
        assert len({Images().stamp, medium.stamp, other.stamp}) == 3

    def test_grey_pictures_alone_are_refused_and_a_lower_threshold_helps(self, chapter):
        photos = Photos()
        photos.pixels[..., 1:] = photos.pixels[..., :1]
        photos.pixels[..., 2] += photos.pixels[..., 2] < 250
        grey = PictureChapter(photos, np.arange(24))
        with pytest.raises(ValueError, match=r"all of 24 pictures are grey .* lower objective\.grey"):
            count_colors(grey, Cut(SIZE, 2, 5.0), 1000)
        assert len(count_colors(grey, Cut(SIZE, 2, 0.5), 1000).bins)


class TestEvaluation:
    @pytest.fixture
    def model(self, objective, medium):
        torch.manual_seed(0)
        return objective.build(SMALL, medium).eval()

    def test_p_of_ab_given_lightness_stands_beside_the_loss(self, objective, medium, chapter, model):
        batch = split(objective, medium, chapter, range(24))
        with torch.no_grad():
            sums = {name: float(value) for name, value in objective.loss(model, batch).items()}
        found = objective.metrics(sums, batch.counts)
        assert found["color_given_lightness_loss"] == pytest.approx(batch.y["given_lightness"].mean().item())
        baselines = objective.baselines([batch])
        evaluated = {f"eval_{name}": value for name, value in found.items()}
        said = objective.terms[0].in_words(evaluated | {f"baseline_{name}": v for name, v in baselines.items()})
        assert said == (
            f"color_loss {found['color_loss']:.4g}, baseline {baselines['color_loss']:.4g}, "
            f"p(ab | L) {found['color_given_lightness_loss']:.4g}"
        )

    def test_the_sheet_has_a_row_a_picture_and_the_areas_are_those_of_grey(self, objective, medium, chapter, model):
        batches = [split(objective, medium, chapter, range(first, first + 8)) for first in (0, 8)]
        sheet, areas = objective.samples(model, medium, 0, batches)
        assert sheet.png.startswith(b"\x89PNG")
        ab = torch.cat([batch.y["ab"] for batch in batches])
        expected = (1 - ab.norm(dim=-1) / 150).clamp(min=0).mean()
        assert f"grey {expected:.3f}" in areas

    def test_an_area_is_the_mean_over_distances_of_what_lies_within(self):
        apart = torch.tensor([[0.0, 0.0], [30.0, 40.0], [160.0, 0.0]])
        within = [np.mean([distance >= length for distance in np.arange(0, 150, 0.01)]) for length in (0, 50, 160)]
        assert nearness(apart, torch.zeros(3, 2)).tolist() == pytest.approx(within, abs=1e-3)


@pytest.mark.parametrize(
    ("changed", "trouble"),
    [
        ({"image_size": 33}, "image_size is 33, which reduction 2 does not divide: give 32"),
        ({"rebalance": 2}, "rebalance is 2; it is a share between 0 and 1"),
        ({"head_width": 20}, "head_width is 20; it must be a multiple of 16"),
    ],
)
def test_impossible_settings_are_refused(changed, trouble):
    with pytest.raises(ValueError, match=trouble):
        Colorization(name="colorization", **{"image_size": 32, "reduction": 2} | changed)
