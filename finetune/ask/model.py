"""How does a fine-tuned model answer what it is asked: the rows of a file, a question on a page?  Inference."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from engine.run.architecture import UNLIMITED, count_positions
from engine.run.saved import config_of, located
from finetune.ask.predict_split import predict_encoded
from finetune.batches import EVALUATION_TOKENS
from finetune.decoder import add_padding_token
from finetune.model import open_model
from finetune.questions import KINDS
from finetune.questions.encoding import Encoded
from finetune.questions.question import Question
from finetune.tasks.fields import Fields
from finetune.tasks.task import Task, find_task
from tokenizer.load import load_tokenizer

if TYPE_CHECKING:
    from accelerate import Accelerator

ARCHITECTURES = tuple(dict.fromkeys(question.architecture for question in KINDS))


def load_fine_tuned(
    name: str, revision: str = "", task_name: str = ""
) -> tuple[PreTrainedModel, Task, PreTrainedTokenizerFast]:
    """The model, what it was fine-tuned for, and its tokenizer, which frames texts as it did in training.

    `name` is a folder or a Hub id, `revision` the Hub's branch, tag or commit; the task's columns are those of the task
    `task_name`, else what the model's config says, if anything. Errors: FileNotFoundError where there is no model;
    ValueError for one that was not fine-tuned, or for another task.
    """
    source = located(name)
    config = config_of(source, revision)
    tokenizer = add_padding_token(load_tokenizer(source, revision or None))
    names: Any = config.id2label
    labels = tuple(names[number] for number in sorted(names))
    if twice := [name for name in labels if labels.count(name) > 1]:
        raise ValueError(f"{source}: config.json gives two labels the name {twice[0]!r}: give each its own in id2label")
    columns = getattr(config, "text_columns", [])  # of a classifier that was fine-tuned here
    if not (isinstance(columns, list) and len(columns) < 3 and all(isinstance(name, str) for name in columns)):
        raise ValueError(f"{source}: config.json has the text_columns {columns!r}; expected the names of one or two")
    can_abstain = hasattr(config, "null_threshold")  # learnt with questions that have no answer
    question = find_question(config, source)
    task = Task(source, question, labels, tuple(columns), "", "", lambda _: {}, unanswerable=can_abstain)
    model, random = open_model(source, question, task, tokenizer, {}, fresh=False, revision=revision)
    if random:
        raise ValueError(
            f"{source} lacks weights that fine-tuning adds, such as {random[0]}: fine-tune it by finetune.run"
        )
    return model, use_names(task, find_task(task_name)) if task_name else task, tokenizer


def find_question(config: PreTrainedConfig, source: str) -> Question:
    """The kind of question that a model was saved for. Errors: ValueError for one that is none of ours."""
    found = next((question for question in KINDS if question.fits(config)), None)
    if found is None:
        architecture = (config.architectures or ["of no kind"])[0]
        raise ValueError(
            f"{source} is {architecture}, not fine-tuned; one of {', '.join(ARCHITECTURES)} is asked for, as "
            "finetune.run makes"
        )
    if config.problem_type == "multi_label_classification":
        raise ValueError(
            f"{source} gives a text several labels at once (multi_label_classification), which is not done"
        )
    return found


def use_names(task: Task, other: Task) -> Task:
    """The task with the columns and, where the model only numbers them, the labels of another one."""
    if task.question.name != other.question.name:
        raise ValueError(
            f"--task {other.name} asks for {other.question.name}, but {task.name} was fine-tuned for "
            f"{task.question.name}"
        )
    if task.columns and len(task.columns) != len(other.columns):
        raise ValueError(
            f"--task {other.name} has {len(other.columns)} text(s) a row; {task.name} was fine-tuned for "
            f"{len(task.columns)}"
        )
    numbered = {f"LABEL_{number}" for number in range(len(task.labels))}
    labels = other.labels if set(task.labels) == numbered and other.labels else task.labels
    if other.labels and (set(labels) != set(other.labels) or len(labels) != len(task.labels)):
        raise ValueError(
            f"--task {other.name} has the labels {', '.join(other.labels)}; {task.name} has {', '.join(task.labels)}"
        )
    return replace(task, labels=labels, columns=other.columns)


class Answerer:
    """A model that answers rows; counts them, and what of them it could not read."""

    def __init__(
        self, model: PreTrainedModel, task: Task, tokenizer: PreTrainedTokenizerFast, accelerator: "Accelerator",
        max_length: int = 0, batch_tokens: int = EVALUATION_TOKENS,
    ):  # fmt: skip
        self.model, self.task, self.tokenizer, self.accelerator = model, task, tokenizer, accelerator
        self.max_length = max_length or choose_max_length(task, model, tokenizer)
        self.batch_tokens = batch_tokens
        self.num_rows, self.num_cut, self.num_tokens_cut, self.num_lost = 0, 0, 0, 0

    def answer(self, given: Sequence[Fields]) -> Iterator[Fields]:
        """What there is to say of each row, in order: `prediction`, and how sure the model is of it.

        Where a row was too long, `tokens_cut` says by how many tokens.
        """
        columns = {name: [fields[name] for fields in given] for name in self.task.columns}
        rows = Dataset.from_dict({"id": [str(number) for number in range(len(given))], **columns})
        encoded = self.task.question.encode(self.task, rows, self.tokenizer, self.max_length)
        self.count(len(given), encoded)
        predictions = predict_encoded(
            self.model, self.task, encoded, self.tokenizer, self.accelerator, self.batch_tokens
        )
        lines = self.task.question.format_answers(self.task, predictions, given)
        return (line | ({"tokens_cut": cut} if cut else {}) for line, cut in zip(lines, encoded.cut, strict=True))

    def count(self, num_rows: int, encoded: Encoded) -> None:
        self.num_rows += num_rows
        self.num_cut += encoded.num_cut
        self.num_tokens_cut += sum(encoded.cut)
        self.num_lost += encoded.num_lost

    @property
    def report(self) -> str:
        what = self.task.question.cut.format(max_length=self.max_length)
        cut = f", {self.num_cut} of them {what} ({self.num_tokens_cut} tokens not read)" if self.num_cut else ""
        lost = f", {self.num_lost} words not read and so untagged" if self.num_lost else ""
        return f"{self.num_rows} rows answered{cut}{lost}"


def choose_max_length(task: Task, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> int:
    """As many tokens as the model and its tokenizer take; of a question with its context, a window."""
    most = min(count_positions(model), tokenizer.model_max_length, task.question.window or UNLIMITED)
    if most >= UNLIMITED:
        raise ValueError(f"{task.name} names no greatest length: say --max_seq_length, such as 512")
    return most
