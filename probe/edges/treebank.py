"""Which sentences are trained on, and which are judged?  A folder of CoNLL-U files, by its splits or by documents."""

import hashlib
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from engine.run.recipe import data_path
from probe.edges.conllu import TOGETHER, Sentence, read_conllu
from probe.edges.trees import add_constituents

ENDS = (".conllu", ".conllu.gz")
TREES = (".ptb", ".ptb.gz")
DEV_SHARE = 5  # one document in five is judged, where the files are not divided
VALIDATION_SHARE = 10  # one document in ten of those to train on decides when training ends
FEWEST = 4  # documents; with fewer of them, every 20 sentences are one
MOST = 5  # files that a message names
# The words of files' names that say a split
SAID = {"train": "train", "test": "test"} | dict.fromkeys(("dev", "devel", "val", "valid", "validation"), "dev")
BEHIND = re.compile(r"(data|set|split)$")  # what may be written together with these words: devset


@dataclass(frozen=True)
class Division:
    """How the files of a treebank are divided, by their names: those of `train` and of `dev`, and the `unread` others;
    or `together`, all of them, whose documents are to be divided."""

    train: list[str] = field(default_factory=list)
    dev: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    together: list[str] = field(default_factory=list)

    @property
    def read(self) -> list[str]:
        return [*self.train, *self.dev, *self.together]


@dataclass(frozen=True)
class Treebank:
    """`validation` is of other documents than `train`, and `dev` has no part in training."""

    train: list[Sentence]
    validation: list[Sentence]
    dev: list[Sentence]
    division: Division
    drawn_from: tuple[int, ...] = (0, 0)  # sentences that those of training, and of dev, were drawn from; 0: all taken

    @property
    def sentences(self) -> list[Sentence]:
        return [*self.train, *self.validation, *self.dev]


def list_files(path: str) -> Division:
    """The files, as `path` has them, divided as their names say. A single file, and files whose names all say the same
    split or none, are together.

    Errors: FileNotFoundError; ValueError for a folder without such files, and for names that leave open which files are
    train and dev.
    """
    place = data_path(path)
    if place.is_file():
        names = [path]
    else:
        names = [f"{path}/{one.name}" for one in sorted(place.iterdir()) if one.name.lower().endswith(ENDS)]
    if not names or not all(name.lower().endswith(ENDS) for name in names):
        raise ValueError(f"{place} has no CoNLL-U: a file that ends in {' or '.join(ENDS)}, or a folder of such files")
    splits: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        splits.setdefault(said_splits(name), []).append(name)
    if len(splits) == 1:
        return Division(together=names)
    train, dev = splits.pop(("train",), []), splits.pop(("dev",), [])
    if not train or not dev or any(len(said) > 1 for said in splits):
        told = [f"{Path(name).name} ({' and '.join(said_splits(name)) or 'no split'})"
                for name in sorted(names, key=lambda name: not said_splits(name))]  # fmt: skip
        raise ValueError(
            f"{place}: the names of its files do not say which of them are trained on and which are judged: "
            f"{', '.join(told[:MOST])}{', ...' * (len(told) > MOST)}. Write `train` into the names of the ones and "
            "`dev` into those of the others, as words of their own; or into none, or give a single file as path, and "
            "the documents are divided"
        )
    return Division(train, dev, [name for others in splits.values() for name in others])


def said_splits(name: str) -> tuple[str, ...]:
    """The splits that a file's name says, of train, dev and test, each as a word of its own: en-ud-train and devdata,
    and not GUM_whow_training."""
    words = re.split(r"[\W\d_]+", end_less(Path(name).name).lower())
    return tuple(sorted({SAID[said] for word in words if (said := BEHIND.sub("", word)) in SAID}))


def end_less(name: str) -> str:
    return re.sub(r"\.conllu(\.gz)?$", "", name, flags=re.IGNORECASE)


def trees_of(name: str) -> str:
    """The file of trees beside a CoNLL-U file. Errors: ValueError where there is none."""
    stem = end_less(name)
    places = [data_path(name).parent / f"{Path(stem).name}{end}" for end in TREES]
    found = [f"{stem}{end}" for place, end in zip(places, TREES, strict=True) if place.is_file()]
    if not found:
        wanted = " or ".join(place.name for place in places)
        raise ValueError(f"constituents need trees beside {data_path(name)}, one for each sentence: {wanted}")
    return found[0]


def read_treebank(path: str, with_trees: bool, max_sentences: int = 0, max_eval_sentences: int = 0) -> Treebank:
    """Read a folder, or a file; `max_sentences` of those to train on and to end training by, and
    `max_eval_sentences` of those to judge, drawn at random. Errors: ValueError, OSError."""
    division = list_files(path)
    if division.together:
        dev, rest = divide(read_files(division.together, with_trees), DEV_SHARE)
    else:
        rest, dev = (group(read_files(names, with_trees)) for names in (division.train, division.dev))
    drawn_from = tuple(len(every) * (0 < most < len(every))
                       for every, most in ((rest, max_sentences), (dev, max_eval_sentences)))  # fmt: skip
    dev = draw_some(dev, max_eval_sentences)
    validation, train = divide(draw_some(rest, max_sentences), VALIDATION_SHARE)
    if not train or not validation or not dev:
        raise ValueError(f"{path} has too few sentences to train on some and judge others: {len(train)} to train on, "
                         f"{len(validation)} to end training by, {len(dev)} to judge")  # fmt: skip
    return Treebank(train, validation, dev, division, drawn_from)


def draw_some(sentences: list[Sentence], most: int) -> list[Sentence]:
    """`most` of the sentences, drawn at random and always the same ones; 0: all."""
    if not 0 < most < len(sentences):
        return sentences
    return [sentences[number] for number in np.sort(np.random.default_rng(0).permutation(len(sentences))[:most])]


def read_files(names: list[str], with_trees: bool) -> list[Sentence]:
    sentences: list[Sentence] = []
    for name in names:
        of_file = read_conllu(data_path(name))
        if with_trees:
            add_constituents(of_file, data_path(trees_of(name)))
        sentences += of_file
    return sentences


def group(sentences: list[Sentence]) -> list[Sentence]:
    """The sentences, of several documents: where there are very few, each 20 sentences are one."""
    if len({one.document for one in sentences}) >= FEWEST:
        return sentences
    return [replace(one, document=f"{one.document}:{number // TOGETHER}") for number, one in enumerate(sentences)]


def divide(sentences: list[Sentence], share: int) -> tuple[list[Sentence], list[Sentence]]:
    """One document in `share`, but one at least, and the others: the same ones each time."""
    sentences = group(sentences)
    names = sorted({one.document for one in sentences}, key=lambda name: hashlib.sha256(name.encode()).digest())
    few = set(names[: max(1, len(names) // share)])
    return [one for one in sentences if one.document in few], [one for one in sentences if one.document not in few]
