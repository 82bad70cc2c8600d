"""Does a softmax with background tell classes apart, as the best one would, and detect no background?"""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from probe.detection.average_precision import Detections, compare
from probe.detection.detector import Labels, label, learn, truth_of
from probe.detection.softmax_head import DECAY, NEGATIVES, POSITIVES, draw_rows, fit_softmax
from probe.detection.voc import Photo

CLASSES = ("cat", "dog")
CAT, DOG = [1, 1, 20, 20], [41, 1, 60, 20]
BESIDE, ON_NOTHING = [14, 1, 33, 20], [1, 41, 20, 60]  # IoU with the cat: .21; with nothing


def photo_of(number):
    return Photo(str(number), Path(), Path(), 80, 80, np.array([CAT, DOG], float), CLASSES, np.zeros(2, bool))


def test_separable_features_are_detected_without_a_fault_and_background_is_no_class():
    """Features say what a box is on: a cat, a dog, the background; and noise that says nothing."""
    photos = [photo_of(number) for number in range(12)]
    boxes = np.array([CAT, DOG, BESIDE, ON_NOTHING], float)
    drawn = np.random.default_rng(0)
    features = [np.concatenate([np.eye(4)[:, :3], drawn.normal(0, 0.1, (4, 3))], axis=1) for _ in photos]
    labels = [label(photo, boxes, CLASSES) for photo in photos]
    assert labels[0].answers.tolist() == [0, 1, 2, -1]
    known = np.concatenate(features[:8]).astype(np.float16)
    detector = learn(known, Labels.join(labels[:8]), CLASSES, 0, "softmax")
    found = [detector.detect(number, some, boxes, (80, 80), True) for number, some in enumerate(features[8:])]
    for number, name in enumerate(CLASSES):
        mine = Detections.join([each[number] for each in found])
        curve = compare(mine, truth_of(photos[8:], name))
        assert curve.voc07 == curve.voc10 == 1
        assert (mine.scores[:: len(boxes)] > 0.8).all()  # the best one of each picture
    on_background = detector.detect(0, features[8][2:3], boxes[2:3], (80, 80), False)
    assert len(on_background) == len(CLASSES)
    assert all(each.scores.max() < 0.1 for each in on_background)


def test_it_is_the_best_softmax_of_batches_with_a_quarter_of_positives():
    drawn = np.random.default_rng(1)
    answers = np.repeat([0, 1, 2, -1], [30, 60, 400, 500])
    centres = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [9, 9, 9, 9]])
    features = (12 * (centres[answers] + drawn.normal(0, 0.7, (len(answers), 4)))).astype(np.float32)
    weights, bias = fit_softmax(lambda rows: features[rows], answers, 2, 0)
    examples, right = features[answers >= 0], answers[answers >= 0]
    share = POSITIVES / (POSITIVES + NEGATIVES)
    each = np.where(right < 2, share / (right < 2).sum(), (1 - share) / (right == 2).sum())
    best = LogisticRegression(C=1 / DECAY, max_iter=1000).fit(examples, right, sample_weight=each)

    def loss(shares, weights):
        """The mean over such batches, and the penalty."""
        return -each @ np.log(shares[np.arange(len(right)), right]) + DECAY / 2 * (weights**2).sum()

    least = loss(best.predict_proba(examples), best.coef_)
    assert loss(softmax(examples @ weights + bias, axis=1), weights) == pytest.approx(least, rel=0.02)
    assert np.array_equal(fit_softmax(lambda rows: features[rows], answers, 2, 0)[0], weights)


def test_batches_are_drawn_from_all_examples():
    pool = np.array([3, 5, 8])
    rows = draw_rows(pool, 7, 0)
    assert np.unique(rows).tolist() == [3, 5, 8]
    assert not np.array_equal(rows, draw_rows(pool, 7, 1))


def test_pictures_without_background_are_no_error():
    answers = np.array([0, 1] * 20)
    features = 10 * np.eye(3, dtype=np.float32)[answers]
    weights, bias = fit_softmax(lambda rows: features[rows], answers, 2, 0)
    assert np.array_equal((features @ weights + bias).argmax(1), answers)
