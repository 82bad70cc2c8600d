"""Which options change a dictionary of a recipe?  Its keys are free, so they are read as YAML, as in the file.

One key is said as `--data.files.train a.csv`, several as `--data.files train a.csv dev b.csv`, and all of it as
`--data.files "{train: a.csv}"`.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from engine.run.options import option_name


def take_dictionaries(recipe: Any, argv: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Part `argv` into what it makes of the recipe's dictionaries, by their dotted keys, and the other options.

    Errors: ValueError for a key without a value.
    """
    changed: dict[str, dict[str, Any]] = {}
    rest: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        path, key = find_dictionary(recipe, name) if word.startswith("--") else ("", "")
        if not path:
            rest.append(word)
            continue
        values = changed.setdefault(path, dict(get(recipe, path)))
        given = [value] if equals else take_values(words, one=bool(key))
        if key:
            put(values, key, read_value(given, name, key, values))
        elif len(given) == 1 and given[0].startswith("{"):
            changed[path] = read_mapping(given[0], name)
        elif not given or len(given) % 2:
            raise ValueError(f"{name} takes keys, each with its value: {name} KEY VALUE; found {' '.join(given)!r}")
        else:
            for own, one in zip(given[::2], given[1::2], strict=True):
                put(values, spelling(own, values), read_plain(one))
    return changed, rest


def find_dictionary(recipe: Any, option: str) -> tuple[str, str]:
    """The dotted key of the dictionary that an option means, and the key in it, empty where it names the whole; two
    empty ones where it means none."""
    section, path = recipe, list[str]()
    parts = option.removeprefix("--").split(".")
    for number, part in enumerate(parts):
        name = option_name(part)
        section = getattr(section, name, None)
        path.append(name)
        if isinstance(section, dict):
            return ".".join(path), spelling(".".join(parts[number + 1 :]), section)
    return "", ""


def spelling(key: str, known: Mapping[str, Any]) -> str:
    """A key as it stands there, or with _ for -, as an option may be written."""
    return key if key in known else key.replace("-", "_")


def get(recipe: Any, path: str) -> dict[str, Any]:
    for name in path.split("."):
        recipe = getattr(recipe, name)
    return recipe


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a key, or, of a dictionary in it, a key of that: `glue/sst2.plan.num_train_epochs`."""
    outer, dot, inner = key.partition(".")
    before = values.get(outer, {} if "/" in outer else None)  # a task's settings, or a section of a model's config
    if dot and isinstance(before, dict):
        values[outer] = {**before, inner: value}
    else:
        values[key] = value


def take_values(words: list[str], one: bool) -> list[str]:
    """Take the words up to the next option, or one at most, off `words`."""
    given: list[str] = []
    while words and not words[0].startswith("--") and not (one and given):
        given.append(words.pop(0))
    return given


def read_value(given: list[str], name: str, key: str, known: Mapping[str, Any]) -> Any:
    if not given and isinstance(known.get(key), bool):
        return True
    if not given:
        raise ValueError(f"{name} has no value; say {name} VALUE")
    return read_plain(given[0])


def read_plain(word: str) -> Any:
    """A value as YAML reads it, and what is no YAML as the text it is."""
    try:
        return None if word == "None" else yaml.safe_load(word)
    except yaml.YAMLError:
        return word


def read_mapping(word: str, name: str) -> dict[str, Any]:
    found = read_plain(word)
    if not isinstance(found, dict):
        raise ValueError(f'{name} is {word!r}; a dictionary is written {name} "{{key: value}}", or {name} KEY VALUE')
    return found
