"""What does this experiment consist of?  A YAML file and the command line become one frozen dataclass, strictly.

A recipe is a whole experiment in one file: no inheritance, no interpolation. An unknown key, a key given twice or a
value of the wrong type is an error that names the file, the line and the nearest key there is.
"""

import copy
import dataclasses
import json
import math
import os
import sys
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, TypeVar

import yaml

from engine.run.dictionaries import take_dictionaries
from engine.run.nearest import suggest
from engine.run.options import called_as, option_name, read_options
from engine.run.recipe_help import as_text
from engine.run.recipe_reader import Reader, ReaderOfChanges, compose, field_types, join_keys

R = TypeVar("R")


def read(recipe_class: type[R], argv: list[str], prog: str = "", example: str = "") -> R:
    """Read `argv` = [FILE.yaml, --key value, --section.key value, ...] into a `recipe_class`.

    `prog` and `example` are what --help shows: the program's name, and a recipe with options. Errors: FileNotFoundError
    for the file, ValueError for its content and for an option that does not do.
    """
    prog = called_as(prog)
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: {prog} RECIPE.yaml [--key value ...] [--section.key value ...]\n")
        print(f"example: {prog} {example}\n")
        if argv:
            print(as_text(recipe_class))
            print("a key that holds {} takes keys of its own: --config.dropout 0.1, or --config dropout 0.1\n")
        print(f"{prog} RECIPE.yaml --help shows the keys with their values in that recipe; cloze recipes lists recipes")
        sys.exit(0 if argv else 2)
    if argv[0].startswith("-"):
        raise ValueError(f"the first argument must be a recipe, a YAML file; found the option {argv[0]!r}")
    recipe = load(recipe_class, Path(argv[0]))
    if len(argv) == 1:
        return recipe
    dictionaries, rest = take_dictionaries(recipe, argv[1:])
    if not rest:
        return changed(recipe, dictionaries, "the command line")
    for path, values in dictionaries.items():
        recipe = _replace_dictionary(recipe, path, values)
    for key in find_displaced(recipe, set(map(option_name, rest))):
        rest += [f"--{key}", "0"]
    recipe = read_options(recipe_class, rest, prog=f"{prog} {argv[0]}".strip(), default=recipe)
    _refuse_not_finite(recipe)
    return recipe


def _replace_dictionary(section: R, path: str, values: dict[str, Any], before: str = "") -> R:
    """A copy with another dictionary at `path`. The recipe's own checks wait until all options have been read."""
    name, _, inner = path.partition(".")
    if inner:
        value = _replace_dictionary(getattr(section, name), inner, values, f"{before}{name}.")
    else:
        value = _read_again(field_types(type(section))[name], values, "the command line", before + name)
    found = copy.copy(section)
    object.__setattr__(found, name, value)
    return found


def find_displaced(recipe: Any, keys: Set[str]) -> list[str]:
    """The keys whose values give way to those that `keys` give: a section's ALTERNATIVES, such as max_steps and
    minutes, exclude each other. None of them gives way where two are given at once."""
    found = []
    for key in keys:
        path, _, last = key.rpartition(".")
        section = getattr(recipe, path, None)
        alternatives = getattr(section, "ALTERNATIVES", ())
        others = [name for name in alternatives if name != last]
        if last in alternatives and not keys & {f"{path}.{name}" for name in others}:
            found += [f"{path}.{name}" for name in others if getattr(section, name)]
    return found


def load(recipe_class: type[R], path: Path) -> R:
    """Read one YAML file into `recipe_class`. Errors: FileNotFoundError; ValueError naming file, line and key."""
    path = find_recipe(path)
    root = compose(path)
    if root is None:
        raise ValueError(f"{path} is empty; a recipe has the keys {', '.join(field_types(recipe_class))}")
    return Reader(path, recipe_class, root).value(recipe_class, root, key="")


def find_recipe(path: Path) -> Path:
    """The file at `path`, or else that of this name among those that come along, which `cloze recipes` lists.

    Errors: FileNotFoundError.
    """
    places = [path, *([Path(__file__).parents[2] / path] if path.parts[:1] == ("recipes",) else [])]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"no recipe at {path}; cloze recipes lists those that come along")
    return found


def check_least(section: Any, least: float, *names: str, before: str = "") -> None:
    """Refuse values that are below `least`; `before` stands before their names. Errors: ValueError."""
    for name in names:
        if not getattr(section, name) >= least:
            raise ValueError(f"{before}{name} is {getattr(section, name)}; it must be {least:g} or more")


def check_each_once(section: Any, name: str) -> None:
    """Refuse a list that names one thing twice, which would be done once and counted twice. Errors: ValueError."""
    values = getattr(section, name)
    if twice := [value for number, value in enumerate(values) if value in values[:number]]:
        raise ValueError(f"{name} has {twice[0]} twice; name each once")


def check_one_line(name: str, value: str) -> None:
    """Refuse words that would break a table or a list. Errors: ValueError."""
    if set("\n\r|") & set(value):
        raise ValueError(f"{name} is {value!r}; it must be one line without |")


def check_seed(seed: int) -> None:
    """Refuse what the random generators do not take. Errors: ValueError."""
    if not 0 <= seed < 1 << 32:
        raise ValueError(f"a seed is {seed}; it is a whole number from 0 to {(1 << 32) - 1}")


def changed(recipe: R, changes: Mapping[str, Any], where: str) -> R:
    """Return the recipe with other values under dotted keys, such as {"optimizer.learning_rate": 3e-5}.

    `where` names the changes in errors. Errors: ValueError for an unknown key or a value of the wrong kind.
    """
    values = resolved(recipe)
    changes = {**changes, **dict.fromkeys(find_displaced(recipe, changes.keys()), 0)}
    for key, value in changes.items():
        *path, last = key.split(".")
        section: Any = values
        for depth, name in enumerate(path):
            if not isinstance(section.get(name), dict):
                hint = suggest(name, section) or f" (keys: {', '.join(section)})"
                raise ValueError(f"{where}: unknown section {'.'.join(path[: depth + 1])!r} of {key!r}{hint}")
            section = section[name]
        section[last] = resolved(value)
    found: R = _read_again(type(recipe), values, where)
    return found


def _read_again(kind: Any, values: Any, where: str, key: str = "") -> Any:
    """Read plain values as a recipe's file is read, strictly."""
    root = yaml.compose(yaml.safe_dump(values, sort_keys=False), Loader=yaml.SafeLoader)
    assert root is not None
    return ReaderOfChanges(Path(where), kind, root).value(kind, root, key)


def operational(default: Any = dataclasses.MISSING) -> Any:
    """A field that says how an experiment is carried out, not what it is: a run resumes when it is changed."""
    return dataclasses.field(default=default, metadata={"operational": True})


def resolved(recipe: Any) -> dict[str, Any]:
    """Return the recipe, or a dict of its sections, as plain dicts, lists and scalars: what a run folder holds."""
    return json.loads(json.dumps(recipe, default=_plain))


def identity(recipe: Any, values: Any = None) -> Any:
    """Return what makes a run this run and no other: `recipe` as plain values, without what is marked as `operational`.

    `values`: those of another recipe, as `resolved` gives them, to be read in the light of this one's classes.
    """
    values = resolved(recipe) if values is None else values
    if isinstance(values, list) and isinstance(recipe, list | tuple) and recipe:
        return [identity(recipe[min(number, len(recipe) - 1)], value) for number, value in enumerate(values)]
    if not isinstance(values, dict) or not (dataclasses.is_dataclass(recipe) or isinstance(recipe, dict)):
        return values
    sections = recipe if isinstance(recipe, dict) else vars(recipe)
    fields = () if isinstance(recipe, dict) else dataclasses.fields(recipe)
    free = {field.name for field in fields if field.metadata.get("operational")}
    return {name: identity(sections.get(name), value) for name, value in values.items() if name not in free}


def differences(before: Any, now: Any, key: str = "") -> list[str]:
    """What differs between two recipes' plain values, in words: a line for each dotted key."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = list(before) + [name for name in now if name not in before]
        return [
            line
            for name in names
            for line in differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)
        ]
    return [] if before == now else [f"{key}: {before!r} there, {now!r} here"]


def check_name(name: str) -> None:
    """Refuse a recipe's `name` that is not a folder inside runs/. Errors: ValueError."""
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise ValueError(f"name is {name!r}; it names one folder inside runs/, such as bert-mini or demo/pretrain")


def data_path(name: str) -> Path:
    """Find a file or folder that a recipe names: absolute, or in $CLOZE_DATA, or in the working folder.

    Errors: FileNotFoundError that names every place looked at.
    """
    places = [Path(name).expanduser()]
    if not places[0].is_absolute() and os.environ.get("CLOZE_DATA"):
        places.insert(0, Path(os.environ["CLOZE_DATA"]).expanduser() / name)
    for place in places:
        if place.exists():
            return place
    looked = " and ".join(str(place.absolute()) for place in places)
    is_data = not os.environ.get("CLOZE_DATA") and Path(name).parts[:1] != ("runs",)
    hint = "; if it lies in your folder of data, say  export CLOZE_DATA=FOLDER" if is_data else ""
    raise FileNotFoundError(f"nothing at {looked}{hint}")


def _plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else str(value)


def _refuse_not_finite(value: Any, key: str = "") -> None:
    """Refuse infinity and NaN in a recipe, of which nothing can be trained. Errors: ValueError that names the key."""
    if dataclasses.is_dataclass(value):
        value = vars(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{key} is {value}; give a finite number")
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, item in pairs:
        _refuse_not_finite(item, join_keys(key, str(name)))
