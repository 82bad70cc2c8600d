"""How are a model's answers kept, and does it always give the same one?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset

from engine.run.disk import whole_file
from engine.run.finite import strict_json
from finetune.questions.encoding import Predictions
from finetune.tasks.task import Task, named


def predictions_file(task: Task, split: str) -> str:
    """The name of a split's predictions in the job's folder, such as glue-rte-dev.jsonl."""
    return f"{task.name.replace('/', '-')}-{split}.jsonl"


def write_predictions(folder: Path, task: Task, split: str, rows: Dataset, predictions: Predictions) -> None:
    """One JSON line a row, in order: its id, the answer and its probability, and the right answer where it is known.

    Labels and tags are given by name.
    """
    lines = (strict_json(line, ensure_ascii=False) + "\n" for line in told(task, rows, predictions))
    whole_file(folder / predictions_file(task, split), "".join(lines).encode())


def told(task: Task, rows: Dataset, predictions: Predictions) -> Iterator[dict[str, Any]]:
    """Each row's line."""
    answers, probabilities = predictions.answers, predictions.probabilities
    right = rows["label"][:] if "label" in rows.column_names else None
    references = rows["answers"][:] if "answers" in rows.column_names else None
    for number, row_id in enumerate(rows["id"]):
        place = row_id if task.head == "span" else number
        line = {"id": row_id, "prediction": named(task, answers[place])}
        if probabilities is not None:
            line["probability"] = confidence(task, answers[place], probabilities[place])
        if right is not None:
            line["label"] = named(task, right[number])
        elif references is not None:
            line["label"] = references[number]["text"]
        yield line


def confidence(task: Task, answer: Any, probabilities: Any) -> Any:
    """The probability of the answer that is given, six figures; of each word's tag."""
    if task.head == "tagging":
        return [round(float(row[tag]), 6) for row, tag in zip(probabilities, answer, strict=True)]
    if task.head == "span":
        return next((round(float(span.probability), 6) for span in probabilities if span.text == answer), None)
    return round(float(probabilities[answer]), 6)


def degenerate(task: Task, predictions: Predictions) -> str:
    """Say in words that every row is given one answer; "" if they differ."""
    answers = predictions.answers
    if task.head == "span":
        return "" if any(answers.values()) else "gives the empty answer to every question"
    if task.head == "tagging":
        outside = task.labels.index("O") if "O" in task.labels else None
        found = {int(tag) for tags in answers for tag in tags if tag >= 0}
        return f"answers {task.labels[found.pop()]!r} to every word" if len(found) == 1 or found == {outside} else ""
    first = answers[0]
    if not all(answer == first for answer in answers) or len(answers) < 2:
        return ""
    return f"answers {named(task, first)!r} to every row"
