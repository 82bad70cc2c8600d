"""Which example fits a model?  A row of the data that it was fine-tuned on, or else a general one.

A job's data report, beside the model, shows some rows in words.
"""

import re
from pathlib import Path

from finetune.ask.playground.boxes import Text
from finetune.ask.playground.models import LoadedModel

GAP = "[MASK]"  # as the examples have it; shown as the model's own tokenizer writes it
ROW = re.compile(r"^- \*\*.*\*\*\n((?:  - .+\n?)+)", re.MULTILINE)  # the answer, and below it the texts by column
CUT = " …"  # the end of a text that is too long to be shown whole


def example_for(field: Text, loaded: LoadedModel) -> str:
    """What stands in a box at first."""
    if loaded.task and field in loaded.task.question.page_boxes:
        boxes = [box for box in loaded.task.question.page_boxes if isinstance(box, Text)]
        columns = len(loaded.task.columns) or len(boxes)
        joined = any(box.line_each for box in boxes)  # a report has several texts in one line
        own = read_example(loaded.run / "data_report.md", columns) if loaded.run and not joined else []
        place = boxes.index(field)
        return own[place] if place < len(own) else field.value
    if field.without_gap and "fill" not in loaded.abilities:
        return field.without_gap
    return field.value.replace(GAP, loaded.tokenizer.mask_token or GAP)


def read_example(report: Path, columns: int) -> list[str]:
    """The texts of the first row that a data report shows whole, one for each column; nothing where there is none."""
    text = report.read_text(encoding="utf-8", errors="replace") if report.is_file() else ""
    for row in ROW.findall(text):
        texts = [line.partition(": ")[2] for line in row.splitlines()]
        if len(texts) == columns and not any(found.endswith(CUT) for found in texts):
            return texts
    return []
