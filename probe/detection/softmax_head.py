"""Which class is in a box, or none?  Softmax regression over C classes and the background.

Fast R-CNN (Girshick 2015, sections 2.3 and 4.1), on features that stay as they are: SGD on batches of 128 boxes, a
quarter of them positives. Background is what overlaps an object by .1 to .5: a box that overlaps none is easy to tell,
so the bound of .1 takes the place of a search for hard negatives.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from engine.train import draws
from probe.detection.boxes import Floats, Numbers

POSITIVES, NEGATIVES = 32, 96  # of a batch
STEPS, LAST_STEPS = 3_000, 1_000  # the last ones with a tenth of the rate
RATE, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4


def fit_softmax(
    read: Callable[[Numbers], npt.NDArray[np.float32]], answers: Numbers, classes: int, seed: int
) -> tuple[Floats, Floats]:
    """The weights (D, C + 1) and the bias (C + 1,) of the classes and, last, of the background.

    `read` gives the features (B, D) of some boxes by their numbers; `answers` (N,) has the class of each, C for
    background, and less than 0 for what is no example.
    """
    positives, negatives = np.flatnonzero((answers >= 0) & (answers < classes)), np.flatnonzero(answers == classes)
    pools = (positives, POSITIVES), (negatives, NEGATIVES)
    batches = np.concatenate([draw_rows(pool, number, seed) for pool, number in pools if len(pool)], axis=1)
    size = read(batches[0, :1]).shape[1]
    weights = np.zeros((size + 1, classes + 1), np.float32)  # the last row is the bias
    speed = np.zeros_like(weights)
    for step, rows in enumerate(batches):
        features = read(rows)
        x = np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)
        errors = softmax(x @ weights, axis=1)
        errors[np.arange(len(rows)), answers[rows]] -= 1
        gradient = x.T @ errors / len(rows)
        gradient[:-1] += DECAY * weights[:-1]
        speed = MOMENTUM * speed - (RATE if step < STEPS else RATE / 10) * gradient
        weights += speed
    return weights[:-1].astype(np.float64), weights[-1].astype(np.float64)


def draw_rows(pool: Numbers, number: int, seed: int) -> Numbers:
    """(steps, number) For each step, so many rows of a pool, drawn by chance."""
    place = np.arange((STEPS + LAST_STEPS) * number).reshape(-1, number)
    return pool[draws.integers(draws.stream("batches of boxes", seed, number), len(pool), place)]
