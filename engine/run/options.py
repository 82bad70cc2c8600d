"""What do a program's options say?  tyro reads them into a dataclass; a complaint of its becomes one line."""

import contextlib
import io
import os
import re
from typing import Any, TypeVar

import tyro

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


def read_options(kind: type[T], argv: list[str], prog: str, flags: bool = False, default: T | None = None) -> T:
    """Read `argv` into a `kind`, whose fields may have `default`'s values.

    `flags`: booleans are said as --name and --no-name; otherwise as --name True. Errors: ValueError for an option that
    there is not, or for a value that does not do; --help prints and ends the program.
    """
    asked: dict[str, Any] = {
        "args": argv, "prog": prog,
        "config": (*(() if flags else (tyro.conf.FlagConversionOff,)), tyro.conf.AvoidSubcommands),
        **({} if default is None else {"default": default}),
    }  # fmt: skip
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return tyro.cli(kind, **asked)
    except SystemExit as ended:
        if ended.code != REFUSED:
            raise
    raise ValueError(one_line(complaint(kind, asked)))


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
