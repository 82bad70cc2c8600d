"""Do seeds lie where pictures change, one a picture, and the same ones each time?"""

import numpy as np
import pytest
from skimage.data import astronaut

from corpus.images.scaling import middle, scale
from corpus.images.seeds import choose_seeds, cut, list_patches, side_of

SIZE = 8


class Drawn:
    """Grey pictures with noise in the right half; every fourth one is flat but for a trace of noise."""

    classes = ("noisy", "flat")

    def __init__(self, number: int, height: int = 24, width: int = 40):
        self.labels = (np.arange(number) % 4 == 0).astype(np.int64)
        self.height, self.width = height, width

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, index, least=0):
        found = []
        for number in index:
            pixels = np.random.default_rng(number).integers(-1, 2, (self.height, self.width, 3))
            if number % 4:
                pixels[:, self.width // 2 :] *= 60
            found.append((pixels + 128).astype(np.uint8))
        return found


def test_seeds_are_drawn_where_the_gradient_is_one_a_picture():
    pictures = Drawn(80)
    seeds = choose_seeds(pictures, np.arange(80), 60, SIZE, 100)
    assert len(seeds) == 60
    assert len(set(seeds.pictures.tolist())) == 60
    assert (seeds.labels == 0).sum() >= 58  # only every fourth picture is flat, and flat ones come last
    again = choose_seeds(pictures, np.arange(80)[::-1], 60, SIZE, 100)
    assert (seeds.windows == again.windows).all()
    border = (side_of(SIZE) - SIZE) // 2
    inside = seeds.windows[:, border : border + SIZE, border : border + SIZE]
    assert (inside[seeds.labels == 0].std((1, 2, 3)) > 10).mean() > 0.9


def test_where_there_are_few_pictures_each_gives_several_that_do_not_overlap():
    pictures = Drawn(4)
    seeds = choose_seeds(pictures, np.arange(4), 12, SIZE, 100)
    assert np.bincount(seeds.pictures).tolist() == [3, 3, 3, 3]
    corners = [corner for _, corner in list_patches(1, pictures.load([1])[0], SIZE)]
    assert len(corners) == 3 * 5
    for number, (row, column) in enumerate(corners):
        assert 0 <= row <= 24 - SIZE and 0 <= column <= 40 - SIZE  # noqa: PT018
        for other_row, other_column in corners[:number]:
            assert abs(row - other_row) >= SIZE or abs(column - other_column) >= SIZE
    assert len(choose_seeds(pictures, np.arange(4), 1000, SIZE, 100)) == 60


def test_a_window_goes_on_as_a_mirror_beyond_the_picture():
    pixels = astronaut()[:SIZE, :SIZE]
    border = (side_of(SIZE) - SIZE) // 2
    window = cut(pixels, (0, 0), SIZE)
    assert window.shape == (side_of(SIZE), side_of(SIZE), 3)
    assert (window == np.pad(pixels, ((border, border), (border, border), (0, 0)), "symmetric")).all()
    small = pixels[:3, :3]
    assert (cut(small, (0, 0), 3) == np.pad(small, ((2, 2), (2, 2), (0, 0)), "symmetric")).all()


def test_large_pictures_are_made_smaller_and_tiny_ones_larger():
    assert scale(astronaut()[:300, :400], 32, 96).shape == (96, 128, 3)
    assert scale(astronaut()[:40, :50], 32, 96).shape == (40, 50, 3)
    assert scale(astronaut()[:10, :20], 32, 96).shape == (32, 64, 3)
    assert scale(astronaut(), 32, 96).mean() == pytest.approx(astronaut().mean(), abs=0.5)
    assert middle(astronaut()[:300, :400], 32).shape == middle(astronaut()[:10, :20], 32).shape == (32, 32, 3)
    assert (middle(astronaut()[:40, :32], 32) == astronaut()[4:36, :32]).all()
