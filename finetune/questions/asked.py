"""How is a model asked about a row of a file, and how is its answer told?  One way for each kind of head."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from finetune.questions.encoding import Predictions
from finetune.tasks.fields import choices_of, is_empty, text_of, words_of
from finetune.tasks.files import Inputs
from finetune.tasks.metrics.entity_scores.entity_scores import entities
from finetune.tasks.task import Head, Task, named

Way = dict[str, str]  # what a model is given → the file's column that holds it
Fields = dict[str, Any]
T = TypeVar("T")

IDS = ("id", "index")
DIGITS = 6  # of a probability or a score
# A word as corpora of news have it: U.S., AT&T, don't and 1,000 are one; any other punctuation stands alone.
WORD = re.compile(r"(?:[^\W\d_]\.){2,}|\w+(?:[-'’.,/&]\w+)*|[^\w\s]")


class Asked(ABC):
    """What one kind of model is given, where files usually have that, and what a line of answers says."""

    ways: tuple[Way, ...]

    def columns(self, way: Way) -> tuple[str, ...]:
        """What the rows of the task are made of, in the order in which the model reads it."""
        return tuple(way)

    @abstractmethod
    def given(self, fields: Fields, way: Way) -> Fields:
        """The task's columns for one row. Errors: ValueError for a field that is missing, empty or of another type."""

    @abstractmethod
    def told(self, task: Task, predictions: Predictions, given: Sequence[Fields]) -> Iterator[Fields]:
        """What a line of the output says of each row."""


class Label(Asked):
    """A label for a text or a pair: its name, and the probability of each."""

    ways = (
        {"text": "text"},
        {"text": "sentence"},
        {"text": "text", "text_pair": "text_pair"},
        {"text": "sentence1", "text_pair": "sentence2"},
        {"text": "premise", "text_pair": "hypothesis"},
        {"text": "question", "text_pair": "sentence"},
        {"text": "question1", "text_pair": "question2"},
        {"text": "#1 String", "text_pair": "#2 String"},
    )

    def given(self, fields: Fields, way: Way) -> Fields:
        return {name: text_in(fields, column) for name, column in way.items()}

    def told(self, task: Task, predictions: Predictions, given: Sequence[Fields]) -> Iterator[Fields]:
        for answer, probabilities in zip(predictions.answers, predictions.probabilities, strict=True):
            shown = dict(zip(task.labels, map(rounded, probabilities), strict=True))
            yield {"prediction": task.labels[answer], "probabilities": shown}


class Score(Label):
    """A score for a text or a pair."""

    def told(self, task: Task, predictions: Predictions, given: Sequence[Fields]) -> Iterator[Fields]:
        for answer in predictions.answers:
            yield {"prediction": rounded(answer)}


class Tags(Asked):
    """A tag for each word, and the entities that the tags make up.

    Words are a list, or parted by blanks; running text is parted into words first. Places are characters of the text,
    or of the words joined by blanks.
    """

    ways = ({"words": "words"}, {"words": "tokens"}, {"text": "text"}, {"text": "sentence"})

    def columns(self, way: Way) -> tuple[str, ...]:
        return ("words",)

    def given(self, fields: Fields, way: Way) -> Fields:
        if "text" in way:
            text = text_in(fields, way["text"])
            found = [(match.group(), match.start(), match.end()) for match in WORD.finditer(text)]
        else:
            words = words_in(fields, way["words"])
            text, ends = " ".join(words), ends_of(words)
            found = [(word, end - len(word), end) for word, end in zip(words, ends, strict=True)]
        if not found:
            raise ValueError(f"{next(iter(way.values()))!r} holds no words")
        return {"words": [word for word, *_ in found], "text": text, "places": [place for _, *place in found]}

    def told(self, task: Task, predictions: Predictions, given: Sequence[Fields]) -> Iterator[Fields]:
        for row, answer, probabilities in zip(given, predictions.answers, predictions.probabilities, strict=True):
            tags = named(task, answer)
            sure = [float(own[tag]) for tag, own in zip(answer, probabilities, strict=True)]
            found = [
                {
                    "type": type_,
                    "text": row["text"][row["places"][first][0] : row["places"][stop - 1][1]],
                    "start": row["places"][first][0],
                    "end": row["places"][stop - 1][1],
                    "probability": rounded(sum(sure[first:stop]) / (stop - first)),
                }
                for first, stop, type_ in entities(tags)
            ]
            yield {
                "prediction": tags,
                "probability": [rounded(value) for value in sure],
                "words": row["words"],
                "entities": found,
            }


class Answer(Asked):
    """A piece of a context: its text and place, and the best ones with their probabilities."""

    ways = ({"question": "question", "context": "context"},)

    def given(self, fields: Fields, way: Way) -> Fields:
        return {name: text_in(fields, column) for name, column in way.items()}

    def told(self, task: Task, predictions: Predictions, given: Sequence[Fields]) -> Iterator[Fields]:
        for number in range(len(given)):
            answer, spans = predictions.answers[str(number)], predictions.probabilities[str(number)]
            best = [
                {"text": span.text, "probability": rounded(span.probability), "start": span.start, "end": span.end}
                for span in spans
            ]
            place = next((span for span in best if span["text"] == answer), {})
            yield {"prediction": answer, **place, "best": best}


class Choices(Asked):
    """Which of several choices goes on from a text: its number, from 0, and the probability of each.

    The choices are a list, or stand in a column each. SWAG's are a beginning with one of four endings.
    """

    ways = (
        {"text": "text", "choices": "choices"},
        {"choices": "choices"},
        {"text": "sent1", "beginning": "sent2", "choices": "ending0,ending1,ending2,ending3"},
    )

    def columns(self, way: Way) -> tuple[str, ...]:
        return tuple(name for name in way if name != "beginning")

    def given(self, fields: Fields, way: Way) -> Fields:
        choices = choices_in(fields, way["choices"].split(","))
        beginning = f"{text_in(fields, way['beginning'])} " if "beginning" in way else ""
        text = {"text": text_in(fields, way["text"])} if "text" in way else {}
        return {**text, "choices": [beginning + choice for choice in choices]}

    def told(self, task: Task, predictions: Predictions, given: Sequence[Fields]) -> Iterator[Fields]:
        for row, answer, probabilities in zip(given, predictions.answers, predictions.probabilities, strict=True):
            offered = probabilities[: len(row["choices"])]
            yield {"prediction": int(answer), "probabilities": [rounded(value) for value in offered]}


def way_to_read(inputs: Inputs, asked: Asked, said: Sequence[str], usual: Sequence[str]) -> tuple[Way, str]:
    """Which columns of a file the model is given, and which holds the rows' ids ("": none).

    `said` ("text=review") decides; without it a task's own columns, `usual`, if there are any; else the usual names, if
    the file has those of just one way. Errors: ValueError, with the columns.
    """
    chosen = dict(pair_of(text) for text in said)
    allowed = {tuple(way): " ".join(f"{name}=COLUMN" for name in way) for way in asked.ways}
    advice = f"say --columns {' or '.join(allowed.values())}"
    held = f"the columns of {inputs.name} are {', '.join(inputs.columns)}"
    if unknown := [column for column in columns_of(chosen) if column not in inputs.columns]:
        raise ValueError(f"--columns names {unknown[0]!r}, but {held}")
    id_column = chosen.pop("id", next((name for name in IDS if name in inputs.columns), ""))
    if chosen:
        way = next((name for name in allowed if set(name) == set(chosen)), None)
        if way is None:
            raise ValueError(f"--columns says what is {' and '.join(chosen)}; {advice}")
        return {name: chosen[name] for name in way}, id_column
    ways = usual_ways(asked, usual)
    found = [way for way in ways if set(columns_of(way)) <= set(inputs.columns)]
    fullest = [way for way in found if not any(set(columns_of(way)) < set(columns_of(other)) for other in found)]
    if usual and ways[0] in found:
        return ways[0], id_column
    if len(fullest) != 1:
        which = " or ".join(" with ".join(way.values()) for way in fullest or ways)
        trouble = "it is not plain what to read" if fullest else "none has a usual name"
        raise ValueError(f"{held}: {trouble} ({which}); {advice}")
    return fullest[0], id_column


def refuse_other_texts(task: Task, way: Way) -> None:
    """Refuse a pair where the model was fine-tuned for single texts, and the other way round. Errors: ValueError."""
    if task.head in ("classification", "regression") and task.columns and len(way) != len(task.columns):
        wanted = "single texts: say --columns text=COLUMN" if len(task.columns) == 1 else (
            "pairs: say --columns text=COLUMN text_pair=COLUMN"
        )  # fmt: skip
        raise ValueError(f"{task.name} was fine-tuned for {wanted}")


def columns_of(way: Way) -> list[str]:
    """The columns that a way reads; choices may stand in several, parted by commas."""
    return [column for name, value in way.items() for column in (value.split(",") if name == "choices" else [value])]


def usual_ways(asked: Asked, usual: Sequence[str]) -> list[Way]:
    """The ways in which a file may hold what is asked, a task's own names first."""
    if not usual:
        return list(asked.ways)
    alike = [way for way in asked.ways if len(asked.columns(way)) == len(usual)]
    own = dict(zip(alike[0], usual, strict=True))
    return [own, *(way for way in alike if way != own)]


def pair_of(text: str) -> tuple[str, str]:
    """`text=review` as a pair."""
    name, equals, column = text.partition("=")
    if not equals:
        raise ValueError(f"--columns is given {text!r}; expected NAME=COLUMN, such as text=review")
    return name, column


def field_in(fields: Fields, column: str) -> Any:
    """A field that is there."""
    value = fields.get(column)
    if value is None:
        raise ValueError(f"no {column!r} here")
    if is_empty(value):
        raise ValueError(f"{column!r} is empty")
    return value


def text_in(fields: Fields, column: str) -> str:
    """A field that holds a text."""
    return checked(read(text_of, field_in(fields, column), column), column)


def words_in(fields: Fields, column: str) -> list[str]:
    """A field that holds words: a list, or a text that blanks part."""
    return [checked(word, column) for word in read(words_of, field_in(fields, column), column)]


def choices_in(fields: Fields, columns: Sequence[str]) -> list[str]:
    """Choices in one column, or in several, of which the last ones may be empty."""
    value = field_in(fields, columns[0]) if len(columns) == 1 else [fields.get(column) for column in columns]
    names = ",".join(columns)
    return [checked(choice, names) for choice in read(choices_of, value, names)]


def read(reader: Callable[[Any], T], value: Any, column: str) -> T:
    """What `reader` makes of a field, whose column is named if it makes nothing of it."""
    try:
        return reader(value)
    except ValueError as error:
        raise ValueError(f"{column!r}: {error}") from None


def checked(text: str, column: str) -> str:
    """A text that says something, in UTF-8. NUL characters say nothing: models are trained without them."""
    if not text.replace("\0", "").strip():
        raise ValueError(f"{column!r} is empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{column!r} is not UTF-8 at character {error.start}") from None
    return text


def ends_of(words: Sequence[str]) -> list[int]:
    """Where each word ends in the words joined by blanks."""
    ends, end = [], -1
    for word in words:
        end += len(word) + 1
        ends.append(end)
    return ends


def rounded(number: Any) -> float:
    """A probability or a score as it is written. Errors: ValueError for what is no number."""
    if not math.isfinite(number):
        raise ValueError(
            "the model's output is not a number (NaN): its weights are damaged, or its precision is too low"
        )
    return round(float(number), DIGITS)


ASKED: Mapping[Head, Asked] = {
    "classification": Label(),
    "regression": Score(),
    "tagging": Tags(),
    "span": Answer(),
    "choice": Choices(),
}
