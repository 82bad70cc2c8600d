"""What does the model get wrong?  The parts of a page of mistakes: confusion matrix, calibration, scores by length.

Which of them a page has, the kind of question says: `Question.sections`.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset
from markupsafe import Markup, escape

from finetune.tasks.metrics.entities import Entity
from finetune.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from finetune.questions.encoding import Predictions

WORST = 25  # mistakes that are shown
BUCKETS = 5  # of length, with about as many rows each
BINS = 10  # of confidence
EXCERPT = 120  # characters of a context on each side of an answer
LONGEST = 600  # characters of a text that are shown
QUESTION_WORD = re.compile(r"\b(who|whom|whose|what|which|when|where|why|how)\b")


@dataclass
class Section:
    """A part of the page: a table, a drawing, or mistakes."""

    title: str
    text: str = ""
    head: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    drawing: Markup | None = None
    mistakes: Sequence["Mistake"] = ()


@dataclass
class Mistake:
    """One row that was answered wrongly. Texts are (name, text, which may have marks)."""

    id: str
    right: str
    answer: str
    how_sure: str
    texts: list[tuple[str, Markup]] = field(default_factory=list)


# Labels and choices


def label_sections(task: Task, rows: Dataset, found: "Predictions") -> list[Section]:
    """The sections of a question with one of several answers; without labels, its answers are choices."""
    right, answers = np.asarray(rows["label"][:]), np.asarray(found.answers)
    sure = np.take_along_axis(np.asarray(found.probabilities), answers[:, None], axis=1)[:, 0]  # (N,)
    names = task.labels or tuple(f"choice {number}" for number in range(int(max(right.max(), answers.max())) + 1))
    surest = [
        Mistake(
            rows["id"][row], names[right[row]], names[answers[row]], f"{sure[row]:.1%}", list_texts(task, rows[row])
        )
        for row in find_worst(right != answers, sure)
    ]
    return [
        confusion(names, right, answers),
        by_length(task, rows, right == answers, "accuracy"),
        calibration(sure, right == answers),
        Section("The surest mistakes", mistakes=surest),
    ]


def find_worst(is_wrong: npt.NDArray[np.bool_], key: npt.NDArray[Any]) -> list[int]:
    """The wrong rows with the largest keys, WORST at most."""
    wrong = np.flatnonzero(is_wrong)
    return wrong[np.argsort(-key[wrong], kind="stable")][:WORST].tolist()


def confusion(names: Sequence[str], right: npt.NDArray[Any], answers: npt.NDArray[Any]) -> Section:
    table = np.zeros((len(names), len(names)), np.int64)  # right answers down, the model's across
    np.add.at(table, (right, answers), 1)
    hits, there, given = table.diagonal(), table.sum(1), table.sum(0)
    shares = (hits / np.maximum(given, 1), hits / np.maximum(there, 1), 2 * hits / np.maximum(there + given, 1))
    rows = [
        [name, *table[label].tolist(), *(f"{share[label]:.1%}" for share in shares), int(there[label])]
        for label, name in enumerate(names)
    ]
    head = ["right answer", *(f"answered {name}" for name in names), "precision", "recall", "F1", "rows"]
    return Section("Confusions", head=head, rows=rows)


def calibration(sure: npt.NDArray[Any], is_right: npt.NDArray[Any]) -> Section:
    """How often answers are right, by how sure the model is of them. (Guo et al. 2017: expected calibration error.)"""
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    there = [number for number in range(BINS) if (bins == number).any()]
    means = [(float(sure[bins == number].mean()), float(is_right[bins == number].mean())) for number in there]
    shares = [float((bins == number).mean()) for number in there]
    error = sum(share * abs(how_sure - right) for share, (how_sure, right) in zip(shares, means, strict=True))

    def draw(axes: "Axes", ink: str) -> None:
        axes.plot([0, 1], [0, 1], linestyle="--", linewidth=1, color=ink)
        across, up = zip(*means, strict=True)
        axes.scatter(across, up, s=[20 + 300 * share for share in shares], color="#3b82f6", alpha=0.8)
        axes.set(xlabel="how sure the model is", ylabel="share that is right", xlim=(0, 1.02), ylim=(0, 1.02))

    text = f"Expected calibration error {error:.1%}: the mean distance from the dashed line. A dot's area is its share."
    return Section("How well it knows what it knows", text, drawing=draw_svg(draw))


# Entities


def by_type(right: Sequence[list[Entity]], answers: Sequence[list[Entity]], what: str) -> Section:
    there = Counter(kind for row in right for *_, kind in row)
    given = Counter(kind for row in answers for *_, kind in row)
    hit = Counter(kind for one, other in zip(right, answers, strict=True) for *_, kind in set(one) & set(other))
    rows = []
    for kind in sorted(there | given):
        precision, recall = hit[kind] / max(1, given[kind]), hit[kind] / max(1, there[kind])
        both = 2 * hit[kind] / max(1, given[kind] + there[kind])
        rows.append([kind, f"{precision:.1%}", f"{recall:.1%}", f"{both:.1%}", there[kind], given[kind]])
    return Section(
        f"By {what}", head=[what.split()[0], "precision", "recall", "F1", "in the text", "answered"], rows=rows
    )


def by_kind_of_error(right: Sequence[list[Entity]], answers: Sequence[list[Entity]]) -> Section:
    kinds = Counter(kind for one, other in zip(right, answers, strict=True) for kind in list_errors(one, other))
    meaning = {
        "wrong type": "the very words, another type",
        "wrong ends": "some of the words, the same type",
        "both wrong": "some of the words, another type",
        "missed": "no answer touches it",
        "made up": "touches nothing that is right",
    }
    rows = [[kind, words, kinds[kind]] for kind, words in meaning.items()]
    return Section("Kinds of error", head=["error", "what it means", "how often"], rows=rows)


def list_errors(right: Sequence[Entity], answers: Sequence[Entity]) -> list[str]:
    """Each right entity that was not found, by what was answered there, and each answer that touches nothing."""
    errors = []
    for entity in set(right) - set(answers):
        touching = [other for other in answers if other[0] < entity[1] and entity[0] < other[1]]
        if not touching:
            errors.append("missed")
        elif any(other[:2] == entity[:2] for other in touching):
            errors.append("wrong type")
        else:
            errors.append("wrong ends" if any(other[2] == entity[2] for other in touching) else "both wrong")
    errors += ["made up" for other in answers if not any(other[0] < one[1] and one[0] < other[1] for one in right)]
    return errors


def mark_entities(words: Sequence[str], right: Sequence[Entity], answers: Sequence[Entity]) -> Markup:
    """A sentence, its right entities underlined, the answered ones shaded, each with its type."""
    parts = []
    for place, word in enumerate(words):
        piece = escape(word)
        for found, mark in ((right, "u"), (answers, "mark")):
            for first, stop, kind in found:
                if first <= place < stop:
                    note = Markup("<sub>{}</sub>").format(kind) if place == stop - 1 else ""
                    piece = Markup(f"<{mark}>{{}}{{}}</{mark}>").format(piece, note)
        parts.append(piece)
    return Markup(" ").join(parts)


# Spans


def by_having_an_answer(references: Sequence[Sequence[str]], given: Sequence[str]) -> Section:
    table = Counter((bool(texts), bool(answer)) for texts, answer in zip(references, given, strict=True))
    rows = [
        [name, table[there, True], table[there, False]]
        for there, name in ((True, "has an answer"), (False, "has none"))
    ]
    return Section("Is there an answer?", head=["the question", "answered", "left unanswered"], rows=rows)


def by_question_word(rows: Dataset, shares: npt.NDArray[Any]) -> Section:
    asked = [QUESTION_WORD.search(question.lower()) for question in rows["question"]]
    words = np.array([found[0] if found else "other" for found in asked])
    lines = [
        [word, f"{shares[words == word].mean():.1%}", int((words == word).sum())]
        for word, _ in Counter(words.tolist()).most_common()
    ]
    return Section("By question word", head=["word", "F1", "rows"], rows=lines)


def mark_excerpt(context: str, references: Sequence[str], answer: str) -> Markup:
    """The context around the right answer and the model's, each marked where it first stands."""
    marks: dict[int, tuple[int, str]] = {}
    for text, mark in ((answer, "mark"), (references[0] if references else "", "u")):
        place = context.find(text) if text else -1
        if place >= 0:
            marks[place] = (place + len(text), mark)
    if not marks:
        return escape(context[:LONGEST])
    first = max(0, min(marks) - EXCERPT)
    last = min(len(context), max(end for end, _ in marks.values()) + EXCERPT)
    shown, place = Markup("… " if first else ""), first
    for start, (end, mark) in sorted(marks.items()):
        start = max(start, place)
        shown += escape(context[place:start]) + Markup(f"<{mark}>{{}}</{mark}>").format(context[start:end])
        place = max(place, end)
    return shown + escape(context[place:last]) + ("…" if last < len(context) else "")


# What all of them show


def by_length(task: Task, rows: Dataset, values: npt.NDArray[Any], name: str, percent: bool = True) -> Section:
    """The mean of `values`, by the number of words in the input."""
    lengths = np.array(
        [sum(map(num_words, row)) for row in zip(*(rows[column] for column in task.columns), strict=True)]
    )
    order = np.argsort(lengths, kind="stable")
    lines = []
    for bucket in np.array_split(order, min(BUCKETS, len(order))):
        mean = values[bucket].mean()
        shown = f"{mean:.1%}" if percent else f"{mean:.3f}"
        lines.append([f"{lengths[bucket].min()} to {lengths[bucket].max()}", shown, len(bucket)])
    return Section("By length", head=["words", name, "rows"], rows=lines)


def num_words(value: Any) -> int:
    return len(value.split()) if isinstance(value, str) else sum(map(num_words, value))


def list_texts(task: Task, row: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """The texts of a row, those of a list numbered."""
    found = []
    for column in task.columns:
        values = [row[column]] if isinstance(row[column], str) else row[column]
        for number, value in enumerate(values):
            found.append((column if len(values) == 1 else f"{column} {number}", escape(value[:LONGEST])))
    return found


def draw_svg(draw: Callable[["Axes", str], None]) -> Markup:
    """A drawing, by a function of axes and ink, as an SVG without background for light pages and dark ones."""
    from matplotlib import rc_context  # takes a second, which only this page needs
    from matplotlib.figure import Figure

    from engine.publish.curves import INK, as_svg, ink_style, save

    with rc_context(ink_style()):
        figure = Figure((4.6, 3.6), layout="constrained")
        axes = figure.subplots()
        draw(axes, INK)
        axes.spines[["top", "right"]].set_visible(False)
        return Markup(as_svg(save(figure, "svg")))  # our own drawing
