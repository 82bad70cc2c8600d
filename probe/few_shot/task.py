"""What is asked, and in which words?  A few-shot task: its rows, their prompts, options and answers.

A task is a recipe, `recipes/probe/few-shot/*.yaml`. `prompt` is a template in Jinja, as in lm-evaluation-harness:
`{{ goal }}` is the row's field. `answer`, `options` and `group` are expressions in the same language. They are compiled
in a sandbox: a task from elsewhere runs no code here.
"""

import random
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow
import pyarrow.parquet
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from corpus.text.rows import Rows, hub_rows, json_rows
from corpus.text.source import Part, Source, file_of, parts
from engine.run.recipe import data_path, find_recipe, load
from engine.run.records import json_object
from probe.lines import read_text

HERE = Path("recipes/probe/few-shot")  # where tasks lie that are called by their name alone
BRACED = re.compile(r"(?<!\{)\{(\w+)\}(?!\})")  # a field as Python's format has it, and Jinja does not
AT_ONCE = 256  # rows of a table that are in memory
Rule = Literal["acc", "acc_per_token", "acc_norm", "acc_unconditional"]


@dataclass(frozen=True)
class Item:
    """One row, in the words of the task."""

    where: str  # it stands, for messages
    prompt: str
    blank: str  # the prompt without the row's content
    options: tuple[str, ...]  # empty where the answer is written freely
    answer: str
    right: int  # the number of the answer among the options; 0 where there are none
    group: str


@dataclass(frozen=True)
class Task:
    """A few-shot task: rows become prompts; an option is chosen by its probability, or an answer is written."""

    name: str
    prompt: str  # a row's text, up to where its answer begins: a template such as "Q: {{ question }}\nA:"
    answer: str  # an expression: the number of the right option from 0, its text, or the text of a free answer
    eval: Source  # the rows that are scored, of kind jsonl (also in a .zip), parquet or hub
    train: Source | None = None  # the rows that examples are drawn from
    hold_out: int = 0  # where there is no train: as many rows of eval are examples, and are not scored
    options: str = ""  # an expression: the list of options; "": the answer is written freely
    labels: str = ""  # a file with a line for each row of eval, which is its field `label`
    description: str = ""  # stands in front of the first example
    delimiter: str = " "  # between a prompt and its answer
    separator: str = "\n\n"  # between an example and what follows
    unconditional: str = (
        ""  # what options stand behind for acc_unconditional, such as "Answer:"; "": a text's beginning
    )
    headline: Rule = "acc"  # how options are compared in the curve: Brown et al. 2020, section 2.4
    stop: str = "\n"  # a regular expression: where a free answer ends
    group: str = ""  # an expression: accuracy is told apart by its value

    def __post_init__(self) -> None:
        for source in filter(None, (self.eval, self.train)):
            if source.kind not in ROWS:
                raise ValueError(f"rows of a task are of kind {', '.join(ROWS)}; found kind {source.kind}")
        if self.train and self.hold_out:
            raise ValueError("examples come from train, so hold_out does nothing: leave it out")
        if self.hold_out < 0:
            raise ValueError(f"hold_out is {self.hold_out}; it is a number of rows, 0 or more")
        if not self.options and self.headline != "acc":
            raise ValueError(f"headline: {self.headline} compares options, and the task has none: leave it out")
        try:
            re.compile(self.stop)
        except re.error as error:
            raise ValueError(f"stop is {self.stop!r}, which is no regular expression ({error})") from None
        _ = self._made  # what cannot be compiled is told with the recipe's line

    @cached_property
    def _made(self) -> dict[str, Callable[..., Any]]:
        words = SandboxedEnvironment(keep_trailing_newline=True, undefined=StrictUndefined)
        made: dict[str, Callable[..., Any]] = {}
        for name in ("prompt", "answer", "options", "group"):
            text = getattr(self, name)
            try:
                if name == "prompt":
                    made[name] = words.from_string(text).render
                elif text:
                    made[name] = words.compile_expression(text, undefined_to_none=False)
            except TemplateError as error:
                raise ValueError(f"{name} is {text!r}, which is not Jinja: {error}") from None
        return made

    def item(self, where: str, row: Mapping[str, Any]) -> Item:
        """Put a row into words. Errors: ValueError that names the row and the task's key."""
        if single := next((name for name in BRACED.findall(self.prompt) if name in row), None):
            raise ValueError(
                f"{where}: prompt has {{{single}}}, which stands as it is; write {{{{ {single} }}}} for the row's field"
            )
        options = tuple(self._texts(where, row)) if self.options else ()
        answer = self._value("answer", where, row)
        right = 0
        if options:
            right = find_option(answer, options, f"{where}: answer")
            answer = options[right]
        elif not isinstance(answer, str) or not answer.strip():
            raise ValueError(f"{where}: answer is {answer!r}; a free answer is a text, as `| string` makes one")
        group = str(self._value("group", where, row)) if self.group else ""
        prompt = str(self._value("prompt", where, row))
        blank = str(self._value("prompt", where, hollow(row))) if options else ""
        return Item(where, prompt, blank, options, answer, right, group)

    def _texts(self, where: str, row: Mapping[str, Any]) -> list[str]:
        found = self._value("options", where, row)
        if (
            not isinstance(found, list | tuple)
            or len(found) < 2
            or not all(isinstance(one, str) and one.strip() for one in found)
        ):
            raise ValueError(
                f"{where}: options is {found!r:.200}; it must be a list of two texts or more, none empty"
                + ("; of numbers  | map('string') | list  makes texts" if isinstance(found, list | tuple) else "")
            )
        return list(found)

    def _value(self, name: str, where: str, row: Mapping[str, Any]) -> Any:
        try:
            found = self._made[name](row)
            if isinstance(found, StrictUndefined):
                str(found)  # raises
            return found
        except Exception as error:  # an expression may do anything that Python's values refuse
            fields = ", ".join(row)
            raise ValueError(f"{where}: {name}: {error}; the row has the fields {fields}") from None


def can_be_written(answer: str, stop: str) -> bool:
    """Whether a free answer has nothing in it that ends one."""
    return not re.search(stop, answer.strip())


def find_option(answer: Any, options: Sequence[str], what: str) -> int:
    """The number of the right option. Errors: ValueError."""
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return answer
    if isinstance(answer, str) and options.count(answer) == 1:
        return options.index(answer)
    if isinstance(answer, str) and answer in options:
        hint = "; several options have this text, so give the number"
    elif isinstance(answer, float) or (isinstance(answer, str) and answer.isdecimal()):
        hint = "; `| int` makes it a number, and `- 1` one from 0"
    elif isinstance(answer, str) and len(answer) == 1:
        hint = "; of letters  'ABCDE'.index(...)  makes a number"
    else:
        hint = ""
    raise ValueError(
        f"{what} is {answer!r}; it is the number of an option from 0 to {len(options) - 1}, or its text{hint}"
    )


def hollow(value: Any) -> Any:
    """A row of the same shape whose texts are empty: what is left of a prompt is free of content."""
    if isinstance(value, Mapping):
        return {name: hollow(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [hollow(part) for part in value]
    return "" if isinstance(value, str) else value


def open_task(name: str) -> Task:
    """The task of a recipe, a YAML file or one of `recipes/probe/few-shot` by its name. Errors: FileNotFoundError;
    ValueError that names file, line and key."""
    if name.endswith((".yaml", ".yml")):
        return load(Task, Path(name))
    try:
        path = find_recipe(HERE / f"{name}.yaml")
    except FileNotFoundError:
        known = sorted(path.stem for path in find_recipe(HERE / "piqa.yaml").parent.glob("*.yaml"))
        raise FileNotFoundError(f"no task {name!r}; give a recipe (.yaml), or one of {', '.join(known)}") from None
    return load(Task, path)


def read_items(task: Task, with_examples: bool, max_rows: int = 0) -> tuple[list[Item], list[Item]]:
    """The rows to score, at most `max_rows` of them drawn at random (0: all), and those that examples are drawn from.

    An example that is also a row to score would give its answer away: it is left out. Errors: what reading a source
    raises; ValueError for a row that does not fit the task, and where examples are wanted and there are none.
    """
    items = [task.item(where, row) for where, row in rows_of(task.eval, task.labels)]
    if not items:
        raise ValueError(f"{task.eval}: there are no rows to score")
    if not task.options and not any(can_be_written(item.answer, task.stop) for item in items):
        raise ValueError(f"{items[0].where}: answer is {items[0].answer!r:.60}, which holds what ends an answer, stop: "
                         f"{task.stop!r}, and so do all others: none could be written; give another stop")  # fmt: skip
    chance = random.Random(0)
    pool: list[Item] = []
    if with_examples and task.train:
        pool = [task.item(where, row) for where, row in rows_of(task.train)]
    elif with_examples:
        if not 0 < task.hold_out < len(items):
            raise ValueError(
                f"{task.name} has no rows for examples: say `train` in the task, or `hold_out`, how many of the "
                f"{len(items)} rows of eval are examples instead of being scored; or ask for --shots 0"
            )
        kept = set(chance.sample(range(len(items)), task.hold_out))
        pool = [items[number] for number in sorted(kept)]
        items = [item for number, item in enumerate(items) if number not in kept]
    if max_rows and max_rows < len(items):
        items = [items[number] for number in sorted(chance.sample(range(len(items)), max_rows))]
    scored = {(item.prompt, item.options) for item in items}
    return items, [item for item in pool if (item.prompt, item.options) not in scored]


def rows_of(source: Source, labels: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where it stands, row) of each row; with the line of the file `labels` as its `label`. Errors: ValueError."""
    rows = of_zip(source) if is_zip(source) else of_parts(source)
    if not labels:
        yield from rows
        return
    path = data_path(labels)
    lines = read_text(path).split()
    number = -1
    for number, (where, row) in enumerate(rows):
        if number >= len(lines):
            break
        yield where, {**row, "label": lines[number]}
    if number + 1 != len(lines):
        raise ValueError(
            f"{path} has {len(lines)} labels, and {source.path} another number of rows: one a row is wanted"
        )


def of_parts(source: Source) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for part in parts(source):
        yield from ((where, row) for where, _, row in ROWS[source.kind](part))


def table_rows(part: Part) -> Rows:
    """All columns of a Parquet file's rows. Errors: ValueError for a damaged one."""
    path = file_of(part)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches(AT_ONCE) for row in batch.to_pylist())
            yield from ((f"{path}: row {number}", f"{part.name}:{number}", row) for number, row in enumerate(rows))
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path} is not a whole Parquet file: {' '.join(str(error).split())}") from None


ROWS: dict[str, Callable[[Part], Rows]] = {
    "jsonl": lambda part: json_rows(part, Counter()), "parquet": table_rows, "hub": hub_rows,
}  # fmt: skip


def is_zip(source: Source) -> bool:
    return source.kind == "jsonl" and source.path.endswith(".zip")


def of_zip(source: Source) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of all .jsonl files in a .zip, by name. Errors: ValueError."""
    path = data_path(source.path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".jsonl"))
            if not names:
                raise ValueError(f"{path} holds no .jsonl")
            for name in names:
                with archive.open(name) as file:
                    for number, line in enumerate(file, 1):
                        where = f"{path}: {name}:{number}"
                        try:
                            if text := line.decode("utf-8-sig").strip():
                                yield where, json_object(text)
                        except ValueError as error:
                            raise ValueError(f"{where}: {error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:  # also a password
        raise ValueError(
            f"{path} cannot be unpacked: {error}; unpack it, and name the .jsonl or their folder"
        ) from None
