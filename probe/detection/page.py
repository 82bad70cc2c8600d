"""What came out, for a person?  A table of classes, curves of precision and recall, pictures with the detections."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from engine.publish.curves import ink_style, save
from engine.publish.exhibits import Picture
from probe.detection.average_precision import Curve, Detections
from probe.detection.boxes import overlaps
from probe.detection.voc import Photo

HEADLINE = "map"
SHOWN = 12  # pictures on the sheet: the first ones of the list
MOST_SHOWN = 2  # detections of a class for each object of it: a bad detector's would cover the pictures
ACROSS = 4
GROUND = "white"
MARKS: dict[str, tuple[str, Literal["-", "--", ":"]]] = {  # on the sheet: colour, style of the line
    "hit": ("#2fb344", "-"), "false": ("#e8364f", "--"), "missed object": ("#ffd43b", ":"), "object": ("#ffffff", "-"),
}  # fmt: skip
HEADS = {
    "svm": "Scores are those of a linear SVM a class, with hard negatives (R-CNN).",
    "softmax": "Scores are shares of a softmax over the classes and the background (Fast R-CNN).",
}
RULES = (
    "A detection is a hit where it overlaps an object of its class by an IoU of .5 or more; a second one of the same "
    "object is false. Difficult objects count neither way. AP of 2007: the mean precision at eleven recalls; of 2010: "
    "the area. The mean is over all classes; a class without detections, or without objects to be found, has 0."
)


@dataclass(frozen=True)
class Report:
    """All that a page tells; lists are by class."""

    model: str
    classes: Sequence[str]
    training: Sequence[Photo]
    test: Sequence[Photo]
    proposals: int
    recalls: dict[str, float]  # of the proposals; "" for all objects
    detections: Sequence[Detections]
    curves: Sequence[Curve]
    unmoved: Sequence[Curve]  # without box regression
    blind: Sequence[Curve]  # of the guess without looking
    head: str = "svm"
    unfinished: Sequence[str] = ()  # classes whose SVM is not the best one

    @property
    def metrics(self) -> dict[str, float]:
        return {
            **means(self.curves),
            "map_without_regression": means(self.unmoved)[HEADLINE],
            "proposal_recall": self.recalls[""],
            **{f"ap_{name}": curve.voc07 for name, curve in zip(self.classes, self.curves, strict=True)},
        }

    @property
    def baseline(self) -> dict[str, float]:
        each = {f"ap_{name}": curve.voc07 for name, curve in zip(self.classes, self.blind, strict=True)}
        return {**means(self.blind), **each}


def means(curves: Sequence[Curve]) -> dict[str, float]:
    """Mean average precision of VOC 2007 and of 2010, over all classes."""
    return {
        HEADLINE: float(np.mean([curve.voc07 for curve in curves])),
        "map_voc10": float(np.mean([curve.voc10 for curve in curves])),
    }


def describe_page(report: Report) -> str:
    """Markdown."""
    metrics = report.metrics
    lines = [
        f"# Detection with {report.model}", "",
        f"Mean average precision **{metrics[HEADLINE]:.1%}** (VOC 2007), {metrics['map_voc10']:.1%} (VOC 2010), and "
        f"{metrics['map_without_regression']:.1%} without box regression (2007). Who does not look, and "
        f"detects where training objects are most often, has {report.baseline[HEADLINE]:.1%}.", "",
        f"Of the objects {report.recalls['']:.1%} are overlapped by one of {report.proposals} proposals with an IoU of "
        f".5. The others can be found only where box regression moves a box so far. {HEADS[report.head]}", "",
        "| class | training objects | test objects | proposed | AP 2007 | AP 2010 | boxes not moved | not looked |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for number, name in enumerate(report.classes):
        curve, unmoved, blind = report.curves[number], report.unmoved[number], report.blind[number]
        learnt = sum(int((photo.of(name) & ~photo.difficult).sum()) for photo in report.training)
        lines.append(
            f"| {name} | {learnt:,} | {curve.objects:,} | {report.recalls[name]:.1%} | {curve.voc07:.1%} "
            f"| {curve.voc10:.1%} | {unmoved.voc07:.1%} | {blind.voc07:.1%} |"
        )
    return "\n".join([*lines, "", RULES, "", *list_remarks(report)])


def list_remarks(report: Report) -> list[str]:
    """What is strange about the collection, or went wrong, a paragraph each."""
    found = []
    if report.unfinished:
        found.append(f"**The SVM is not the best one** for {', '.join(report.unfinished)}: its solver stopped on its "
                     "way. Precision may be too low there.")  # fmt: skip
    if absent := [name for name, curve in zip(report.classes, report.curves, strict=True) if not curve.objects]:
        found.append(f"No test picture has {', '.join(absent)}: the largest mean is "
                     f"{1 - len(absent) / len(report.classes):.1%}.")  # fmt: skip
    clipped = [photo for photo in (*report.training, *report.test) if photo.clipped]
    if clipped:
        number = sum(photo.clipped for photo in clipped)
        found.append(f"{number:,} boxes reached over the edge of their picture and were cut off, such as in "
                     f"{clipped[0].annotation.name}.")  # fmt: skip
    return [line for one in found for line in (one, "")]


def draw_pictures(report: Report) -> list[Picture]:
    """Curves of each class, and a sheet of detections."""
    shown = min(SHOWN, len(report.test))
    sheet = (
        f"The first {shown} test pictures, with the detections of each class down to the score where its F1 is best, "
        f"and not more than {MOST_SHOWN} for each object"
    )
    with rc_context({**ink_style("#303338"), "figure.facecolor": GROUND, "savefig.facecolor": GROUND}):
        return [
            Picture("Precision and recall", save(plot_curves(report), "png")),
            Picture(sheet, save(plot_sheet(report), "png")),
        ]


def plot_curves(report: Report) -> Figure:
    """Precision over recall of each class; where the proposals' recall ends, dotted."""
    across = min(5, len(report.classes))
    down = math.ceil(len(report.classes) / across)
    figure = Figure((3 * across, 3 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for unused in axes.flat[len(report.classes) :]:
        unused.set_visible(False)
    for number, (axis, name) in enumerate(zip(axes.flat, report.classes, strict=False)):
        axis.set_title(f"{name}, AP {report.curves[number].voc07:.1%}")
        model, blind = report.curves[number], report.blind[number]
        axis.plot(model.recall, model.precision, color="#2f80d8", label="model")
        axis.plot(blind.recall, blind.precision, "--", color="#c06a3a", label="not looked")
        axis.axvline(report.recalls[name], color="#808790", linestyle=":", label="proposals' recall")
        axis.set(xlim=(0, 1.02), ylim=(0, 1.02))
        axis.spines[["top", "right"]].set_visible(False)
    axes.flat[0].legend(frameon=False, fontsize=8)
    figure.supxlabel("recall")
    figure.supylabel("precision")
    return figure


def plot_sheet(report: Report) -> Figure:
    """The first test pictures: hits, false detections, and the objects, missed ones apart."""
    photos = report.test[:SHOWN]
    across = min(ACROSS, len(photos))
    down = math.ceil(len(photos) / across)
    figure = Figure((3 * across, 2.4 * down + 0.3), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for number, (axis, photo) in enumerate(zip(axes.flat, photos, strict=False)):
        axis.imshow(photo.load())
        axis.set_title(photo.name, fontsize=8)
        for which, name in enumerate(report.classes):
            draw_class(axis, report.detections[which], report.curves[which], number, photo, name)
    marks = [
        Line2D([], [], color=colour, linestyle=style, linewidth=2, label=label)
        for label, (colour, style) in MARKS.items()
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=4, frameon=True, facecolor="#9aa0a8")
    return figure


def draw_class(axis: Axes, found: Detections, curve: Curve, number: int, photo: Photo, name: str) -> None:
    """The objects and the detections of a class in one picture."""
    shown = curve.number[: min(curve.best_number, MOST_SHOWN * curve.objects)]
    here = found.picture[shown] == number
    hits = found.boxes[shown[here & curve.is_hit[: len(shown)]]]
    false = found.boxes[shown[here & ~curve.is_hit[: len(shown)]]]
    objects = photo.boxes[photo.of(name) & ~photo.difficult]
    is_found = np.zeros(len(objects), bool)
    if len(objects):
        is_found[overlaps(hits, objects).argmax(axis=1)] = True
    kinds = {"object": objects[is_found], "missed object": objects[~is_found], "hit": hits, "false": false}
    for kind, boxes in kinds.items():
        colour, style = MARKS[kind]
        for x0, y0, x1, y1 in boxes.tolist():
            axis.add_patch(Rectangle((x0 - 1.5, y0 - 1.5), x1 - x0 + 1, y1 - y0 + 1, fill=False, edgecolor=colour,
                                     linestyle=style, linewidth=1 if kind == "object" else 2))  # fmt: skip
            if boxes is hits or boxes is false:
                axis.text(x0, y0 - 3, name, fontsize=6, color=colour, clip_on=True)
