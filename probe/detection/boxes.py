"""How far do boxes agree, which of them say the same, and how is one moved?  IoU, NMS, box regression's targets.

A box is (xmin, ymin, xmax, ymax) as PASCAL VOC counts: pixels from 1, the last one included, so it is xmax - xmin + 1
wide.
"""

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float64]  # (N, 4)
Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]


def overlaps(ones: Boxes, others: Boxes) -> Floats:
    """(N, M) Intersection over union of each of `ones` (N, 4) with each of `others` (M, 4)."""
    common = np.minimum(ones[:, None, 2:], others[None, :, 2:]) - np.maximum(ones[:, None, :2], others[None, :, :2]) + 1
    shared = np.maximum(common, 0).prod(axis=2)
    return shared / (areas(ones)[:, None] + areas(others)[None, :] - shared)


def areas(boxes: Boxes) -> Floats:
    """(N,) Pixels in each box."""
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    return sides[:, 0] * sides[:, 1]


def suppress(boxes: Boxes, scores: Floats, most: float) -> Numbers:
    """Non-maximum suppression: the numbers of the boxes that stay, best first. One that overlaps a better one that
    stays by more than `most` goes. Of equal scores the first counts as better."""
    order = np.argsort(-scores, kind="stable")
    clash = overlaps(boxes[order], boxes[order]) > most
    stays = np.ones(len(order), bool)
    for place in range(len(order)):
        if stays[place]:
            stays[place + 1 :] &= ~clash[place, place + 1 :]
    return order[stays]


def clip(boxes: Boxes, width: int, height: int) -> Boxes:
    """The boxes as far as they are in a picture of this size; at least one pixel of each stays."""
    return np.clip(boxes, 1, [width, height, width, height])


def moves(boxes: Boxes, targets: Boxes) -> Floats:
    """(N, 4) What moves each box to its target: shifts of the centre in widths and heights, logarithms of the ratios of
    the sides (Girshick et al. 2014, appendix C)."""
    centres, sides = _as_centres(boxes)
    target_centres, target_sides = _as_centres(targets)
    return np.concatenate([(target_centres - centres) / sides, np.log(target_sides / sides)], axis=1)


def moved(boxes: Boxes, by: Floats) -> Boxes:
    """The inverse of `moves`. A side grows or shrinks tenfold at most."""
    centres, sides = _as_centres(boxes)
    centres = centres + by[:, :2] * sides
    sides = sides * np.exp(np.clip(by[:, 2:], -np.log(10), np.log(10)))
    return np.concatenate([centres - (sides - 1) / 2, centres + (sides - 1) / 2], axis=1)


def _as_centres(boxes: Boxes) -> tuple[Floats, Floats]:
    return (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2] + 1
