"""Which text is a model evaluated on?  Held-out documents of a recipe's corpus, or all of a source."""

import typing
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import yaml

from corpus.text.held_out import division
from corpus.text.opening import Corpus
from corpus.text.readers import documents
from corpus.text.source import Kind, Source, Whitespace
from engine.run.recipe import find_recipe
from engine.run.recipe_reader import Reader, compose
from engine.run.saved import located


def texts_for(model: str, corpus: str, whitespace: Whitespace, most: int) -> list[str]:
    """The documents that `model` is evaluated on, about `most` bytes of them, as much from each source.

    `corpus` is a recipe, KIND:PATH, or empty for the recipe of the run `model`. Errors: ValueError where none is named,
    and what the sources raise.
    """
    sources, share = named(corpus or own_recipe(model))
    found: list[str] = []
    for source in sources:
        room = most // len(sources)
        for text in held_out_texts(source.wanting(whitespace), share):
            if room <= 0:
                break
            found.append(text.encode()[:room].decode(errors="ignore"))
            room -= len(text.encode())
    if not found:
        raise ValueError(f"{corpus}: no document is held out, so nothing can be evaluated")
    return found


def own_recipe(model: str) -> str:
    """The recipe that a run keeps. Errors: ValueError where the model is none's."""
    path = Path(located(model)).parent / "recipe.yaml"
    if not path.is_file():
        raise ValueError(f"{model} is no run, so there is no recipe to say on what: say --corpus RECIPE or KIND:PATH")
    return str(path)


def named(corpus: str, key: str = "--corpus", others: str = "") -> tuple[tuple[Source, ...], float]:
    """The sources that are meant, and which share of their documents is read: what a recipe holds out, or all. For a
    message: the `key` that says it, and in words what `others` are allowed. Errors: ValueError."""
    kinds = typing.get_args(Kind)
    kind, colon, path = corpus.partition(":")
    if colon and kind in kinds:
        return (Source(kind, path),), 1.0  # type: ignore[arg-type]
    if not corpus.endswith((".yaml", ".yml")):
        raise ValueError(
            f"{key} is {corpus!r}; it is {others}a recipe (.yaml), or KIND:PATH with a KIND of {', '.join(kinds)}"
        )
    recipe = find_recipe(Path(corpus))
    root = compose(recipe)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    node = next((value for key, value in pairs if key.value == "corpus"), None)
    if node is None:
        raise ValueError(f"{corpus} has no section corpus, which a recipe of pretraining has")
    section: Corpus = Reader(recipe, Corpus, node).value(Corpus, node, "corpus")
    return section.sources, section.held_out


def held_out_texts(source: Source, share: float) -> Iterator[str]:
    """The documents of a source that training does not see, where it holds out `share`."""
    divided = division(documents(source, Counter()), share)
    for document in documents(source, Counter()):
        for side, part in divided.parts(document):
            if side == "held_out":
                yield "\n".join(part.paragraphs)
