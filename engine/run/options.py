"""What do a program's options say?  tyro reads them into a dataclass; a complaint of its becomes one line."""

import contextlib
import dataclasses
import io
import os
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, TypeVar

import tyro

from engine.run.key_names import nearest_key, right_key

T = TypeVar("T")
REFUSED = 2  # tyro's exit status for what it cannot read
WORDS = {
    r"invalid literal for int\(\) with base 10: ('.*?')": r"\1 is no whole number",
    r"could not convert string to float: ('.*?')": r"\1 is no number",
    r" Perhaps you meant: ": "; perhaps you meant ",
    r" Argument helptext: ": "; it is ",
    r"\.? ?For full helptext, (?:run|see) (.*)$": r"; for all options say \1",
}
RULE = re.compile(r"[\s│|╭╮╰╯─-]*")  # a line of its box that says nothing


def called_as(prog: str) -> str:
    """What the user typed for a program that `python -m MODULE`, which is `prog`, starts: the same, or `cloze NAME`."""
    is_module = not prog or prog.startswith("python -m ")
    return sys.argv[0] if is_module and sys.argv[0].startswith("cloze ") else prog


def read_options(kind: type[T], argv: list[str], prog: str, default: T | None = None) -> T:
    """Read `argv` into a `kind`, whose fields may have `default`'s values. A boolean is said as --name or --name True.

    Errors: ValueError for an option that there is not, or for a value that does not do; --help prints and ends the
    program.
    """
    options, rest = _read(kind, argv, prog, default)
    assert not rest
    return options


def read_own_options(kind: type[T], argv: list[str], prog: str) -> tuple[T, list[str]]:
    """Read the options that are `kind`'s; return them, and the rest of `argv`, which is a recipe and its options.

    Errors: see `read_options`.
    """
    return _read(kind, argv, prog, None, return_unknown_args=True)


def _read(kind: type[T], argv: list[str], prog: str, default: T | None, **more: Any) -> tuple[T, list[str]]:
    values, prog = dict(values_of(kind if default is None else default)), called_as(prog)
    asked: dict[str, Any] = {
        "args": spelt_out(argv, {name for name, value in values.items() if isinstance(value, bool)}), "prog": prog,
        "config": (tyro.conf.FlagConversionOff, tyro.conf.AvoidSubcommands), "use_underscores": True, **more,
        **({} if default is None else {"default": default}),
    }  # fmt: skip
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            found = tyro.cli(kind, **asked)
            return found if more else (found, [])
    except SystemExit as ended:
        if ended.code != REFUSED:
            raise
    unknown = None if more else unknown_option(argv, list(values), prog)  # else they are the recipe's
    raise ValueError(unknown or one_line(complaint(kind, asked)))


def values_of(options: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of a dataclass, with their values or defaults; of an instance, or a dict, its sections' too."""
    if dataclasses.is_dataclass(options):
        named = {field.name: getattr(options, field.name, None) for field in dataclasses.fields(options)}
    else:
        named = options if isinstance(options, dict) else {}
    for name, value in named.items():
        yield before + name, value
        yield from values_of(value, f"{before}{name}.")


def spelt_out(argv: list[str], booleans: set[str]) -> list[str]:
    """The options with True behind each boolean one that stands alone."""
    full = []
    for word, behind in pairwise([*argv, ""]):
        full.append(word)
        is_boolean = word.startswith("--") and option_name(word) in booleans and "=" not in word
        if is_boolean and behind.lower() not in ("true", "false"):
            full.append("True")
    return full


def option_name(word: str) -> str:
    """The key that an option means: `--plan.max-steps=3` means plan.max_steps."""
    return word.partition("=")[0].removeprefix("--").replace("-", "_")


def unknown_option(argv: list[str], known: list[str], prog: str) -> str | None:
    """What to say instead of an option that there is not; None where that is not what is wrong, or nothing is near."""
    for word in argv:
        option, name = word.partition("=")[0], option_name(word)
        if not option.startswith("--") or name in known:
            continue
        advice = right_key(name, known, "--{}".format)
        if advice is None and (near := nearest_key(name, known)):
            advice = f"perhaps you meant --{near}"
        if advice:
            return f"unknown option {option}: {advice}; for all options say {prog} --help"
    return None


def complaint(kind: type[Any], asked: dict[str, Any]) -> str:
    """What tyro says to options that it refuses, in a box so wide that it parts no word."""
    said, before = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "10000"
    try:
        with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
            tyro.cli(kind, **asked)
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    return said.getvalue()


def one_line(box: str) -> str:
    """What tyro says in a box of several lines: what is wrong, what may have been meant, and where help is."""
    _, *lines = [line.strip(" │|") for line in box.splitlines() if not RULE.fullmatch(line)]
    text = re.sub(r"\s+", " ", " ".join(lines))
    text = re.sub(r"^Error parsing (?:[A-Z]\w*: )?", "", text)  # a class stands for the recipe, or for the program
    for theirs, ours in WORDS.items():
        text = re.sub(theirs, ours, text)
    return text
