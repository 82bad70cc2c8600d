"""Is the plane of an SVM the best one, quickly, and is it said where it is not?"""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from probe.detection import svm
from probe.detection.average_precision import Detections, Truth, compare
from probe.detection.detector import LENGTH, Scale
from probe.detection.page import Report, describe_page
from probe.detection.svm import BIAS, COST, POSITIVE_WEIGHT, Plane, fit


def draw_boxes(seed, number, size=120, shift=0.0):
    """Features around 0, a mean length of LENGTH, some directions much stronger than others."""
    drawn = np.random.default_rng(seed).normal(0, 1, (number, size)) / np.sqrt(np.arange(1, size + 1))
    drawn[:, 3] += shift
    return (LENGTH * drawn / np.linalg.norm(drawn, axis=1).mean()).astype(np.float32)


def test_the_plane_is_that_of_liblinear():
    positives, negatives = draw_boxes(0, 12, shift=1), draw_boxes(1, 1500)
    found = fit(positives, negatives, Plane.of_nothing(120))
    machine = LinearSVC(
        loss="squared_hinge", C=COST, class_weight={True: POSITIVE_WEIGHT}, intercept_scaling=BIAS, dual=False, tol=1e-8
    )
    machine.fit(np.concatenate([positives, negatives]), np.arange(1512) < 12)
    assert found.is_best
    np.testing.assert_allclose(found.weights, machine.coef_[0], atol=3e-3 * np.abs(machine.coef_).max())
    assert found.bias == pytest.approx(machine.intercept_[0], abs=1e-3)


def test_the_start_does_not_matter():
    positives, negatives = draw_boxes(2, 5, shift=1), draw_boxes(3, 400)
    found = fit(positives, negatives, Plane.of_nothing(120))
    again = fit(positives, negatives, Plane(np.random.default_rng(0).normal(0, 1, 120), 5.0))
    np.testing.assert_allclose(again.weights, found.weights, atol=3e-3 * np.abs(found.weights).max())
    assert again.bias == pytest.approx(found.bias, abs=3e-3)


def test_a_solver_that_stops_on_its_way_says_so_and_warns_nobody(monkeypatch):
    monkeypatch.setattr(svm, "MOST_STEPS", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not fit(draw_boxes(0, 12), draw_boxes(1, 1500), Plane.of_nothing(120)).is_best


def test_features_are_centred_and_a_plane_comes_back_to_them_as_they_were():
    """Averages of a map: a large part that they have in common, and a hundredth that tells boxes apart."""
    features = (50 + 0.5 * draw_boxes(0, 700)).astype(np.float16)
    scale = Scale.of(features)
    scaled = scale.of_rows(features)
    assert np.linalg.norm(scaled, axis=1).mean() == pytest.approx(LENGTH, rel=1e-3)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=0.05)
    weights, bias = np.random.default_rng(1).normal(0, 1, (120, 3)), np.array([1.0, 2, 3])
    as_they_were, its_bias = scale.undo(weights, bias)
    expected = scaled @ weights + bias
    np.testing.assert_allclose(features.astype(float) @ as_they_were + its_bias, expected, atol=1e-2)


def test_equal_features_are_no_error():
    scale = Scale.of(np.ones((20, 4), np.float16))
    assert scale.of_rows(np.ones((2, 4))).tolist() == [[0] * 4] * 2


def test_the_page_names_classes_whose_solver_stopped():
    nothing = Detections(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0))
    curves = [compare(nothing, [Truth(np.ones((1, 4)), np.array([False]))])] * 2
    recalls = {"": 1.0, "cat": 1.0, "dog": 1.0}
    report = Report("a", ("cat", "dog"), [], [], 5, recalls, [], curves, curves, curves)
    assert "The SVM is not" not in describe_page(report)
    assert "**The SVM is not the best one** for dog: " in describe_page(replace(report, unfinished=("dog",)))
