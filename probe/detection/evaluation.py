"""How well are objects detected with a model's features?  R-CNN on frozen features, scored as PASCAL VOC does.

The lecture compares pretexts by what detection gains from them. There the network is trained further on the boxes; here
it stays as it is, and linear SVMs are learnt on its features, as R-CNN does without fine-tuning (Girshick et al. 2014,
section 3.2), or the softmax of Fast R-CNN: so the score tells of what pretraining has left, and a CPU suffices.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from engine.run.recipe import check_least, data_path
from probe.detection.average_precision import Curve, Detections, compare
from probe.detection.boxes import Boxes
from probe.detection.detector import Detector, Features, Head, Labels, label, learn, truth_of
from probe.detection.features import HOG, Describe, View, open_features
from probe.detection.guess import guess
from probe.detection.page import HEADLINE, Report, describe_page, draw_pictures
from probe.detection.proposals import find_proposals, recall_of
from probe.detection.voc import Photo, choose_classes, hash_of, list_names, only, read_voc, refuse_shared
from probe.probe import Found, Probe, label_of

LARGEST = 6e4  # number that 16 bits hold


@dataclass(frozen=True, kw_only=True)
class Detection(Probe):
    """Mean average precision of VOC 2007, and of 2010, on a folder in the layout of VOC.

    Features are pooled from one map of the whole picture (Fast R-CNN), or come from each box warped to a square
    (R-CNN), which takes much longer. HOG, which is no network, is asked beside the models, and takes squares.
    """

    path: str  # the folder with Annotations, ImageSets and JPEGImages
    train: str = "train"  # the list in ImageSets/Main to learn from
    test: str = "val"  # and that to be scored on
    classes: tuple[str, ...] = ()  # what is detected; default: all classes of the training pictures
    features: str = "map"  # map: pooled from the whole picture's; crops: of each box, warped to a square
    stage: str = ""  # of the model, such as stage3; default: the last one
    map_size: int = 480  # pixels of the picture's shorter side, for a map
    crop_size: int = 224  # pixels of a square
    context: int = 16  # pixels of the square around the box, on each side
    bins: int = 3  # a box's features have bins x bins places
    head: Head = "svm"  # svm: one a class, with hard negatives; softmax: over classes and background (Fast R-CNN)
    proposals: int = 500  # boxes in a picture, at most
    max_train_pictures: int = 0  # so many of the list, drawn by chance; 0: all
    max_test_pictures: int = 0  # the same of the list to be scored on

    def __post_init__(self) -> None:
        check_least(self, 1, "map_size", "bins", "proposals")
        check_least(self, 0, "context", "max_train_pictures", "max_test_pictures")
        if self.features not in ("map", "crops"):
            raise ValueError(f"features is {self.features!r}; allowed: map, crops")
        if self.crop_size % 8 or self.crop_size < 16:
            raise ValueError(f"crop_size is {self.crop_size}; it is a multiple of 8, 16 or more")
        if 2 * self.context >= self.crop_size:
            raise ValueError(f"context is {self.context}; it is less than half of crop_size, {self.crop_size}")

    @property
    def task(self) -> str:
        part = f"-{self.max_test_pictures}" if self.max_test_pictures else ""
        head = "" if self.head == "svm" else f"-{self.head}"
        return f"detection/{label_of(self.path)}{part}{head}"

    @property
    def stamps(self) -> dict[str, str]:
        training, test = self.read()
        return {f"{self.path} {self.train}": hash_of(training), f"{self.path} {self.test}": hash_of(test)}

    @property
    def beside(self) -> tuple[str, ...]:
        return (HOG,)

    def read(self) -> tuple[list[Photo], list[Photo]]:
        """Training and test pictures. Errors: as for `read_voc`."""
        folder = data_path(self.path)
        training = read_voc(folder, self.train, self.max_train_pictures)
        test = read_voc(folder, self.test, self.max_test_pictures)
        refuse_shared(training, test)
        return training, test

    def ask(self, model: str, untrained: bool, seed: int) -> Found:
        all_of_training, all_of_test = self.read()
        classes, training, test = choose_classes(all_of_training, all_of_test, self.classes)
        view = View(self.features, self.stage, self.map_size, self.crop_size, self.context, self.bins)
        describe = open_features(model, untrained, seed, view)
        proposed = list(find_proposals([*training, *test], self.proposals))
        with tempfile.TemporaryFile() as file:
            features, labels = describe_training(describe, training, proposed[: len(training)], classes, file)
            detector = learn(features, labels, classes, seed, self.head)
        boxes = proposed[len(training) :]
        moved, kept = detect(detector, describe, test, boxes)
        report = Report(
            model=f"{model}, untrained, seed {seed}" if untrained else model, classes=classes, training=training,
            test=test, proposals=self.proposals, recalls=recalls_of(boxes, test, classes),
            detections=moved, curves=score(moved, test, classes), unmoved=score(kept, test, classes),
            blind=score([guess(training, test, name) for name in classes], test, classes),
            head=self.head, unfinished=detector.unfinished,
        )  # fmt: skip
        return Found(
            {self.test: report.metrics}, {self.test: report.baseline}, HEADLINE,
            {self.train: len(training), self.test: len(test)}, page=describe_page(report),
            pictures=draw_pictures(report), drawn_from=self.count_drawn_from(),
        )  # fmt: skip

    def count_drawn_from(self) -> int:
        """How many pictures the training pictures were drawn from; 0: all were taken."""
        return len(list_names(data_path(self.path), self.train)) if self.max_train_pictures else 0


def describe_training(
    describe: Describe, photos: Sequence[Photo], proposed: Sequence[Boxes], classes: Sequence[str], file: BinaryIO
) -> tuple[Features, Labels]:
    """Features (N, D), which lie in a file, and labels of the objects and of the proposals of all training pictures."""
    objects = [photo.boxes[~photo.difficult] for photo in photos]
    boxes = [np.concatenate([mine, some]) for mine, some in zip(objects, proposed, strict=True)]
    features, end = np.empty((0, 0)), 0
    for photo, some in zip(photos, boxes, strict=True):
        found = describe(photo.load(), some)
        if not end:
            features = np.memmap(file, np.float16, "w+", shape=(sum(map(len, boxes)), found.shape[1]))
        features[end : end + len(some)] = found.clip(-LARGEST, LARGEST)
        end += len(some)
    labels = [label(photo, some, classes) for photo, some in zip(photos, boxes, strict=True)]
    return features, Labels.join(labels)


def detect(
    detector: Detector, describe: Describe, photos: Sequence[Photo], proposed: Sequence[Boxes]
) -> tuple[list[Detections], list[Detections]]:
    """The detections of each class in all pictures: with box regression, and without."""
    found = []
    for number, (photo, boxes) in enumerate(zip(photos, proposed, strict=True)):
        features, size = describe(photo.load(), boxes), (photo.width, photo.height)
        found.append([detector.detect(number, features, boxes, size, move) for move in (True, False)])
    moved, kept = ([Detections.join(parts) for parts in zip(*some, strict=True)] for some in zip(*found, strict=True))
    return moved, kept


def score(detections: Sequence[Detections], photos: Sequence[Photo], classes: Sequence[str]) -> list[Curve]:
    return [compare(found, truth_of(photos, name)) for found, name in zip(detections, classes, strict=True)]


def recalls_of(proposed: Sequence[Boxes], photos: Sequence[Photo], classes: Sequence[str]) -> dict[str, float]:
    """The share of the objects of each class, and of all (""), that a proposal overlaps by .5."""
    each = {name: recall_of(proposed, [only(photo, [name]) for photo in photos]) for name in classes}
    return {"": recall_of(proposed, photos), **each}
