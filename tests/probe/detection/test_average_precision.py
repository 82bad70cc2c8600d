"""Is average precision the one that PASCAL VOC defines?  Cases worked by hand, and COCO's code where both agree."""

import contextlib
import io
import math

import numpy as np
import pytest

from probe.detection.average_precision import Detections, Truth, compare

HERE = [10, 10, 29, 29]  # 20 x 20 pixels
THERE = [60, 60, 79, 79]
NOWHERE = [100, 10, 119, 29]


def truth(*boxes, difficult=()):
    flags = np.isin(np.arange(len(boxes)), difficult)
    return Truth(np.array(boxes, float).reshape(-1, 4), flags)


def found(*rows):
    """(picture, box), by falling score."""
    pictures = np.array([row[0] for row in rows], np.int64)
    boxes = np.array([row[1] for row in rows], float).reshape(-1, 4)
    return Detections(pictures, boxes, np.linspace(1, 0.1, len(rows)))


def test_a_false_detection_between_two_hits():
    """Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1: six of the eleven points see 1, five see 2/3."""
    curve = compare(found((0, HERE), (0, NOWHERE), (1, THERE)), [truth(HERE), truth(THERE)])
    assert curve.precision.tolist() == [1, 1 / 2, 2 / 3]
    assert curve.recall.tolist() == [1 / 2, 1 / 2, 1]
    assert curve.voc07 == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert curve.voc10 == pytest.approx((1 + 2 / 3) / 2)


def test_a_false_detection_first():
    curve = compare(found((0, NOWHERE), (0, HERE), (1, THERE)), [truth(HERE), truth(THERE)])
    assert curve.voc07 == pytest.approx(2 / 3)
    assert curve.voc10 == pytest.approx(2 / 3)


def test_an_object_that_is_not_found():
    """One of two, with precision 1: six of the eleven points, and half of the area."""
    curve = compare(found((0, HERE)), [truth(HERE), truth(THERE)])
    assert curve.voc07 == pytest.approx(6 / 11)
    assert curve.voc10 == pytest.approx(1 / 2)


def test_three_of_ten_objects_reach_a_recall_of_three_tenths():
    """In floating point .1 + .1 + .1 is more than .3, and the point would be lost."""
    curve = compare(found(*((number, HERE) for number in range(3))), [truth(HERE)] * 10)
    assert curve.voc07 == pytest.approx(4 / 11)


def test_a_second_detection_of_one_object_is_false():
    curve = compare(found((0, HERE), (0, HERE), (1, THERE)), [truth(HERE), truth(THERE)])
    assert curve.is_hit.tolist() == [True, False, True]


def test_a_detection_belongs_to_the_object_it_overlaps_most_even_if_that_is_taken():
    """VOC looks at no second best object; COCO does."""
    other = [14, 10, 33, 29]  # IoU with HERE 2/3
    near = [11, 10, 30, 29]
    curve = compare(found((0, HERE), (0, near), (0, other)), [truth(HERE, other)])
    assert curve.is_hit.tolist() == [True, False, True]


def test_a_difficult_object_is_neither_hit_nor_miss():
    curve = compare(found((0, THERE), (0, THERE), (0, HERE)), [truth(HERE, THERE, difficult=[1])])
    assert curve.is_hit.tolist() == [True]
    assert curve.number.tolist() == [2]
    assert curve.objects == 1
    assert curve.voc07 == curve.voc10 == 1


def test_boxes_count_their_last_pixel():
    """[1, 1, 10, 10] and [1, 1, 10, 5] share 50 of 100 pixels, just enough; without the last one it were 36 of 81."""
    curve = compare(found((0, [1, 1, 10, 5])), [truth([1, 1, 10, 10])])
    assert curve.is_hit.tolist() == [True]
    assert compare(found((0, [1, 1, 10, 4])), [truth([1, 1, 10, 10])]).is_hit.tolist() == [False]


def test_a_class_without_detections_or_objects_has_a_precision_of_nothing():
    assert compare(found(), [truth(HERE)]).voc07 == 0
    assert compare(found(), [truth(HERE)]).voc10 == 0
    assert compare(found((0, HERE)), [truth()]).voc07 == 0
    assert compare(found(), [truth()]).voc10 == 0


def test_equal_scores_are_taken_in_their_order():
    one = Detections(np.array([0, 0]), np.array([NOWHERE, HERE], float), np.array([0.5, 0.5]))
    assert compare(one, [truth(HERE)]).voc10 == 1 / 2


def draw_case(seed):
    """Objects that lie apart, and detections that are objects moved by some pixels, or anywhere: VOC and COCO give each
    detection to the same object, if to any, but for second detections, which both call false."""
    drawn = np.random.default_rng(seed)
    truths, rows = [], []
    for picture in range(12):
        corners = np.array([[60 * x, 60 * y] for x in range(4) for y in range(3)])
        corners = corners[drawn.permutation(12)[: drawn.integers(1, 6)]] + 20
        boxes = np.concatenate([corners, corners + drawn.integers(15, 35, corners.shape)], axis=1)
        truths.append(truth(*boxes))
        near = boxes[drawn.integers(0, len(boxes), 8)] + drawn.integers(-6, 7, (8, 4))
        far = drawn.integers(1, 150, (4, 2))
        rows += [(picture, box) for box in [*near, *np.concatenate([far, far + 25], axis=1)]]
    rows = [rows[number] for number in drawn.permutation(len(rows))]
    return found(*rows), truths


def coco_precision(found, truths):
    """Precision at recall 0, .01 .. 1 and IoU .5, by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def as_coco(box):
        return [box[0], box[1], box[2] - box[0] + 1, box[3] - box[1] + 1]

    objects = [(picture, as_coco(box)) for picture, one in enumerate(truths) for box in one.boxes.tolist()]
    truth = {
        "info": {}, "images": [{"id": picture} for picture in range(len(truths))], "categories": [{"id": 1}],
        "annotations": [{"id": number, "image_id": picture, "bbox": box, "area": box[2] * box[3], "iscrowd": 0,
                         "category_id": 1} for number, (picture, box) in enumerate(objects, start=1)],
    }  # fmt: skip
    rows = zip(found.picture.tolist(), found.boxes.tolist(), found.scores.tolist(), strict=True)
    answers = [
        {"image_id": picture, "bbox": as_coco(box), "score": score, "category_id": 1} for picture, box, score in rows
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = truth
        known.createIndex()
        judge = COCOeval(known, known.loadRes(answers), "bbox")
        judge.params.iouThrs = np.array([0.5])
        judge.evaluate()
        judge.accumulate()
    return judge.eval["precision"][0, :, 0, 0, -1], judge.params.recThrs


@pytest.mark.parametrize("seed", range(5))
def test_precision_at_101_recalls_is_cocos(seed):
    answers, truths = draw_case(seed)
    theirs, recalls = coco_precision(answers, truths)
    curve = compare(answers, truths)
    places = np.searchsorted(curve.recall, recalls, side="left")
    ours = [curve.envelope[place] if place < len(curve.envelope) else 0.0 for place in places]
    assert 0.2 < np.mean(theirs) < 0.95
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    assert curve.voc10 == pytest.approx(np.mean(theirs), abs=0.02)  # the area, and the mean of 101 points of it
    assert not math.isclose(curve.voc07, curve.voc10, abs_tol=1e-6)
