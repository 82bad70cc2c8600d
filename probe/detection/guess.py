"""What is detected without looking?  In every picture the boxes where training objects are most often."""

from collections.abc import Sequence

import numpy as np

from engine.train import draws
from probe.detection.average_precision import LEAST, Detections
from probe.detection.boxes import Boxes, Floats, overlaps, suppress
from probe.detection.detector import MOST_DETECTIONS, SUPPRESSED
from probe.detection.voc import Photo

MOST = 2_000  # training objects of a class that are looked at
UNITS = 1_000  # places along a side


def guess(training: Sequence[Photo], test: Sequence[Photo], name: str) -> Detections:
    """The same detections of a class in each test picture, in parts of its sides. The score of a box is the share of
    the training pictures that have an object there."""
    places, scores = find_places(training, name)
    stay = suppress(places, scores, SUPPRESSED)[:MOST_DETECTIONS]
    sizes = np.array([[photo.width, photo.height] * 2 for photo in test], float)
    boxes = (places[stay] + [-1, -1, 0, 0]) * sizes[:, None, :] / UNITS + [1, 1, 0, 0]
    picture = np.repeat(np.arange(len(test)), len(stay))
    return Detections(picture, boxes.reshape(-1, 4), np.tile(scores[stay], len(test)))


def find_places(training: Sequence[Photo], name: str) -> tuple[Boxes, Floats]:
    """The boxes of a class on pictures of UNITS x UNITS places, and the share of pictures that have an object there."""
    found = []
    for number, photo in enumerate(training):
        boxes = photo.boxes[photo.of(name) & ~photo.difficult]
        edges = (boxes + [-1, -1, 0, 0]) / ([photo.width, photo.height] * 2) * UNITS
        found += [(number, edge) for edge in edges + [1, 1, 0, 0]]
    order = draws.permutation(draws.stream("objects that are looked at"), len(found))[:MOST]
    boxes = np.array([found[row][1] for row in order]).reshape(-1, 4)
    owners = np.array([found[row][0] for row in order], np.int64)
    close = overlaps(boxes, boxes) >= LEAST
    scores = [len(set(owners[row])) / len(training) for row in close]
    return boxes, np.array(scores)
