"""Which sentences are trained on, and which are judged?  A folder of CoNLL-U files, by its splits or by documents."""

import hashlib
import re
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Treebank:
    """`validation` is of other documents than `train`, and `dev` has no part in training."""

    train: list[Sentence]
    validation: list[Sentence]
    dev: list[Sentence]
    drawn_from: tuple[int, ...] = (0, 0)  # sentences that those of training, and of dev, were drawn from; 0: all taken

    @property
    def sentences(self) -> list[Sentence]:
        return [*self.train, *self.validation, *self.dev]


def list_files(path: str) -> dict[str, list[str]]:
    """Split -> the names of its files, as `path` has them: train and dev, as file names say.

    Where one of the two is missing, "" has the files that are to be divided by documents: all whose name does not say
    test, if there is any.

    Errors: FileNotFoundError; ValueError for a folder without such files.
    """
    place = data_path(path)
    if place.is_file():
        names = [path]
    else:
        names = [f"{path}/{one.name}" for one in sorted(place.iterdir()) if one.name.lower().endswith(ENDS)]
    if not names or not all(name.lower().endswith(ENDS) for name in names):
        raise ValueError(f"{place} has no CoNLL-U: a file that ends in {' or '.join(ENDS)}, or a folder of such files")
    words = {name: re.split(r"[-_.]", Path(name).name.lower()) for name in names}
    splits = {split: [name for name in names if split in words[name]] for split in ("train", "dev")}
    return splits if all(splits.values()) else {"": [name for name in names if "test" not in words[name]] or names}


def trees_of(name: str) -> str:
    """The file of trees beside a CoNLL-U file. Errors: ValueError where there is none."""
    stem = re.sub(r"\.conllu(\.gz)?$", "", name, flags=re.IGNORECASE)
    places = [data_path(name).parent / f"{Path(stem).name}{end}" for end in TREES]
    found = [f"{stem}{end}" for place, end in zip(places, TREES, strict=True) if place.is_file()]
    if not found:
        wanted = " or ".join(place.name for place in places)
        raise ValueError(f"constituents need trees beside {data_path(name)}, one for each sentence: {wanted}")
    return found[0]


def read_treebank(path: str, with_trees: bool, max_sentences: int = 0, max_eval_sentences: int = 0) -> Treebank:
    """Read a folder, or a file; `max_sentences` of those to train on and to end training by, and
    `max_eval_sentences` of those to judge, drawn at random. Errors: ValueError, OSError."""
    read = {split: read_files(names, with_trees) for split, names in list_files(path).items()}
    dev, rest = divide(read[""], DEV_SHARE) if "" in read else (group(read["dev"]), group(read["train"]))
    drawn_from = tuple(len(every) * (0 < most < len(every))
                       for every, most in ((rest, max_sentences), (dev, max_eval_sentences)))  # fmt: skip
    dev = draw_some(dev, max_eval_sentences)
    validation, train = divide(draw_some(rest, max_sentences), VALIDATION_SHARE)
    if not train or not validation or not dev:
        raise ValueError(f"{path} has too few sentences to train on some and judge others: {len(train)} to train on, "
                         f"{len(validation)} to end training by, {len(dev)} to judge")  # fmt: skip
    return Treebank(train, validation, dev, drawn_from)


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
