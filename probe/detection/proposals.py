"""Where might an object be?  Proposals: boxes around segments of the picture, merged step by step (selective search).

Uijlings et al. 2013: a picture is cut into small segments of even colour (Felzenszwalb & Huttenlocher 2004); then the
two neighbours that are most alike in colour and small become one, until one is left. The box around each segment that
ever was is a proposal. Two spaces of colour and two sizes of segments give four such trees. It knows no classes and is
not trained. What it does not propose cannot be detected: its recall is the most that a detector can have.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import find_objects
from skimage.color import rgb2hsv, rgb2lab
from skimage.segmentation import felzenszwalb

from corpus.images.pictures import Pixels
from engine.run.disk import sha256, whole_file
from engine.train import draws
from probe.detection.boxes import Boxes, Floats, Numbers, overlaps
from probe.detection.voc import Photo

CACHE = Path("runs/stores/proposals")
VERSION = 1  # of the method: another one, other boxes
LONGEST = 200  # pixels of the longer side of the picture that is cut
SCALES = (25, 100)  # the larger, the larger are the first segments
LEAST_SEGMENT = 20  # pixels
LEAST_SIDE = 0.02  # of a proposal, of the picture's longer side
BINS = 25  # of each channel's histogram


def find_proposals(photos: Sequence[Photo], most: int) -> Iterator[Boxes]:
    """At most `most` boxes for each picture, best first; computed once for each picture, and kept in runs/stores."""
    for photo in photos:
        path = CACHE / f"{sha256(photo.picture)[:24]}-{VERSION}.npy"
        if not path.is_file():
            content = io.BytesIO()
            np.save(content, propose(photo.load()).astype(np.float32))
            whole_file(path, content.getvalue())
        yield np.load(path)[:most].astype(np.float64)


def propose(pixels: Pixels) -> Boxes:
    """All proposals for a picture (H, W, 3), large segments rather before small ones; the same each time."""
    height, width = pixels.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    small = np.asarray(Image.fromarray(pixels).resize((max(1, round(width * scale)), max(1, round(height * scale)))))
    spaces = (rgb2lab(small) / [100, 255, 255] + [0, 0.5, 0.5], rgb2hsv(small))
    found, ranks = [], []
    for number, space in enumerate(spaces):
        for size in SCALES:
            segments = felzenszwalb(space, scale=size, sigma=0.8, min_size=LEAST_SEGMENT)
            boxes = merge(segments, space)[::-1]  # the whole picture first
            found.append(boxes)
            # A tree ends in few large segments and begins with many small ones: chance mixes them (section 4.4).
            chance = draws.uniform(draws.stream("the order of proposals", number, size), np.arange(len(boxes)))
            is_first = np.arange(len(boxes)) >= len(boxes) // 2  # mostly parts of things: behind the unions
            ranks.append(np.where(is_first, len(boxes), 0) + np.arange(1, len(boxes) + 1) * chance)
    edges = np.concatenate(found)[np.argsort(np.concatenate(ranks), kind="stable")]
    edges = np.round(edges / (small.shape[1::-1] * 2) * ([width, height] * 2))
    boxes = edges + [1, 1, 0, 0]
    sides = edges[:, 2:] - edges[:, :2]
    boxes = boxes[sides.min(axis=1) >= max(1, LEAST_SIDE * max(height, width))]
    _, first = np.unique(boxes, axis=0, return_index=True)
    return boxes[np.sort(first)]


def merge(segments: Numbers, space: Floats) -> Floats:
    """Boxes (2 N - 1, 4), the edges of N segments (H, W) and of each union of two, in the order in which they are made.

    `space` (H, W, C) has the colours, between 0 and 1.
    """
    sizes, boxes, colours = describe_segments(segments, space)
    found = [*boxes.copy()]
    likeness = np.full((len(sizes), len(sizes)), -np.inf)
    one, other = list_neighbours(segments)
    likeness[one, other] = likeness[other, one] = liken(boxes, colours, segments.size, one, other)
    while True:
        here, there = divmod(int(likeness.argmax()), len(sizes))
        if likeness[here, there] == -np.inf:
            return np.array(found)
        near = np.isfinite(likeness[here]) | np.isfinite(likeness[there])
        near[[here, there]] = False
        together = sizes[here] + sizes[there]
        colours[here] = (sizes[here] * colours[here] + sizes[there] * colours[there]) / together
        boxes[here] = unite(boxes[here], boxes[there])
        sizes[here] = together
        likeness[[here, there]] = likeness[:, [here, there]] = -np.inf
        others = np.flatnonzero(near)
        likeness[here, others] = likeness[others, here] = liken(boxes, colours, segments.size, np.array([here]), others)
        found.append(boxes[here].copy())


def describe_segments(segments: Numbers, space: Floats) -> tuple[Floats, Floats, Floats]:
    """Pixels (N,), edges (N, 4) and histograms of colour (N, C * BINS), whose sum is 1, of each segment."""
    number, channels = int(segments.max()) + 1, space.shape[2]
    sizes = np.bincount(segments.ravel(), minlength=number).astype(float)
    places = [(where[1].start, where[0].start, where[1].stop, where[0].stop) for where in find_objects(segments + 1)]
    bins = np.clip((space * BINS).astype(np.int64), 0, BINS - 1) + BINS * np.arange(channels)
    counts = np.bincount((segments[..., None] * channels * BINS + bins).ravel(), minlength=number * channels * BINS)
    return sizes, np.array(places, float), counts.reshape(number, -1) / (channels * sizes[:, None])


def list_neighbours(segments: Numbers) -> tuple[Numbers, Numbers]:
    """The one and the other of all pairs of segments that touch, by a side of a pixel."""
    pairs = np.concatenate([
        np.stack([one[one != other], other[one != other]], axis=1)
        for one, other in ((segments[:, :-1], segments[:, 1:]), (segments[:-1], segments[1:]))
    ])  # fmt: skip
    unique = np.unique(np.sort(pairs, axis=1), axis=0)
    return unique[:, 0], unique[:, 1]


def liken(boxes: Floats, colours: Floats, pixels: int, here: Numbers, there: Numbers) -> Floats:
    """How alike two segments are: in colour, and in that the box around both is a small part of the picture.

    The paper's terms for size and fill, 1 - (a + b) / pixels and 1 - (box - a - b) / pixels, add up to the latter
    (Uijlings et al. 2013, section 3.2.2); texture is left out.
    """
    around = unite(boxes[here], boxes[there])
    box = (around[..., 2] - around[..., 0]) * (around[..., 3] - around[..., 1])
    return np.minimum(colours[here], colours[there]).sum(axis=-1) - box / pixels


def unite(one: Floats, other: Floats) -> Floats:
    """(..., 4) The edges around both."""
    return np.concatenate([np.minimum(one[..., :2], other[..., :2]), np.maximum(one[..., 2:], other[..., 2:])], axis=-1)


def recall_of(proposals: Sequence[Boxes], photos: Sequence[Photo], least: float = 0.5) -> float:
    """The share of the objects, difficult ones aside, that some proposal overlaps with an IoU of `least`."""
    found = [
        overlaps(photo.boxes[~photo.difficult], boxes).max(axis=1, initial=0.0) >= least
        for photo, boxes in zip(photos, proposals, strict=True)
    ]
    return float(np.concatenate(found).mean()) if sum(map(len, found)) else 0.0
