"""Do boxes overlap, suppress each other and move as they should?  Against loops and by hand."""

import numpy as np
import pytest
import torch

from probe.detection.boxes import clip, moved, moves, overlaps, suppress
from probe.detection.pooling import pool_regions


def draw_boxes(seed, number=60):
    drawn = np.random.default_rng(seed)
    corners = drawn.integers(1, 80, (number, 2))
    return np.concatenate([corners, corners + drawn.integers(0, 60, (number, 2))], axis=1).astype(float)


def overlap_of(one, other):
    """Pixel by pixel."""
    grid = np.zeros((2, 160, 160), bool)
    for layer, (x0, y0, x1, y1) in zip(grid, (one.astype(int), other.astype(int)), strict=True):
        layer[y0 : y1 + 1, x0 : x1 + 1] = True
    return (grid[0] & grid[1]).sum() / (grid[0] | grid[1]).sum()


def test_overlaps_are_counted_in_pixels():
    ones, others = draw_boxes(0, 12), draw_boxes(1, 15)
    expected = [[overlap_of(one, other) for other in others] for one in ones]
    np.testing.assert_allclose(overlaps(ones, others), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_suppression_is_that_of_a_loop(seed):
    boxes = draw_boxes(seed)
    scores = np.round(np.random.default_rng(seed).uniform(0, 1, len(boxes)), 1)  # some are equal
    left, stay = sorted(range(len(boxes)), key=lambda number: (-scores[number], number)), []
    while left:
        best = left.pop(0)
        stay.append(best)
        left = [other for other in left if overlap_of(boxes[best], boxes[other]) <= 0.3]
    assert suppress(boxes, scores, 0.3).tolist() == stay
    assert 1 < len(stay) < len(boxes)


def test_moves_are_undone():
    boxes, targets = draw_boxes(2) + [0, 0, 20, 20], draw_boxes(3) + [0, 0, 20, 20]
    np.testing.assert_allclose(moved(boxes, moves(boxes, targets)), targets, atol=1e-9)


def test_a_move_by_hand():
    """From 10 x 10 around (5.5, 5.5) to 20 x 10 around (15.5, 5.5): one width to the right, twice as wide."""
    found = moves(np.array([[1.0, 1, 10, 10]]), np.array([[6.0, 1, 25, 10]]))
    np.testing.assert_allclose(found, [[1, 0, np.log(2), 0]])


def test_clipping_leaves_a_pixel():
    boxes = np.array([[-5.0, 3, 700, 9], [650, 500, 660, 510]])
    assert clip(boxes, 640, 480).tolist() == [[1, 3, 640, 9], [640, 480, 640, 480]]


def test_pooling_by_hand():
    """A map of 2 x 4 cells. A region from the middle of cell 0 to the end of cell 2, 1.25 wide in each half."""
    features = torch.tensor([[[1.0, 2, 3, 4], [5, 6, 7, 8]]])
    found = pool_regions(features, torch.tensor([[0.5, 0.0, 3.0, 2.0], [0, 0, 4, 2], [2.2, 1.1, 2.4, 1.2]]), 2)
    left, right = (0.5 * 1 + 0.75 * 2) / 1.25, (0.25 * 2 + 1 * 3) / 1.25
    assert torch.allclose(found[0, 0], torch.tensor([[left, right], [left + 4, right + 4]]))
    assert torch.allclose(found[1, 0], torch.tensor([[1.5, 3.5], [5.5, 7.5]]))
    assert torch.allclose(found[2, 0], torch.full((2, 2), 7.0))  # inside of one cell


def test_pooling_of_whole_cells_is_adaptive_pooling_and_the_outside_is_cut_off():
    features = torch.randn(3, 12, 18)
    expected = torch.nn.functional.adaptive_avg_pool2d(features[:, 3:9, 6:18], 3)
    found = pool_regions(features, torch.tensor([[6, 3, 18, 9], [6, 3, 25, 9], [18, 12, 18, 12]]), 3)
    assert torch.allclose(found[0], expected, atol=1e-5)
    assert torch.equal(found[0], found[1])
    assert torch.allclose(found[2], features[:, -1:, -1:].expand(3, 3, 3), atol=1e-4)  # nothing is left but its corner
