"""What does a fine-tuned model say of the rows of a file?  One line of JSON for each, in the file's order.

    python -m finetune.predict MODEL FILE [--out ANSWERS.jsonl] [--columns text=review text_pair=reply]

MODEL is a job's model/ folder or a Hub id; FILE is .csv, .tsv, .jsonl, .parquet, .txt (a text a line), or - for
standard input. What is read of it is said, and where its columns' names do not make that plain, --columns does. A line
has the row's id (column `id` or `index`, else its number from 0), `prediction`, and how sure the model is of it.

The file is read, answered and written in parts, so memory does not grow with it. bf16 and the device are Accelerate's:
`accelerate launch --config_file accelerate_configs/one_gpu.yaml -m finetune.predict ...`, with one process.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import tyro
from datasets import Dataset
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from engine.disk import force_to_disk
from engine.runtime import make_accelerator, program
from finetune.answer import answers
from finetune.asked import ASKED, Asked, Fields, Way, way_to_read
from finetune.encoding import Encoded
from finetune.examples import EVALUATION_TOKENS
from finetune.heads import HEADS
from finetune.inputs import Row, opened
from finetune.model import UNLIMITED, located, max_tokens, open_model
from finetune.task import Head, Task, find_task
from tokenizer.load import load_tokenizer

if TYPE_CHECKING:
    from accelerate import Accelerator

ROWS_PER_PART, CHARACTERS_PER_PART = 4096, 4_000_000  # whichever comes first: a part of long texts fits in memory, too
SPAN_WINDOW = 384  # tokens of a question with a piece of its context, as in the published recipes
KINDS: dict[str, Head] = {
    "ForSequenceClassification": "classification",
    "ForTokenClassification": "tagging",
    "ForQuestionAnswering": "span",
    "ForMultipleChoice": "choice",
}


@dataclass(frozen=True)
class Options:
    """Answer the rows of a file by a fine-tuned model, a line of JSON each."""

    model: Annotated[
        tyro.conf.Positional[str],
        tyro.conf.arg(metavar="MODEL", help="a job's model/ folder, any fine-tuned folder, or a Hub id"),
    ]
    file: Annotated[
        tyro.conf.Positional[str],
        tyro.conf.arg(metavar="FILE", help=".csv, .tsv, .jsonl, .parquet, .txt, or - for standard input"),
    ]
    out: Path | None = None  # the answers' file, which appears when it is whole; without it, standard output
    columns: tuple[str, ...] = ()  # what is read from where: text=review text_pair=reply id=key
    task: str = ""  # such as glue/rte: its columns, and names for the labels of a model that only numbers them
    max_length: int = 0  # tokens; 0: as many as the model takes, for questions windows of 384
    batch_tokens: int = EVALUATION_TOKENS  # of a batch, padding included
    skip_broken: bool = False  # leave out rows that cannot be read, and say how many
    revision: str = ""  # of a Hub id: branch, tag or commit


@program
def main(argv: list[str]) -> None:
    options = tyro.cli(Options, args=argv, prog="python -m finetune.predict", config=(tyro.conf.FlagConversionOff,))
    with redirect_stdout(sys.stderr):  # standard output is for the answers
        accelerator = make_accelerator(seed=0)
    if accelerator.num_processes > 1:
        raise ValueError(
            f"{accelerator.num_processes} processes were started, but one answers a file: say --num_processes 1, or "
            "cut the file and answer its pieces side by side"
        )
    inputs = opened(options.file)
    model, task, tokenizer = fine_tuned(options)
    asked = ASKED[task.head]
    way, id_column = way_to_read(inputs, asked, options.columns, task.columns)
    say(f"{inputs.name}: reading {', '.join(f'{name} from {column!r}' for name, column in way.items())}")
    task = replace(task, columns=asked.columns(way))
    answering = Answering(model.to(accelerator.device).eval(), task, tokenizer, options, accelerator)
    questions = Questions(inputs.rows, asked, way, id_column, options.skip_broken)
    began = time.perf_counter()
    try:
        with written(options.out) as out:
            for part in parts(questions):
                out.writelines(answering.lines(part))
                out.flush()
    except BrokenPipeError:  # who read the answers, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    say(f"{answering.report} in {time.perf_counter() - began:.1f} s{questions.report}")


def fine_tuned(options: Options) -> tuple[PreTrainedModel, Task, PreTrainedTokenizerFast]:
    """The model, what it was fine-tuned for, and its tokenizer, which frames texts as it did in training.

    The task's columns are those of --task, else none. Errors: FileNotFoundError where there is no model; ValueError for
    one that was not fine-tuned, or for another task than --task.
    """
    source = located(options.model)
    tokenizer = load_tokenizer(source, options.revision or None)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    try:
        config = AutoConfig.from_pretrained(source, revision=options.revision or "main")
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"{source}: no model here that transformers opens ({error})") from None
    labels = tuple(config.id2label[number] for number in sorted(config.id2label))
    can_abstain = hasattr(config, "null_threshold")  # learnt with questions that have no answer
    task = Task(source, kind(config, source), labels, (), "", "", lambda _: {}, unanswerable=can_abstain)
    model, random = open_model(source, HEADS[task.head], task, tokenizer, {}, fresh=False, revision=options.revision)
    if random:
        raise ValueError(f"{source} lacks what fine-tuning teaches, such as {random[0]}: finetune.run teaches it")
    model.config.pad_token_id = tokenizer.pad_token_id  # a decoder reads the label before its padding
    return model, named(task, find_task(options.task)) if options.task else task, tokenizer


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
    numbered = {f"LABEL_{number}" for number in range(len(task.labels))}
    labels = said.labels if set(task.labels) == numbered and said.labels else task.labels
    if said.labels and (set(labels) != set(said.labels) or len(labels) != len(task.labels)):
        raise ValueError(
            f"--task {said.name} has the labels {', '.join(said.labels)}; {task.name} has {', '.join(task.labels)}"
        )
    return replace(task, labels=labels, columns=said.columns)


@dataclass(frozen=True)
class Question:
    """A row: its id, and what the model is given."""

    id: Any
    given: Fields


class Questions:
    """The rows of a file as questions, in order; counts those that are left out.

    Errors: ValueError, with file and place, for a row that cannot be read, unless such rows are to be left out.
    """

    def __init__(self, rows: Iterator[Row], asked: Asked, way: Way, id_column: str, skip_broken: bool):
        self.rows, self.asked, self.way, self.id_column, self.skip_broken = rows, asked, way, id_column, skip_broken
        self.num_broken, self.first_broken = 0, ""

    def __iter__(self) -> Iterator[Question]:
        for row in self.rows:
            try:
                question = self.read(row)
            except ValueError as error:
                broken = f"{row.where}: {error}"
                if not self.skip_broken:
                    raise ValueError(f"{broken}; --skip_broken True leaves such rows out") from None
                self.num_broken, self.first_broken = self.num_broken + 1, self.first_broken or broken
            else:
                yield question

    def read(self, row: Row) -> Question:
        """One row as a question."""
        if row.trouble:
            raise ValueError(row.trouble)
        if self.id_column and row.fields.get(self.id_column) is None:
            raise ValueError(f"no {self.id_column!r} here")
        row_id = row.fields[self.id_column] if self.id_column else row.number
        return Question(row_id, self.asked.given(row.fields, self.way))

    @property
    def report(self) -> str:
        """What was left out, in words."""
        return f"; {self.num_broken} broken rows left out, the first: {self.first_broken}" if self.num_broken else ""


def parts(questions: Iterable[Question]) -> Iterator[list[Question]]:
    """The questions, as many at a time as fit in memory; at an error those before it first.

    Those of one part have as many choices as each other, since their answers make up one table.
    """
    part: list[Question] = []
    size = 0
    try:
        for question in questions:
            if part and len(question.given.get("choices", ())) != len(part[0].given.get("choices", ())):
                yield part
                part, size = [], 0
            part.append(question)
            size += sum(len(str(value)) for value in question.given.values())
            if len(part) == ROWS_PER_PART or size > CHARACTERS_PER_PART:
                yield part
                part, size = [], 0
    except ValueError:
        if part:
            yield part
        raise
    if part:
        yield part


class Answering:
    """A model that answers questions; counts them, and what of them it could not read."""

    def __init__(
        self, model: PreTrainedModel, task: Task, tokenizer: PreTrainedTokenizerFast, options: Options,
        accelerator: "Accelerator",
    ):  # fmt: skip
        self.model, self.task, self.tokenizer, self.accelerator = model, task, tokenizer, accelerator
        self.max_length = options.max_length or longest(task, model, tokenizer)
        self.batch_tokens = options.batch_tokens
        self.num_rows, self.num_full, self.num_lost = 0, 0, 0

    def lines(self, part: Sequence[Question]) -> Iterator[str]:
        """A line of JSON for each question."""
        given = [question.given for question in part]
        columns = {name: [fields[name] for fields in given] for name in self.task.columns}
        rows = Dataset.from_dict({"id": [str(number) for number in range(len(part))], **columns})
        encoded = HEADS[self.task.head].encode(self.task, rows, self.tokenizer, self.max_length)
        self.count(len(part), encoded)
        predictions = answers(self.model, self.task, encoded, self.tokenizer, self.accelerator, self.batch_tokens)
        told = ASKED[self.task.head].told(self.task, predictions, given)
        for question, fields in zip(part, told, strict=True):
            yield json.dumps({"id": question.id, **fields}, ensure_ascii=False, default=str) + "\n"

    def count(self, num_rows: int, encoded: Encoded) -> None:
        """Add up what `report` says."""
        self.num_rows += num_rows
        self.num_lost += encoded.num_lost
        if self.task.head != "span":  # a long context has windows
            self.num_full += sum(len(ids) == self.max_length for ids in encoded.columns["input_ids"])

    @property
    def report(self) -> str:
        """How much was answered, in words."""
        full = f", {self.num_full} of them read up to max_length {self.max_length}" if self.num_full else ""
        lost = f", {self.num_lost} words beyond it untagged (O)" if self.num_lost else ""
        return f"{self.num_rows} rows answered{full}{lost}"


def longest(task: Task, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> int:
    """As many tokens as the model and its tokenizer take; of a question with its context, a window."""
    most = min(max_tokens(model), tokenizer.model_max_length)
    if task.head == "span":
        return min(most, SPAN_WINDOW)
    if most >= UNLIMITED:
        raise ValueError(f"{task.name} names no greatest length: say --max_length, such as 512")
    return most


@contextmanager
def written(path: Path | None) -> Iterator[TextIO]:
    """Where the answers go: a file that appears when it is whole, or standard output."""
    if path is None:
        yield sys.stdout
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            yield file
        force_to_disk(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def say(line: str) -> None:
    """Tell the user, beside the answers."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
