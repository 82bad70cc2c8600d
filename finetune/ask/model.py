"""How does a fine-tuned model answer what it is asked: the rows of a file, a question on a page?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from engine.run.saved import config_of, located
from finetune.ask.predict_split import answers
from finetune.batches import EVALUATION_TOKENS
from finetune.decoder import with_padding
from finetune.model import UNLIMITED, max_tokens, open_model
from finetune.questions import HEADS
from finetune.questions.asked import ASKED, Fields
from finetune.questions.encoding import Encoded
from finetune.tasks.task import Head, Task, find_task
from tokenizer.load import load_tokenizer

if TYPE_CHECKING:
    from accelerate import Accelerator

SPAN_WINDOW = 384  # tokens of a question with a piece of its context, as in the published recipes
KINDS: dict[str, Head] = {
    "ForSequenceClassification": "classification",
    "ForTokenClassification": "tagging",
    "ForQuestionAnswering": "span",
    "ForMultipleChoice": "choice",
}


def fine_tuned(name: str, revision: str = "", said: str = "") -> tuple[PreTrainedModel, Task, PreTrainedTokenizerFast]:
    """The model, what it was fine-tuned for, and its tokenizer, which frames texts as it did in training.

    `name` is a folder or a Hub id, `revision` the Hub's branch, tag or commit; the task's columns are those of the task
    `said`, else none. Errors: FileNotFoundError where there is no model; ValueError for one that was not fine-tuned, or
    for another task.
    """
    source = located(name)
    config = config_of(source, revision)
    tokenizer = with_padding(load_tokenizer(source, revision or None))
    names: Any = config.id2label
    labels = tuple(names[number] for number in sorted(names))
    can_abstain = hasattr(config, "null_threshold")  # learnt with questions that have no answer
    head = kind(config, source)
    if head in ("classification", "tagging") and (twice := [name for name in labels if labels.count(name) > 1]):
        raise ValueError(f"{source}: config.json gives two labels the name {twice[0]!r}: give each its own in id2label")
    columns = getattr(config, "text_columns", [])  # of a classifier that was fine-tuned here
    if not (isinstance(columns, list) and len(columns) < 3 and all(isinstance(name, str) for name in columns)):
        raise ValueError(f"{source}: config.json has the text_columns {columns!r}; expected the names of one or two")
    task = Task(source, head, labels, tuple(columns), "", "", lambda _: {}, unanswerable=can_abstain)
    model, random = open_model(source, HEADS[task.head], task, tokenizer, {}, fresh=False, revision=revision)
    if random:
        raise ValueError(f"{source} lacks what fine-tuning teaches, such as {random[0]}: finetune.run teaches it")
    return model, named(task, find_task(said)) if said else task, tokenizer


def kind(config: PreTrainedConfig, source: str) -> Head:
    """The head that a model was saved with. Errors: ValueError for one that is none of ours."""
    architecture = (config.architectures or ["of no kind"])[0]
    head = next((head for suffix, head in KINDS.items() if architecture.endswith(suffix)), None)
    if head is None:
        raise ValueError(
            f"{source} is {architecture}, not fine-tuned; one of {', '.join(KINDS)} is asked for, as finetune.run makes"
        )
    if config.problem_type == "multi_label_classification":
        raise ValueError(
            f"{source} gives a text several labels at once (multi_label_classification), which is not done"
        )
    if head == "classification" and (config.problem_type == "regression" or config.num_labels == 1):
        return "regression"
    return head


def named(task: Task, said: Task) -> Task:
    """The task with the columns and, where the model only numbers them, the labels of the one that was said."""
    if task.head != said.head:
        raise ValueError(f"--task {said.name} asks for {said.head}, but {task.name} was fine-tuned for {task.head}")
    if task.columns and len(task.columns) != len(said.columns):
        raise ValueError(
            f"--task {said.name} has {len(said.columns)} text(s) a row; {task.name} was fine-tuned for "
            f"{len(task.columns)}"
        )
    numbered = {f"LABEL_{number}" for number in range(len(task.labels))}
    labels = said.labels if set(task.labels) == numbered and said.labels else task.labels
    if said.labels and (set(labels) != set(said.labels) or len(labels) != len(task.labels)):
        raise ValueError(
            f"--task {said.name} has the labels {', '.join(said.labels)}; {task.name} has {', '.join(task.labels)}"
        )
    return replace(task, labels=labels, columns=said.columns)


class Answering:
    """A model that answers questions; counts them, and what of them it could not read."""

    def __init__(
        self, model: PreTrainedModel, task: Task, tokenizer: PreTrainedTokenizerFast, accelerator: "Accelerator",
        max_length: int = 0, batch_tokens: int = EVALUATION_TOKENS,
    ):  # fmt: skip
        self.model, self.task, self.tokenizer, self.accelerator = model, task, tokenizer, accelerator
        self.max_length = max_length or longest(task, model, tokenizer)
        self.batch_tokens = batch_tokens
        self.num_rows, self.num_cut, self.num_tokens_cut, self.num_lost = 0, 0, 0, 0

    def told(self, given: Sequence[Fields]) -> Iterator[Fields]:
        """What there is to say of each question, in order: `prediction`, and how sure the model is of it.

        Where a question was too long, `tokens_cut` says by how many tokens.
        """
        columns = {name: [fields[name] for fields in given] for name in self.task.columns}
        rows = Dataset.from_dict({"id": [str(number) for number in range(len(given))], **columns})
        encoded = HEADS[self.task.head].encode(self.task, rows, self.tokenizer, self.max_length)
        self.count(len(given), encoded)
        predictions = answers(self.model, self.task, encoded, self.tokenizer, self.accelerator, self.batch_tokens)
        told = ASKED[self.task.head].told(self.task, predictions, given)
        return (line | ({"tokens_cut": cut} if cut else {}) for line, cut in zip(told, encoded.cut, strict=True))

    def count(self, num_rows: int, encoded: Encoded) -> None:
        """Add up what `report` says."""
        self.num_rows += num_rows
        self.num_cut += encoded.num_cut
        self.num_tokens_cut += sum(encoded.cut)
        self.num_lost += encoded.num_lost

    @property
    def report(self) -> str:
        """How much was answered, in words."""
        what = "with a question cut" if self.task.head == "span" else f"cut at max_seq_length {self.max_length}"
        cut = f", {self.num_cut} of them {what} ({self.num_tokens_cut} tokens not read)" if self.num_cut else ""
        lost = f", {self.num_lost} words not read and so untagged" if self.num_lost else ""
        return f"{self.num_rows} rows answered{cut}{lost}"


def longest(task: Task, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> int:
    """As many tokens as the model and its tokenizer take; of a question with its context, a window."""
    most = min(max_tokens(model), tokenizer.model_max_length)
    if task.head == "span":
        return min(most, SPAN_WINDOW)
    if most >= UNLIMITED:
        raise ValueError(f"{task.name} names no greatest length: say --max_seq_length, such as 512")
    return most
