"""What does a fine-tuned model say of the rows of a file?  One line of JSON for each, in the file's order.

    cloze predict MODEL FILE [--out ANSWERS.jsonl] [--columns text=review text_pair=reply]

MODEL is a job's model/ folder or a Hub id; FILE is .csv, .tsv, .jsonl, .parquet, .txt (a text a line), .conll or
.conllu (a word a line), or - for standard input. What is read of it is printed, and where its columns' names do not
make that plain, --columns does; `words=0` says that any other file has a word a line, in its first column. A line has
the row's id (column `id` or `index`, else its number from 0), `prediction`, and how sure the model is of it.

The file is read, answered and written in parts, so memory does not grow with it. bf16 and the device are Accelerate's:
`accelerate launch --config_file accelerate_configs/one_gpu.yaml -m finetune.predict ...`, with one process.
"""

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, TextIO

from tyro.conf import Positional, arg

from engine.run.disk import written
from engine.run.finite import strict_json
from engine.run.options import read_options
from engine.run.precision import MixedPrecision, Precision
from engine.run.runtime import make_accelerator, program
from engine.train.last_layer import read_first
from finetune.ask.columns import choose_layout
from finetune.ask.model import Answerer, load_fine_tuned
from finetune.batches import EVALUATION_TOKENS
from finetune.questions.question import Layout, Question
from finetune.tasks.fields import Fields
from finetune.tasks.files import Row, open_file

ROWS_PER_PART, CHARACTERS_PER_PART = 4096, 4_000_000  # whichever comes first: a part of long texts fits in memory, too
WORDS_BY_NUMBER = re.compile(r"words=\d+")  # of a file with a word a line


@dataclass(frozen=True)
class Options:
    """Let a fine-tuned model answer every row of a file, with a line of JSON for each.

    Example: cloze predict runs/try/pair/docs-pair/seed-0 pairs.tsv --out answers.jsonl
    """

    model: Annotated[str, Positional, arg(metavar="MODEL")]  # a job's folder, any fine-tuned folder, or a Hub id
    # .csv, .tsv, .jsonl, .parquet, .txt (a text a line), .conll or .conllu (a word a line), or - for standard input
    file: Annotated[str, Positional, arg(metavar="FILE")]
    out: Path | None = None  # the file to write, which appears when it is whole; without it, standard output
    # which of the file's columns is which, where their names do not say it: text=review text_pair=reply id=key
    columns: tuple[str, ...] = ()
    task: str = ""  # such as glue/rte: its columns, and names for the labels of a model that only numbers them
    max_seq_length: int = 0  # tokens; 0: as many as the model takes, for questions windows of 384
    mixed_precision: MixedPrecision = "no"  # no is fp32; bf16 is less exact; auto: the faster of both
    batch_tokens: int = EVALUATION_TOKENS  # tokens that are computed at once, padding included
    skip_broken: bool = False  # leave out rows that cannot be read, and say how many
    revision: str = ""  # of a model on the Hub: branch, tag or commit


@program
def main(argv: list[str]) -> None:
    options = read_options(Options, argv, "python -m finetune.predict")
    with redirect_stdout(sys.stderr):  # standard output is for the answers
        accelerator = make_accelerator(0, Precision(options.mixed_precision))
    if accelerator.num_processes > 1:
        raise ValueError(
            f"{accelerator.num_processes} processes were started, but one answers a file: say --num_processes 1, or "
            "cut the file and answer its pieces side by side"
        )
    refuse_to_replace(options.file, options.out)
    inputs = open_file(options.file, by_number=any(map(WORDS_BY_NUMBER.fullmatch, options.columns)))
    model, task, tokenizer = load_fine_tuned(options.model, options.revision, options.task)
    layout, id_column = choose_layout(inputs, task.question, options.columns, task.columns)
    task.question.check_layout(task, layout)
    left_out = f"; {inputs.left_out}" if inputs.left_out else ""
    say(f"{inputs.name}: reading {', '.join(f'{name} from {column!r}' for name, column in layout.items())}{left_out}")
    task = replace(task, columns=task.question.columns(layout))
    model = read_first(model).to(accelerator.device).eval()
    answerer = Answerer(model, task, tokenizer, accelerator, options.max_seq_length, options.batch_tokens)
    examples = Examples(inputs.rows, task.question, layout, id_column, options.skip_broken)
    began = time.perf_counter()
    try:
        with open_answers(options.out) as out:
            for part in split_examples(examples):
                out.writelines(format_lines(answerer, part))
                out.flush()
    except BrokenPipeError:  # who read the answers, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    say(f"{answerer.report} in {time.perf_counter() - began:.1f} s{examples.report}")


@dataclass(frozen=True)
class Example:
    """A row: its id, and what the model is given."""

    id: Any
    fields: Fields


class Examples:
    """The rows of a file, in order, as the model is given them; counts those that are left out.

    Errors: ValueError, with file and place, for a row that cannot be read, unless such rows are to be left out.
    """

    def __init__(self, rows: Iterator[Row], question: Question, layout: Layout, id_column: str, skip_broken: bool):
        self.rows, self.question, self.layout, self.id_column = rows, question, layout, id_column
        self.skip_broken = skip_broken
        self.num_broken, self.first_broken = 0, ""

    def __iter__(self) -> Iterator[Example]:
        for row in self.rows:
            try:
                example = self.read(row)
            except ValueError as error:
                broken = f"{row.where}: {error}"
                if not self.skip_broken:
                    raise ValueError(f"{broken}; --skip_broken True leaves such rows out") from None
                self.num_broken, self.first_broken = self.num_broken + 1, self.first_broken or broken
            else:
                yield example

    def read(self, row: Row) -> Example:
        if row.trouble:
            raise ValueError(row.trouble)
        if self.id_column and row.fields.get(self.id_column) is None:
            raise ValueError(f"no {self.id_column!r} here")
        row_id = row.fields[self.id_column] if self.id_column else row.number
        try:
            json.dumps(row_id, ensure_ascii=False, allow_nan=False, default=str).encode()
        except (ValueError, RecursionError):
            raise ValueError(f"{self.id_column!r} is {row_id!a:.40}, which JSON in UTF-8 cannot say") from None
        return Example(row_id, self.question.read_fields(row.fields, self.layout))

    @property
    def report(self) -> str:
        return f"; {self.num_broken} broken rows left out, the first: {self.first_broken}" if self.num_broken else ""


def split_examples(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """The examples, as many at a time as fit in memory; at an error those before it first."""
    part: list[Example] = []
    size = 0
    try:
        for example in examples:
            part.append(example)
            size += sum(len(str(value)) for value in example.fields.values())
            if len(part) == ROWS_PER_PART or size > CHARACTERS_PER_PART:
                yield part
                part, size = [], 0
    except ValueError:
        if part:
            yield part
        raise
    if part:
        yield part


def format_lines(answerer: Answerer, part: Sequence[Example]) -> Iterator[str]:
    for example, answer in zip(part, answerer.answer([example.fields for example in part]), strict=True):
        yield strict_json({"id": example.id, **answer}, ensure_ascii=False, default=str) + "\n"


def refuse_to_replace(file: str, out: Path | None) -> None:
    if out is not None and out.is_file() and Path(file).is_file() and out.samefile(file):
        raise ValueError(f"--out {out} is the file of inputs, which the answers would replace: name another file")


@contextmanager
def open_answers(path: Path | None) -> Iterator[TextIO]:
    """Where the answers go: a file that appears when it is whole, or standard output."""
    if path is None:
        yield sys.stdout
        return
    with written(path) as file:
        out = TextIOWrapper(file, encoding="utf-8", write_through=True)
        try:
            yield out
        finally:
            out.detach()  # what is not closed here is closed there


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
