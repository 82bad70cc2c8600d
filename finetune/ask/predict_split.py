"""What does a model answer to the rows of a split?  Batched prediction.

Rows become ids, batches, outputs and predictions, in order.
"""

from typing import TYPE_CHECKING

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from engine.run.tracking import Tracker
from engine.train import draws
from engine.train.evaluation import predict
from finetune.batches import EVALUATION_TOKENS, make_evaluation_batches
from finetune.decoder import add_frame
from finetune.jobs import Job
from finetune.questions.encoding import Encoded, Predictions
from finetune.tasks.data_report import write_report
from finetune.tasks.task import Rows, Task, all_tasks
from tokenizer.load import tokenizer_hash

if TYPE_CHECKING:
    from accelerate import Accelerator


def predict_rows(
    model: PreTrainedModel, task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int,
    accelerator: "Accelerator",
) -> Predictions:  # fmt: skip
    """Predict the rows of a split, whether they have answers or not. `model` must be in evaluation mode."""
    return predict_encoded(model, task, encode(task, rows, tokenizer, max_length), tokenizer, accelerator)


def predict_encoded(
    model: PreTrainedModel, task: Task, encoded: Encoded, tokenizer: PreTrainedTokenizerFast,
    accelerator: "Accelerator", num_tokens: int = EVALUATION_TOKENS,
) -> Predictions:  # fmt: skip
    """Predict rows that are encoded already, up to `num_tokens` places at a time."""
    batches, order = make_evaluation_batches(encoded.columns, tokenizer, num_tokens)
    found = predict(model, task.question.predict, batches, accelerator)
    in_order = [output for _, output in sorted(zip(order.tolist(), found, strict=True), key=lambda pair: pair[0])]
    return task.question.decide(model, encoded.decode(in_order))


class Encodings:
    """The encoded splits of a task, each made once for all of its jobs. Of the training rows, `max_train_samples` at
    most; 0: all."""

    def __init__(self, task: Task, rows: Rows, max_train_samples: int = 0):
        self.task, self.all_training_rows = task, rows[task.train_split]
        self.rows = rows | {task.train_split: draw_rows(self.all_training_rows, max_train_samples)}
        self._reports: dict[tuple[str, int], str] = {}
        self._made: dict[tuple[str, str, int], Encoded] = {}

    def of(self, split: str, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoded:
        key = (split, tokenizer_hash(tokenizer), max_length)
        if key not in self._made:
            self._made[key] = encode(self.task, self.rows[split], tokenizer, max_length)
        return self._made[key]

    def report(self, tokenizer: PreTrainedTokenizerFast, max_length: int) -> str:
        """What the rows are and what is cut off, made once for a tokenizer and a length."""
        key = (tokenizer_hash(tokenizer), max_length)
        if key not in self._reports:
            splits = (self.task.train_split, *self.task.dev_splits)
            encoded = {split: self.of(split, tokenizer, max_length) for split in splits}
            self._reports[key] = write_report(self.task, self.rows, encoded, tokenizer, max_length)
        return self._reports[key]


def draw_rows(rows: Dataset, most: int) -> Dataset:
    """So many rows at most, drawn by chance, in their order; 0: all."""
    if not 0 < most < len(rows):
        return rows
    return rows.select(np.sort(draws.permutation(draws.stream("max_train_samples"), len(rows))[:most]))


def encode(task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoded:
    """Encode the rows of any task. A longer text loses its end; a longer context becomes several windows.

    Raises ValueError if `max_length` leaves no room for the texts.
    """
    tokenizer = add_frame(tokenizer)
    room = max_length - tokenizer.num_special_tokens_to_add(pair=len(task.columns) == 2)
    if room < 2 * len(task.columns):
        raise ValueError(f"max_seq_length {max_length} leaves {room} tokens for {' and '.join(task.columns)}; raise it")
    return task.question.encode(task, rows, tokenizer, max_length)


def find_test_splits(job: Job, task: Task, rows: Rows, tracker: Tracker) -> list[tuple[Task, str, Dataset]]:
    """The test splits to predict: the task's own, and those of tasks that its model stands in for (AX)."""
    if not job.recipe.predict_test:
        return []
    found = [(task, split, rows[split]) for split in task.test_splits if split in rows]
    for other in all_tasks().values():
        if other.trained_as == task.name:
            try:
                loaded = other.load(job.recipe.data)
            except FileNotFoundError as error:  # as with every test file: only a submission needs it
                tracker.note(f"{other.name} is not predicted: {error}")
                continue
            found += [(other, split, loaded[split]) for split in other.test_splits]
    if not any(tested is task for tested, *_ in found):
        tracker.note(f"{task.name} has no test rows to predict in {job.recipe.data.path or job.recipe.data.source}")
    return found
