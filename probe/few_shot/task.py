"""What is asked, and in which words?  A few-shot task: its rows, their prompts, options and answers.

A task is a recipe, `recipes/probe/few-shot/*.yaml`. `prompt` is a template in Jinja, as in lm-evaluation-harness:
`{{ goal }}` is the row's field. `answer`, `options` and `group` are expressions in the same language. They are compiled
in a sandbox: a task from elsewhere runs no code here. What would make an answer of nothing is refused: `| int` takes
whole numbers, `| string` texts and numbers, and an empty text is at no place of another.
"""

import math
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
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

from corpus.text.document import Tally, refuse
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
    blank: str | None  # the prompt without the row's content; None where it cannot be made, or answers are free
    options: tuple[str, ...]  # empty where the answer is written freely
    answer: str  # as examples have it
    answers: tuple[str, ...]  # all that are right: of a free answer there may be several
    right: int  # the number of the answer among the options; 0 where there are none
    group: str


@dataclass(frozen=True)
class Task:
    """A few-shot task: rows become prompts; an option is chosen by its probability, or an answer is written."""

    name: str
    prompt: str  # a row's text, up to where its answer begins: a template such as "Q: {{ question }}\nA:"
    answer: str  # an expression: the right option's number from 0, letter or text; or a free answer, or a list of them
    eval: Source  # the rows that are scored, of kind jsonl (also in a .zip), parquet or hub
    train: Source | None = None  # the rows that examples are drawn from
    hold_out: int = 0  # where there is no train: as many rows of eval are examples, and are not scored
    options: str = ""  # an expression: the list of options; "": the answer is written freely
    labels: str = ""  # a file whose lines are the field `label` of the rows of eval
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
        words = Words(keep_trailing_newline=True, undefined=StrictUndefined)
        words.filters |= {"int": whole_number, "float": number, "string": text_of}
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
        found, right = self._value("answer", where, row), 0
        if options:
            right = find_option(found, options, f"{where}: answer")
            answers: tuple[str, ...] = (options[right],)
        else:
            answers = free_answers(found, f"{where}: answer")
        group = str(self._value("group", where, row)) if self.group else ""
        prompt = str(self._value("prompt", where, row))
        blank = self._blank(where, row) if options else None
        return Item(where, prompt, blank, options, answers[0], answers, right, group)

    def _blank(self, where: str, row: Mapping[str, Any]) -> str | None:
        """The prompt of a row whose texts are empty. A prompt may look up or cut a text, which an empty one is not."""
        try:
            return str(self._value("prompt", where, hollow(row)))
        except ValueError:
            return None

    def _texts(self, where: str, row: Mapping[str, Any]) -> list[str]:
        found = self._value("options", where, row)
        if not isinstance(found, list | tuple) or len(found) < 2:
            raise ValueError(f"{where}: options is {found!r:.200}; it must be a list of two texts or more, none empty")
        for place, one in enumerate(found):
            if isinstance(one, StrictUndefined):
                self._value("options", where, row, place)  # says what is not there
            if not isinstance(one, str) or not one.strip():
                hint = "; of numbers  | map('string') | list  makes texts" if is_number(one) else ""
                raise ValueError(f"{where}: option {place} is {one!r:.200}; it must be a text, and not empty{hint}")
        return list(found)

    def _value(self, name: str, where: str, row: Mapping[str, Any], place: int | None = None) -> Any:
        """What an expression or a template is for a row; or what stands at a place of it. Errors: ValueError."""
        try:
            found = self._made[name](row)
            found = found if place is None else found[place]
            if isinstance(found, StrictUndefined):
                str(found)  # raises
            return found
        except Exception as error:  # an expression may do anything that Python's values refuse
            fields = ", ".join(row)
            raise ValueError(f"{where}: {name}: {error}; the row has the fields {fields}") from None


def can_be_written(answer: str, stop: str) -> bool:
    """Whether a free answer has nothing in it that ends one."""
    return not re.search(stop, answer.strip())


class Words(SandboxedEnvironment):
    """Templates and expressions that find nothing where there is nothing: Python has '' at place 0 of each text, and a
    row without a label would have the first option as its answer."""

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(getattr(__obj, "__self__", None), str) and __obj.__name__ in ("index", "find") and "" in args[:1]:
            raise ValueError(f"an empty text is looked for in {__obj.__self__!r}")
        return super().call(__context, __obj, *args, **kwargs)


def whole_number(value: Any) -> int:
    """The filter `int`. Jinja's own makes 0 of what is none. Errors: ValueError."""
    found = number(value)
    if not found.is_integer():
        raise ValueError(f"{value!r} is no whole number")
    try:
        return int(value)  # exact, where a float has 16 digits
    except ValueError:  # a text such as 3.0
        return int(found)


def number(value: Any) -> float:
    """The filter `float`. Jinja's own makes 0 of what is none. Errors: ValueError."""
    try:
        found = float(value) if is_number(value) or isinstance(value, str) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{value!r} is no number")
    return found


def text_of(value: Any) -> str:
    """The filter `string`. Jinja's own makes a text of everything. Errors: ValueError."""
    if not is_number(value) and not isinstance(value, str | bool):
        raise ValueError(f"{value!r} is neither a text nor a number")
    return str(value)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def free_answers(found: Any, what: str) -> tuple[str, ...]:
    """The right answers, of which examples have the first. Errors: ValueError."""
    answers = found if isinstance(found, list | tuple) else [found]
    if not answers or not all(isinstance(one, str) and one.strip() for one in answers):
        hint = ", as `| string` makes one" if is_number(found) else ""
        raise ValueError(f"{what} is {found!r:.200}; a free answer is a text{hint}, or a list of texts, none empty")
    return tuple(answers)


def find_option(answer: Any, options: Sequence[str], what: str) -> int:
    """The number of the right option, given by its number, its text or its letter. Errors: ValueError."""
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return answer
    if isinstance(answer, str) and options.count(answer) == 1:
        return options.index(answer)
    letter = ord(answer.upper()) - ord("A") if isinstance(answer, str) and re.fullmatch("[A-Za-z]", answer) else -1
    if 0 <= letter < len(options) and answer not in options:
        return letter
    if isinstance(answer, str) and answer in options:
        hint = "; several options have this text, so give the number"
    elif isinstance(answer, float) or (isinstance(answer, str) and answer.isdecimal()):
        hint = "; `| int` makes it a number, and `- 1` one from 0"
    elif answer is None or answer == "":
        hint = "; a row without its answer cannot be scored: leave it out of the file"
    else:
        hint = ""
    raise ValueError(
        f"{what} is {answer!r}; it is the number of an option from 0 to {len(options) - 1}, its letter from A on, or "
        f"its text{hint}"
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


def read_items(
    task: Task, with_examples: bool, max_rows: int = 0, tally: Tally | None = None
) -> tuple[list[Item], list[Item]]:
    """The rows to score, at most `max_rows` of them drawn at random (0: all), and those that examples are drawn from.
    What `on_error: skip` leaves out is counted in `tally`.

    An example that is also a row to score would give its answer away: it is left out. Errors: what reading a source
    raises; ValueError for a row that does not fit the task, and where examples are wanted and there are none.
    """
    tally = Counter() if tally is None else tally
    items = [task.item(where, row) for where, row in rows_of(task.eval, tally, task.labels)]
    if not items:
        raise ValueError(f"{task.eval}: there are no rows to score")
    if not task.options and not any(can_be_written(one, task.stop) for item in items for one in item.answers):
        raise ValueError(f"{items[0].where}: answer is {items[0].answer!r:.60}, which holds what ends an answer, stop: "
                         f"{task.stop!r}, and so do all others: none could be written; give another stop")  # fmt: skip
    chance = random.Random(0)
    pool: list[Item] = []
    if with_examples and task.train:
        pool = [task.item(where, row) for where, row in rows_of(task.train, tally)]
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


def rows_of(source: Source, tally: Tally, labels: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where it stands, row) of each row; with the line of the file `labels` as its `label`. Errors: ValueError."""
    rows = of_zip(source, tally) if is_zip(source) else of_parts(source, tally)
    if not labels:
        yield from rows
        return
    path = data_path(labels)
    lines = [line.strip() for line in read_text(path).rstrip().splitlines()]
    number = -1
    for number, (where, row) in enumerate(rows):
        if number >= len(lines):
            break
        yield where, {**row, "label": lines[number]}
    if number + 1 != len(lines):
        raise ValueError(
            f"{path} has {len(lines)} lines, and {source.path} another number of rows: a label a row is wanted"
        )


def of_parts(source: Source, tally: Tally) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for part in parts(source):
        yield from ((where, row) for where, _, row in ROWS[source.kind](part, tally))


def table_rows(part: Part, _: Tally) -> Rows:
    """All columns of a Parquet file's rows. Errors: ValueError for a damaged one."""
    path = file_of(part)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches(AT_ONCE) for row in batch.to_pylist())
            yield from ((f"{path}: row {number}", f"{part.name}:{number}", row) for number, row in enumerate(rows))
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path} is not a whole Parquet file: {' '.join(str(error).split())}") from None


ROWS: dict[str, Callable[[Part, Tally], Rows]] = {
    "jsonl": json_rows, "parquet": table_rows, "hub": lambda part, tally: hub_rows(part),
}  # fmt: skip


def is_zip(source: Source) -> bool:
    return source.kind == "jsonl" and source.path.endswith(".zip")


def of_zip(source: Source, tally: Tally) -> Iterator[tuple[str, Mapping[str, Any]]]:
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
                            refuse(f"{where}: {error}", "rows not JSON", source.on_error, tally)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:  # also a password
        raise ValueError(
            f"{path} cannot be unpacked: {error}; unpack it, and name the .jsonl or their folder"
        ) from None
