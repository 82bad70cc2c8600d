"""What does a recipe's YAML say?  Its nodes, which know their lines, become typed values, strictly."""

import contextlib
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from engine.run.key_names import nearest_key, right_key

LONGEST = 80  # characters of a value that a message repeats
DEEPEST, MOST = 32, 100_000  # lists and sections within each other, and values, of a recipe


def compose(path: Path) -> yaml.Node | None:
    """The file's YAML nodes. Errors: ValueError for what is no YAML in UTF-8, nested too deeply, or endless."""
    try:
        text, depth = path.read_text(encoding="utf-8"), 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise ValueError(f"{path}:{line}: more than {DEEPEST} lists and sections lie within each other")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    todo, count = [root], 0
    while todo:  # an alias, `*name`, counts as often as it is used: a few lines can mean billions of values
        node, count = todo.pop(), count + 1
        if count > MOST:
            raise ValueError(f"{path} has more than {MOST:,} values; write out what its aliases (*name) repeat")
        if isinstance(node, yaml.SequenceNode):
            todo += node.value
        elif isinstance(node, yaml.MappingNode):
            todo += [part for pair in node.value for part in pair]
    return root


class Reader:
    """Turn YAML nodes, which know their lines, into typed values."""

    def __init__(self, path: Path, recipe_class: Any, root: yaml.Node):
        self.path, self.recipe_class, self.root = path, recipe_class, root

    def value(self, kind: Any, node: yaml.Node, key: str) -> Any:
        origin, options = typing.get_origin(kind), typing.get_args(kind)
        if resolve := getattr(kind, "from_section", None):
            return self._named_section(resolve, node, key)
        if dataclasses.is_dataclass(kind):
            return self._section(kind, node, key)
        if origin in (typing.Union, types.UnionType):
            return self._union(options, node, key)
        if origin is typing.Literal:
            return self._one_of(options, node, key)
        if origin is tuple:
            return tuple(self.value(options[0], item, key) for item in self._items(node, key))
        if origin is dict or kind is dict:
            return self._free(node, key)
        return self._scalar(kind, node, key)

    def fail(self, node: yaml.Node, problem: str) -> typing.NoReturn:
        raise ValueError(f"{self.path}:{node.start_mark.line + 1}: {problem}")

    def _pairs(self, node: yaml.Node, key: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, f"{key or 'the recipe'} must be a section of `key: value` lines")
        pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                self.fail(name, f"a key of {key or 'the recipe'} must be one word; found a list or section")
            if name.value in pairs:
                self.fail(name, f"{join_keys(key, name.value)} is given twice; keep one")
            pairs[name.value] = (name, value)
        return pairs

    def _section(self, kind: Any, node: yaml.Node, key: str) -> Any:
        fields, pairs = field_types(kind), self._pairs(node, key)
        for name, (name_node, _) in pairs.items():
            if name not in fields:
                self.fail(name_node, f"unknown key {join_keys(key, name)!r}{self._hint(key, name, list(fields))}")
        values = {name: self.value(fields[name], value, join_keys(key, name)) for name, (_, value) in pairs.items()}
        required = [
            field.name
            for field in dataclasses.fields(kind)
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ]
        if missing := [name for name in required if name not in values]:
            self.fail(node, f"{key or 'the recipe'} lacks {', '.join(missing)}")
        return self._made(kind, values, node, key)

    def _hint(self, key: str, name: str, fields: list[str]) -> str:
        """What to write instead of an unknown key of a section, or what keys the section has."""
        known = list(_keys(self.recipe_class, self.root))

        def written(meant: str) -> str:
            section, _, leaf = meant.rpartition(".")
            return repr(leaf) + ("" if section == key else f" in the section {section}" if section else " at the top")

        if advice := right_key(join_keys(key, name), known, written):
            return f"; {advice}"
        if close := difflib.get_close_matches(name, fields, n=1):
            return f"; did you mean {close[0]!r}? (keys: {', '.join(fields)})"
        near = nearest_key(join_keys(key, name), known)
        return f"; did you mean {written(near)}?" if near else f" (keys: {', '.join(fields)})"

    def _named_section(self, resolve: Callable[[str], Any], node: yaml.Node, key: str) -> Any:
        """A section whose `name` says which class reads it."""
        pairs = self._pairs(node, key)
        if "name" not in pairs:
            self.fail(node, f"{key} lacks its `name`")
        name_node = pairs["name"][1]
        try:
            kind = resolve(str(name_node.value))
        except ValueError as error:
            self.fail(name_node, str(error))
        return self._section(kind, node, key)

    def _made(self, kind: Any, values: dict[str, Any], node: yaml.Node, key: str) -> Any:
        try:
            return kind(**values)
        except ValueError as error:  # a dataclass checks its own fields in __post_init__
            self.fail(node, f"{key or 'the recipe'}: {error}")

    def _union(self, options: tuple[Any, ...], node: yaml.Node, key: str) -> Any:
        if node.tag == "tag:yaml.org,2002:null":
            if type(None) in options:
                return None
            self.fail(node, f"{key} must have a value")
        problems = []
        for option in options:
            if option is type(None):
                continue
            try:
                return self.value(option, node, key)
            except ValueError as error:
                problems.append(str(error))
        raise ValueError(problems[0])

    def _one_of(self, allowed: tuple[Any, ...], node: yaml.Node, key: str) -> Any:
        for choice in allowed:
            if isinstance(node, yaml.ScalarNode) and node.value == str(choice):
                return choice
        self.fail(node, f"{key} is {_shown(node)}; allowed: {', '.join(map(str, allowed))}")

    def _items(self, node: yaml.Node, key: str) -> list[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return node.value
        self.fail(node, f"{key} must be a list, such as [a, b]; found {_shown(node)}")

    def _free(self, node: yaml.Node, key: str) -> dict[str, Any]:
        """A section that is handed on unchanged; only doubled keys are refused, and 1e-4 is read as a number."""
        return {name: self._plain(value, join_keys(key, name)) for name, (_, value) in self._pairs(node, key).items()}

    def _plain(self, node: yaml.Node, key: str) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._free(node, key)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, key) for item in node.value]
        assert isinstance(node, yaml.ScalarNode)
        try:
            value = yaml.SafeLoader("").construct_object(node)
        except Exception:  # a tag, such as !!python/name; or a value that is none of its tag's
            self.fail(node, f"{key} is tagged {node.tag}, which {_shown(node)} is not; only plain values are allowed")
        value = _number(value) if isinstance(value, str) and not node.style else value
        return self._finite(value, node, key)

    def _scalar(self, kind: Any, node: yaml.Node, key: str) -> Any:
        if not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:null":
            self.fail(node, f"{key} must be one {_kind_name(kind)}; found {_shown(node)}")
        if kind is bool:
            if node.value.lower() in ("true", "false"):
                return node.value.lower() == "true"
            self.fail(node, f"{key} must be true or false; found {_shown(node)}")
        try:
            # PyYAML reads `1e-4` as a string and `1_0` as ten: the field's own type decides instead.
            value = kind(node.value)
        except ValueError:
            self.fail(node, f"{key} must be one {_kind_name(kind)}; found {_shown(node)}")
        return self._finite(value, node, key)

    def _finite(self, value: Any, node: yaml.Node, key: str) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            self.fail(node, f"{key} is {_shown(node)}, which is no finite number; give one, or quote it if it is text")
        return value


class ReaderOfChanges(Reader):
    """A reader of what has no lines."""

    def fail(self, node: yaml.Node, problem: str) -> typing.NoReturn:
        raise ValueError(f"{self.path}: {problem}")


def field_types(recipe_class: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(recipe_class)
    return {field.name: hints[field.name] for field in dataclasses.fields(recipe_class)}


def _keys(kind: Any, node: yaml.Node | None, before: str = "") -> Iterator[str]:
    """The dotted keys of a recipe class, sections included; `node`, what a file says, names the classes of some."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    parts = {name.value: value for name, value in pairs if isinstance(name, yaml.ScalarNode)}
    for option in (kind, *typing.get_args(kind)):
        if resolve := getattr(option, "from_section", None):
            with contextlib.suppress(ValueError):  # a name that there is not is another mistake
                option = resolve(str(parts["name"].value)) if "name" in parts else None
        if dataclasses.is_dataclass(option):
            for name, inner in field_types(option).items():
                yield before + name
                yield from _keys(inner, parts.get(name), f"{before}{name}.")


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def join_keys(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _shown(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        return "a list" if isinstance(node, yaml.SequenceNode) else "a section"
    return repr(node.value if len(node.value) <= LONGEST else node.value[:LONGEST] + "...")


def _kind_name(kind: Any) -> str:
    return {int: "whole number", float: "number", str: "text", Path: "path"}.get(kind, str(kind))
