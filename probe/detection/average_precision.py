"""How good are detections?  Average precision as PASCAL VOC counts it, of 2007 and of 2010.

- The detections of a class are taken by falling score, over all pictures. Each is compared with the object of this
  class, in its picture, that it overlaps most. With an IoU of .5 or more it is a hit, if no detection before it was; a
  second detection of one object is false, and so is one that overlaps none.
- A detection whose object is `difficult` is neither right nor wrong, and such objects are not looked for.
- A class without detections has an average precision of 0. So has one without objects in these pictures: nothing of it
  can be found. Both stay in the mean, which is over all classes of the collection, whatever a detector answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from probe.detection.boxes import Boxes, Floats, Numbers, overlaps

LEAST = 0.5  # of IoU, for a hit


@dataclass(frozen=True)
class Detections:
    """K boxes of one class, over all pictures."""

    picture: Numbers  # (K,) the number of the picture
    boxes: Boxes  # (K, 4)
    scores: Floats  # (K,)

    @staticmethod
    def join(parts: Sequence["Detections"]) -> "Detections":
        names = [field.name for field in fields(Detections)]
        return Detections(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class Truth:
    """The objects of one class in one picture."""

    boxes: Boxes  # (K, 4)
    difficult: npt.NDArray[np.bool_]  # (K,)


@dataclass(frozen=True)
class Curve:
    """One class by falling score: detections of difficult objects are not among the K."""

    is_hit: npt.NDArray[np.bool_]  # (K,)
    number: Numbers  # (K,) of the detection
    scores: Floats  # (K,)
    objects: int  # that can be found

    @property
    def precision(self) -> Floats:
        return np.cumsum(self.is_hit) / np.arange(1, len(self.is_hit) + 1)

    @property
    def recall(self) -> Floats:
        return np.cumsum(self.is_hit) / max(1, self.objects)

    @property
    def envelope(self) -> Floats:
        """(K,) The largest precision at this recall or a larger one."""
        return np.maximum.accumulate(self.precision[::-1])[::-1]

    @property
    def best_number(self) -> int:
        """Of how many detections, the best ones, the F1 is largest."""
        f1 = 2 * np.cumsum(self.is_hit) / (np.arange(1, len(self.is_hit) + 1) + self.objects)
        return int(f1.argmax()) + 1 if len(f1) else 0

    @property
    def voc07(self) -> float:
        """The mean over recall 0, .1 .. 1 of the largest precision at this recall or a larger one."""
        tenths = 10 * np.cumsum(self.is_hit)  # in whole numbers: 3 of 10 do reach .3
        reached = [self.precision[tenths >= tenth * self.objects] for tenth in range(11)]
        return float(np.mean([found.max(initial=0.0) for found in reached])) if self.objects else 0.0

    @property
    def voc10(self) -> float:
        """The area under the precision that is made to fall (the envelope)."""
        return float(self.envelope[self.is_hit].sum() / self.objects) if self.objects else 0.0


def compare(found: Detections, truth: Sequence[Truth]) -> Curve:
    """Compare the detections of a class with its objects, `truth` of each picture."""
    order = np.argsort(-found.scores, kind="stable")
    picture, boxes = found.picture[order], found.boxes[order]
    best = np.zeros(len(order), np.int64)
    is_close, is_ignored = np.zeros(len(order), bool), np.zeros(len(order), bool)
    for number in np.unique(picture):
        here = np.flatnonzero(picture == number)
        if len(truth[number].boxes):
            shared = overlaps(boxes[here], truth[number].boxes)
            best[here], is_close[here] = shared.argmax(axis=1), shared.max(axis=1) >= LEAST
            is_ignored[here] = is_close[here] & truth[number].difficult[best[here]]
    first = np.zeros(len(order), bool)
    close = np.flatnonzero(is_close)
    if len(close):
        first[close[np.unique(np.stack([picture[close], best[close]]), axis=1, return_index=True)[1]]] = True
    objects = sum(int((~one.difficult).sum()) for one in truth)
    counted = order[~is_ignored]
    return Curve(first[~is_ignored], counted, found.scores[counted], objects)
