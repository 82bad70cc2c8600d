"""How are a model's predictions for a split kept?  One line of JSON a row, in the job's folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset

from engine.run.disk import whole_file
from engine.run.finite import strict_json
from finetune.questions.encoding import Predictions
from finetune.tasks.task import Task


def write_predictions(folder: Path, task: Task, split: str, rows: Dataset, predictions: Predictions) -> None:
    """Write each row's id, answer and probability, and the right answer where it is known, in order.

    Labels and tags are given by name. The file's name is such as glue-rte-dev.jsonl.
    """
    lines = (strict_json(line, ensure_ascii=False) + "\n" for line in list_predictions(task, rows, predictions))
    whole_file(folder / f"{task.name.replace('/', '-')}-{split}.jsonl", "".join(lines).encode())


def list_predictions(task: Task, rows: Dataset, predictions: Predictions) -> Iterator[dict[str, Any]]:
    question = task.question
    column = question.answer_column
    right = rows[column][:] if column in rows.column_names else None
    pairs = question.pairs(predictions, rows["id"])
    for number, (row_id, (answer, probabilities)) in enumerate(zip(rows["id"], pairs, strict=True)):
        line = {"id": row_id, "prediction": question.name_answer(task, answer)}
        if probabilities is not None:
            line["probability"] = question.confidence(answer, probabilities)
        if right is not None:
            line["label"] = question.name_reference(task, right[number])
        yield line
