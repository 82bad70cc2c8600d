"""What does the model get wrong?  A page for each job: confusions, the surest mistakes, scores by length and type."""

import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from datasets import Dataset
from markupsafe import Markup, escape
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes

from engine.publish.page import template
from engine.run.disk import whole_file
from finetune.questions.encoding import Predictions
from finetune.table.predictions import degenerate
from finetune.tasks.metrics import score
from finetune.tasks.metrics.entity_scores.entity_scores import Entity, entities
from finetune.tasks.metrics.squad_scores.squad_scores import f1
from finetune.tasks.task import Head, Task, named

WORST = 25  # mistakes that are shown
BUCKETS = 5  # of length, with about as many rows each
BINS = 10  # of confidence
EXCERPT = 120  # characters of a context on each side of an answer
LONGEST = 600  # characters of a text that are shown


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


def write(folder: Path, task: Task, rows: Mapping[str, Dataset], predictions: Mapping[str, Predictions]) -> None:
    """Write `analysis.html` into a job's folder: the splits in `predictions`, judged by the answers in `rows`."""
    parts = {
        split: {
            "rows": len(rows[split]),
            "scores": headlines(task, score(task, found.answers, rows[split])),
            "degenerate": degenerate(task, found),
            "sections": SECTIONS[task.head](task, rows[split], found),
        }
        for split, found in predictions.items()
    }
    page = template(Path(__file__).with_suffix(".html")).render(task=task.name, job=folder.as_posix(), parts=parts)
    whole_file(folder / "analysis.html", page.encode())


def headlines(task: Task, scores: Mapping[str, float]) -> dict[str, float]:
    """The scores that stand above the page's tables; those of a type of entity stand in one."""
    types = ("precision_", "recall_", "f1_") if task.head == "tagging" else ()
    return {name: value for name, value in scores.items() if not name.startswith(types)}


# Labels


def of_labels(task: Task, rows: Dataset, found: Predictions) -> list[Section]:
    right, answers = np.asarray(rows["label"][:]), np.asarray(found.answers)
    sure = np.take_along_axis(np.asarray(found.probabilities), answers[:, None], axis=1)[:, 0]  # (N,)
    names = task.labels or tuple(f"choice {number}" for number in range(int(max(right.max(), answers.max())) + 1))
    wrong = np.flatnonzero(right != answers)
    surest = wrong[np.argsort(-sure[wrong], kind="stable")][:WORST]
    return [
        confusion(names, right, answers),
        by_length(task, rows, right == answers, "accuracy"),
        calibration(sure, right == answers),
        Section(
            "The surest mistakes",
            mistakes=[
                Mistake(
                    rows["id"][row], names[right[row]], names[answers[row]], f"{sure[row]:.1%}", texts(task, rows[row])
                )
                for row in surest.tolist()
            ],
        ),
    ]


def confusion(names: Sequence[str], right: npt.NDArray[Any], answers: npt.NDArray[Any]) -> Section:
    numbers = list(range(len(names)))
    table = confusion_matrix(right, answers, labels=numbers)
    precision, recall, f1s, support = precision_recall_fscore_support(right, answers, labels=numbers, zero_division=0.0)
    rows = [
        [
            names[label],
            *table[label].tolist(),
            *(f"{measure[label]:.1%}" for measure in (precision, recall, f1s)),
            int(support[label]),
        ]
        for label in numbers
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

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], linestyle="--", linewidth=1, color="#808790")
        across, up = zip(*means, strict=True)
        axes.scatter(across, up, s=[20 + 300 * share for share in shares], color="#3b82f6", alpha=0.8)
        axes.set(xlabel="how sure the model is", ylabel="share that is right", xlim=(0, 1.02), ylim=(0, 1.02))

    text = f"Expected calibration error {error:.1%}: the mean distance from the dashed line. A dot's area is its share."
    return Section("How well it knows what it knows", text, drawing=drawn(draw))


# Scores


def of_scores(task: Task, rows: Dataset, found: Predictions) -> list[Section]:
    right, answers = np.asarray(rows["label"][:]), np.asarray(found.answers)
    errors = np.abs(right - answers)
    largest = np.argsort(-errors, kind="stable")[:WORST]

    def draw(axes: Axes) -> None:
        axes.scatter(right, answers, s=9, alpha=0.35, color="#3b82f6", linewidths=0)
        axes.plot([right.min(), right.max()], [right.min(), right.max()], linestyle="--", linewidth=1, color="#808790")
        axes.set(xlabel="right score", ylabel="model's score")

    return [
        Section("Scores", f"Mean distance from the right score: {errors.mean():.3f}.", drawing=drawn(draw)),
        by_length(task, rows, errors, "mean error", percent=False),
        Section(
            "The largest errors",
            mistakes=[
                Mistake(rows["id"][row], f"{right[row]:.2f}", f"{answers[row]:.2f}", "", texts(task, rows[row]))
                for row in largest.tolist()
            ],
        ),
    ]


# Entities


def of_tags(task: Task, rows: Dataset, found: Predictions) -> list[Section]:
    right = [counted(task, tags) for tags in rows["label"]]
    answers = [counted(task, tags) for tags in found.answers]
    wrong = [len(set(one) ^ set(other)) for one, other in zip(right, answers, strict=True)]
    worst = [row for row in np.argsort(-np.asarray(wrong), kind="stable")[:WORST].tolist() if wrong[row]]
    (column,) = task.columns
    return [
        by_type(right, answers, "type of entity" if task.metric == "entity_scores" else "tag"),
        kinds_of_error(right, answers),
        by_length(task, rows, np.asarray(wrong) == 0, "sentences without an error"),
        Section(
            "The worst sentences",
            "What is right is underlined, what the model answers is shaded.",
            mistakes=[
                Mistake(rows["id"][row], f"{len(right[row])} to find", f"{wrong[row]} wrong or missing", "",
                        [("", marked(rows[row][column], right[row], answers[row]))])
                for row in worst
            ],
        ),
    ]  # fmt: skip


def counted(task: Task, tags: Sequence[int]) -> list[Entity]:
    """What the task's metric counts in a sentence: entities, or else each word with its tag."""
    if task.metric == "entity_scores":
        return entities(named(task, tags))
    return [(place, place + 1, name) for place, name in enumerate(named(task, tags)) if name]


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
        f"By {what}",
        head=[what.split()[0], "precision", "recall", "F1", "in the text", "answered"],
        rows=rows,
    )


def kinds_of_error(right: Sequence[list[Entity]], answers: Sequence[list[Entity]]) -> Section:
    kinds = Counter(kind for one, other in zip(right, answers, strict=True) for kind in errors_in(one, other))
    meaning = {
        "wrong type": "the very words, another type",
        "wrong ends": "some of the words, the same type",
        "both wrong": "some of the words, another type",
        "missed": "no answer touches it",
        "made up": "touches nothing that is right",
    }
    rows = [[kind, words, kinds[kind]] for kind, words in meaning.items()]
    return Section("Kinds of error", head=["error", "what it means", "how often"], rows=rows)


def errors_in(right: Sequence[Entity], answers: Sequence[Entity]) -> list[str]:
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


def marked(words: Sequence[str], right: Sequence[Entity], answers: Sequence[Entity]) -> Markup:
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


def of_spans(task: Task, rows: Dataset, found: Predictions) -> list[Section]:
    ids = rows["id"][:]
    references = [answers["text"] for answers in rows["answers"]]
    given = [found.answers[id_] for id_ in ids]
    shares = np.array([best_f1(answer, texts) for answer, texts in zip(given, references, strict=True)])
    sure = np.array([how_sure(found, id_) for id_ in ids])
    wrong = np.flatnonzero(shares < 0.5)
    surest = wrong[np.argsort(-sure[wrong], kind="stable")][:WORST]
    sections = [by_length(task, rows, shares, "F1"), by_question_word(rows, shares)]
    if any(not texts for texts in references):
        sections.insert(0, with_and_without(references, given))
    return [
        *sections,
        Section(
            "The surest mistakes",
            "The right answer is underlined, the model's is shaded.",
            mistakes=[
                Mistake(ids[row], " | ".join(dict.fromkeys(references[row])) or "(none)", given[row] or "(none)",
                        f"{sure[row]:.1%}" if np.isfinite(sure[row]) else "",
                        [("question", escape(rows[row]["question"])),
                         ("context", excerpt(rows[row]["context"], references[row], given[row]))])
                for row in surest.tolist()
            ],
        ),
    ]  # fmt: skip


def best_f1(answer: str, references: Sequence[str]) -> float:
    return max((f1(answer, text) for text in references), default=float(not answer))


def how_sure(found: Predictions, id_: str) -> float:
    spans = found.probabilities[id_] if found.probabilities else []
    return next((float(span.probability) for span in spans if span.text == found.answers[id_]), float("nan"))


def with_and_without(references: Sequence[Sequence[str]], given: Sequence[str]) -> Section:
    table = Counter((bool(texts), bool(answer)) for texts, answer in zip(references, given, strict=True))
    rows = [
        [name, table[there, True], table[there, False]]
        for there, name in ((True, "has an answer"), (False, "has none"))
    ]
    return Section("Is there an answer?", head=["the question", "answered", "left unanswered"], rows=rows)


def by_question_word(rows: Dataset, shares: npt.NDArray[Any]) -> Section:
    asked = [QUESTION.search(question.lower()) for question in rows["question"]]
    words = np.array([found[0] if found else "other" for found in asked])
    lines = [
        [word, f"{shares[words == word].mean():.1%}", int((words == word).sum())]
        for word, _ in Counter(words.tolist()).most_common()
    ]
    return Section("By question word", head=["word", "F1", "rows"], rows=lines)


QUESTION = re.compile(r"\b(who|whom|whose|what|which|when|where|why|how)\b")


def excerpt(context: str, references: Sequence[str], answer: str) -> Markup:
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


SECTIONS: dict[Head, Callable[[Task, Dataset, Predictions], list[Section]]] = {
    "classification": of_labels,
    "choice": of_labels,
    "regression": of_scores,
    "tagging": of_tags,
    "span": of_spans,
}


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


def texts(task: Task, row: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """The texts of a row, those of a list numbered."""
    found = []
    for column in task.columns:
        values = [row[column]] if isinstance(row[column], str) else row[column]
        for number, value in enumerate(values):
            found.append((column if len(values) == 1 else f"{column} {number}", escape(value[:LONGEST])))
    return found


def drawn(draw: Callable[[Axes], None]) -> Markup:
    """A drawing as an SVG without background, for light pages and dark ones."""
    ink = "#808790"
    inked = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
    style: dict[Any, Any] = {
        **dict.fromkeys(inked, ink),
        "svg.fonttype": "none",
        "svg.hashsalt": "analysis",
        "font.size": 10,
    }
    with pyplot.rc_context(style):
        figure, axes = pyplot.subplots(figsize=(4.6, 3.6))
        draw(axes)
        axes.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        pyplot.close(figure)
    return Markup(file.getvalue()[file.getvalue().index("<svg") :])  # our own drawing
