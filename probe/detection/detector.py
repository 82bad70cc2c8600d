"""Which class is in a box?  Linear SVMs with hard negatives, or a softmax, over frozen features; and box regression.

R-CNN (Girshick et al. 2014, sections 2.3 and appendices B, C) and its code have an SVM a class: positives are the
objects alone, negatives the proposals that overlap none of the class by .3; C .001, positives count twice, features
have a mean length of 20. The softmax is that of Fast R-CNN (`probe.detection.softmax_head`). With either, a ridge
regression a class moves a box that overlaps an object by more than .6 onto it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.linear_model import Ridge

from engine.train import draws
from probe.detection.average_precision import Detections, Truth
from probe.detection.boxes import Boxes, Floats, Numbers, clip, moved, moves, overlaps, suppress
from probe.detection.softmax_head import fit_softmax
from probe.detection.svm import Plane, fit
from probe.detection.voc import Photo

Features = npt.NDArray[np.floating]  # (N, D)
Head = Literal["svm", "softmax"]

LENGTH = 20.0  # of features, in the mean
LOOKED_AT = 10_000  # about so many features, for their scale
NEGATIVE = 0.3  # IoU below which a proposal is one
FIRST_NEGATIVES = 4_000  # drawn by chance, before the hard ones
HARD, EASY = -1.0, -1.2  # scores: a negative above is taken among the examples, one below is dropped
MOST_HARD = 8_000  # that are taken at a time
ROUNDS = 2  # of looking for hard negatives
FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU from which a box is an example of its object's class, or of none: softmax
NO_EXAMPLE = -1
CLOSE = 0.6  # IoU above which box regression learns from a proposal
RIDGE = 1_000.0
SUPPRESSED = 0.3  # IoU with a better detection above which one is dropped
MOST_DETECTIONS = 100  # of a class in a picture


@dataclass(frozen=True)
class Labels:
    """What a picture's N boxes are to C classes."""

    is_positive: npt.NDArray[np.bool_]  # (N, C) an object of the class
    is_negative: npt.NDArray[np.bool_]  # (N, C) far from all objects of the class, difficult ones too
    answers: Numbers  # (N,) for a softmax: the class of the object that it is on, C where it is beside one, NO_EXAMPLE
    near: Numbers  # (M, 2) numbers of a box and of a class: it overlaps an object of the class much
    moves: Floats  # (M, 4) what moves it onto that object

    @staticmethod
    def join(parts: Sequence["Labels"]) -> "Labels":
        before = np.cumsum([0, *(len(part.is_positive) for part in parts)])
        near = [part.near + [start, 0] for part, start in zip(parts, before, strict=False)]
        names = [field.name for field in fields(Labels) if field.name != "near"]
        others = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return Labels(near=np.concatenate(near), **others)


def label(photo: Photo, boxes: Boxes, classes: Sequence[str]) -> Labels:
    """`boxes` (N, 4) begin with the picture's objects, difficult ones aside."""
    shape = len(boxes), len(classes)
    positive, negative = np.zeros(shape, bool), np.ones(shape, bool)
    near, by = [np.empty((0, 2), np.int64)], [np.empty((0, 4))]
    names = np.array(photo.classes)[~photo.difficult] if photo.classes else np.array([], str)
    for number, name in enumerate(classes):
        positive[: len(names), number] = names == name
        mine = photo.boxes[photo.of(name)]
        if len(mine):
            negative[:, number] = overlaps(boxes, mine).max(axis=1) < NEGATIVE
        clear = photo.boxes[photo.of(name) & ~photo.difficult]
        if len(clear):
            shared = overlaps(boxes, clear)
            rows = np.flatnonzero(shared.max(axis=1) > CLOSE)
            near.append(np.stack([rows, np.full(len(rows), number)], axis=1))
            by.append(moves(boxes[rows], clear[shared[rows].argmax(axis=1)]))
    return Labels(positive, negative, answer(photo, boxes, classes), np.concatenate(near), np.concatenate(by))


def answer(photo: Photo, boxes: Boxes, classes: Sequence[str]) -> Numbers:
    """What a softmax learns of each box: see `Labels.answers`. One on a difficult object is no example."""
    found = np.full(len(boxes), NO_EXAMPLE)
    clear = photo.boxes[~photo.difficult]
    if len(clear):
        shared = overlaps(boxes, clear)
        most = shared.max(axis=1)
        found[most >= BACKGROUND] = len(classes)
        if photo.difficult.any():
            hard = overlaps(boxes, photo.boxes[photo.difficult]).max(axis=1)
            found[hard >= FOREGROUND] = NO_EXAMPLE
        numbers = np.array([classes.index(name) for name in np.array(photo.classes)[~photo.difficult]])
        found[most >= FOREGROUND] = numbers[shared.argmax(axis=1)][most >= FOREGROUND]
    return found


@dataclass(frozen=True)
class Detector:
    """Linear in the features: C classes' scores, and how each would move the box.

    With a softmax there is one score more, of the background, which takes its share and is none of the detections.
    """

    classes: tuple[str, ...]
    weights: Floats  # (D, C), or (D, C + 1)
    bias: Floats  # (C,), or (C + 1,)
    mover: Floats  # (D, C, 4)
    mover_bias: Floats  # (C, 4)
    unfinished: tuple[str, ...] = ()  # classes whose SVM is not the best one

    def detect(
        self, picture: int, features: Features, boxes: Boxes, size: tuple[int, int], move: bool
    ) -> list[Detections]:
        """The detections of each class in one picture, `size` (width, height), after non-maximum suppression."""
        values = features.astype(np.float64)
        scores = values @ self.weights + self.bias
        if len(self.bias) > len(self.classes):
            scores = softmax(scores, axis=1)[:, :-1]
        found = []
        for number in range(len(self.classes)):
            mine = boxes
            if move:
                mine = clip(moved(boxes, values @ self.mover[:, number] + self.mover_bias[number]), *size)
            stay = suppress(mine, scores[:, number], SUPPRESSED)[:MOST_DETECTIONS]
            found.append(Detections(np.full(len(stay), picture), mine[stay], scores[stay, number]))
        return found


def learn(features: Features, labels: Labels, classes: tuple[str, ...], seed: int, head: Head = "svm") -> Detector:
    """Learn from the boxes of all training pictures: `features` (N, D), float16 as they may be many."""
    scale = Scale.of(features)
    unfinished: tuple[str, ...] = ()
    if head == "softmax":
        found = fit_softmax(lambda rows: scale.of_rows(features[rows]), labels.answers, len(classes), seed)
    else:
        planes = learn_scores(features, scale, labels, seed)
        found = np.stack([plane.weights for plane in planes], axis=1), np.array([plane.bias for plane in planes])
        unfinished = tuple(name for name, plane in zip(classes, planes, strict=True) if not plane.is_best)
    mover = scale.undo(*learn_moves(features, scale, labels))
    return Detector(classes, *scale.undo(*found), *mover, unfinished)


@dataclass(frozen=True)
class Scale:
    """Features around 0, with a mean length of LENGTH.

    R-CNN's code does not centre. Averages of a map are all alike: without it, most of their length tells no box from
    another, so that the penalty holds down all that does.
    """

    centre: npt.NDArray[np.float32]  # (D,)
    factor: float

    @staticmethod
    def of(features: Features) -> "Scale":
        """From some rows, at equal distances."""
        some = features[:: max(1, len(features) // LOOKED_AT)].astype(np.float32)
        centre = some.mean(axis=0)
        length = float(np.linalg.norm(some - centre, axis=1).mean())
        return Scale(centre, LENGTH / length if length else 1.0)

    def of_rows(self, features: Features) -> npt.NDArray[np.float32]:
        return self.factor * (features.astype(np.float32) - self.centre)

    def undo(self, weights: Floats, bias: npt.ArrayLike) -> tuple[Floats, Floats]:
        """What says the same of features as they come: weights (D, ...) and bias (...)."""
        weights = self.factor * weights
        return weights, np.asarray(bias) - np.tensordot(self.centre.astype(np.float64), weights, 1)


def learn_scores(features: Features, scale: Scale, labels: Labels, seed: int) -> list[Plane]:
    """A linear SVM of each class. One whose pictures hold nothing else, or that has no objects, gets a plane of 0."""
    number = labels.is_positive.shape[1]
    planes = [Plane.of_nothing(features.shape[1]) for _ in range(number)]
    positives = [np.flatnonzero(labels.is_positive[:, one]) for one in range(number)]
    chosen = [draw_negatives(np.flatnonzero(labels.is_negative[:, one]), one, seed) for one in range(number)]
    for round_ in range(ROUNDS + 1):
        for one in range(number):
            if len(positives[one]) and len(chosen[one]):
                objects, others = (scale.of_rows(features[rows]) for rows in (positives[one], chosen[one]))
                planes[one] = fit(objects, others, planes[one])
        if round_ == ROUNDS:
            break
        scores = score(features, scale, planes)
        harder = [take_harder(scores[:, one], chosen[one], labels.is_negative[:, one]) for one in range(number)]
        if all(np.array_equal(new, old) for new, old in zip(harder, chosen, strict=True)):
            break
        chosen = harder
    return planes


def score(features: Features, scale: Scale, planes: Sequence[Plane], at_once: int = 4096) -> Floats:
    """(N, C), some rows at a time."""
    weights = np.stack([plane.weights for plane in planes], axis=1).astype(np.float32)
    starts = range(0, len(features), at_once)
    found = [scale.of_rows(features[start : start + at_once]) @ weights for start in starts]
    return np.concatenate(found) + np.array([plane.bias for plane in planes])


def draw_negatives(rows: Numbers, class_number: int, seed: int) -> Numbers:
    order = draws.permutation(draws.stream("negatives", seed, class_number), len(rows))
    return np.sort(rows[order[:FIRST_NEGATIVES]])


def take_harder(scores: Floats, chosen: Numbers, is_negative: npt.NDArray[np.bool_]) -> Numbers:
    """The negatives that stay, and the hardest ones that are new."""
    stay = chosen[scores[chosen] > EASY]
    new = np.setdiff1d(np.flatnonzero(is_negative & (scores > HARD)), stay)
    return np.union1d(stay, new[np.argsort(-scores[new], kind="stable")[:MOST_HARD]])


def learn_moves(features: Features, scale: Scale, labels: Labels) -> tuple[Floats, Floats]:
    """Weights (D, C, 4) and bias (C, 4) of ridge regressions; 0 where there is nothing to learn from, so that a box
    stays."""
    number = labels.is_positive.shape[1]
    weights, bias = np.zeros((features.shape[1], number, 4)), np.zeros((number, 4))
    for one in range(number):
        mine = labels.near[:, 1] == one
        if mine.any():
            rows = labels.near[mine, 0]
            ridge = Ridge(alpha=RIDGE).fit(scale.of_rows(features[rows]).astype(np.float64), labels.moves[mine])
            weights[:, one], bias[one] = ridge.coef_.T, ridge.intercept_
    return weights, bias


def truth_of(photos: Sequence[Photo], name: str) -> list[Truth]:
    """The objects of a class, picture by picture."""
    return [Truth(photo.boxes[photo.of(name)], photo.difficult[photo.of(name)]) for photo in photos]
