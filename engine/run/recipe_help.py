"""Which keys does a recipe have?  Each with its default and its meaning, read off the classes that read the recipe.

A key's meaning is the comment beside its field, which tyro shows for a recipe at hand.
"""

import ast
import dataclasses
import inspect
import io
import json
import shutil
import textwrap
import tokenize
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.run.recipe_reader import field_types, join_keys

REQUIRED = "(required)"
NOTE = "* may change when a run is resumed"
NAME, DEFAULT, NARROWEST = 30, 14, 40  # characters of the columns; of the meanings


@dataclass(frozen=True)
class Key:
    """One key of a section."""

    name: str
    default: str  # as a recipe would say it
    meaning: str
    is_operational: bool


@dataclass(frozen=True)
class Section:
    """Keys that stand together; `name` is dotted, and empty for the top of a recipe."""

    name: str
    about: tuple[str, ...]  # paragraphs
    keys: tuple[Key, ...]


def list_sections(kind: Any, name: str = "") -> Iterator[Section]:
    """The sections of a recipe class, each before those inside of it. What `name:` chooses has a section a choice."""
    keys, inner, meanings, hints = [], [], comments(kind), field_types(kind)
    for field in dataclasses.fields(kind):
        key, types = join_keys(name, field.name), list(options(hints[field.name]))
        if sections := [found for found in types if is_section(found)]:
            inner += [(key, found) for found in sections]
        words = [meanings.get(field.name), choices(types), "its keys are below" if sections else ""]
        meaning = "; ".join(filter(None, words)).replace("None", "null")  # as YAML says it
        keys.append(Key(field.name, default_of(field), meaning, bool(field.metadata.get("operational"))))
    about = tuple(" ".join(paragraph.split()) for paragraph in (inspect.getdoc(kind) or "").split("\n\n"))
    yield Section(name, about, tuple(keys))
    for key, found in inner:
        for chosen in found.section_names() if hasattr(found, "section_names") else [""]:
            one = found.from_section(chosen) if chosen else found
            yield from list_sections(one, f"{key} (name: {chosen})" if chosen else key)


def options(hint: Any) -> Iterator[Any]:
    """The types that a key's value may have: of a union each one, of a tuple that of its items."""
    origin = typing.get_origin(hint)
    if origin is typing.Literal or not typing.get_args(hint) or origin is dict:
        yield hint
        return
    for option in typing.get_args(hint):
        if option not in (type(None), ...):
            yield from options(option)


def is_section(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) or hasattr(kind, "from_section")


def choices(types: list[Any]) -> str:
    """The words that a key takes, where there are few."""
    lists = [typing.get_args(found) for found in types if typing.get_origin(found) is typing.Literal]
    words = [str(word) or '""' for words in lists for word in words]
    return f"one of {', '.join(words)}" if words else ""


def default_of(field: "dataclasses.Field[Any]") -> str:
    """What stands for a key that is left out."""
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if default is dataclasses.MISSING:
        return REQUIRED
    if dataclasses.is_dataclass(default):
        return ""
    return json.dumps(default, default=str)


def comments(kind: type[Any]) -> dict[str, str]:
    """The comment of each field: at the end of its line, or in the lines above it."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        source = textwrap.dedent(inspect.getsource(base))
        lines = source.splitlines()
        said = {
            token.start[0]: token.string.lstrip("# ")
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT and token.string != "# fmt: skip"
        }
        for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                above = node.lineno - 1
                while lines[above - 1].lstrip().startswith("#"):
                    above -= 1
                before = " ".join(said[line] for line in range(above + 1, node.lineno) if line in said)
                found[node.target.id] = said.get(node.end_lineno or 0) or before or found.get(node.target.id, "")
    return found


def as_text(kind: Any) -> str:
    """All keys of a recipe class, for a terminal."""
    width = max(NARROWEST, shutil.get_terminal_size().columns - NAME - DEFAULT - 3)
    lines: list[str] = []
    for section in list_sections(kind):
        lines += ["", *([f"{section.name}:"] if section.name else [])]
        lines += [line for paragraph in section.about for line in textwrap.wrap(paragraph, width + NAME)]
        for key in section.keys:
            name, meaning = f"  {key.name}{'*' if key.is_operational else ''}", textwrap.wrap(key.meaning, width)
            first, *others = meaning or [""]
            lines.append(f"{name:{NAME}} {key.default:{DEFAULT}} {first}".rstrip())
            lines += [" " * (NAME + DEFAULT + 2) + line for line in others]
    return "\n".join([*lines[1:], "", NOTE])
