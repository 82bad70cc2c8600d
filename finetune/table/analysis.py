"""What does the model get wrong?  The page of mistakes (error analysis) of a job, analysis.html."""

from collections.abc import Mapping
from pathlib import Path

from datasets import Dataset

from engine.publish.page import template
from engine.run.disk import whole_file
from finetune.questions.encoding import Predictions
from finetune.tasks.metrics import score
from finetune.tasks.task import Task


def write_analysis(
    folder: Path, task: Task, rows: Mapping[str, Dataset], predictions: Mapping[str, Predictions]
) -> None:
    """Write `analysis.html` into a job's folder: the splits in `predictions`, scored by the answers in `rows`."""
    parts = {
        split: {
            "rows": len(rows[split]),
            "scores": {
                name: value
                for name, value in score(task, found.answers, rows[split]).items()
                if not name.startswith(task.question.type_scores)
            },
            "degenerate": task.question.describe_collapse(task, found),
            "sections": task.question.sections(task, rows[split], found),
        }
        for split, found in predictions.items()
    }
    page = template(Path(__file__).with_suffix(".html")).render(task=task.name, job=folder.as_posix(), parts=parts)
    whole_file(folder / "analysis.html", page.encode())
