"""Which pictures with labels are features asked about, and what are they worth at every stage?  Image classification.

A probe on pictures learns from the frozen features of labelled pictures and is asked about others. It tells of every
stage of a network, for the last one is often not the best after a pretext task. The score that counts is that of the
stage which is best on a fifth of the training pictures; the test pictures choose nothing.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from corpus.images.pictures import Ints
from corpus.images.scaling import middle
from corpus.images.source import PictureSource, fingerprint
from corpus.images.store import StoredPictures, prepare
from engine.run.recipe import check_least
from engine.run.saved import located
from engine.train import draws
from networks.trunk import Squares
from probe.features import BESIDE, describe
from probe.probe import Found, Probe

AT_ONCE = 256  # pictures that are read at a time
DECODED_SIDE = 96  # see corpus.images.store.prepare

CLASS_OF = {  # where a picture's class is, by the kind of its source
    "photos": "photos have none: take digits, faces or pictures of your own",
    "digits": "a digit is one",
    "faces": "there are two",
    "folder": "it is the first folder below `path`, CLASS/NAME.jpg: name the folder that holds those of the classes",
    "parquet": "it is in the column that `label` names",
    "hub": "it is in the column that `label` names",
    "shards": "it is in a sample's .cls, in its .json under the key that `label` names, or it is the folder it lies in",
}
Classify = Callable[[Tensor], Tensor]  # features (M, D) to labels (M,)


@dataclass(frozen=True, eq=False)
class Labelled:
    """N square pictures and their classes."""

    squares: Squares
    labels: Tensor  # (N,)
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PictureProbe(Probe):
    """A classifier on frozen features, of pictures that have labels."""

    train: PictureSource  # the pictures to learn from
    test: PictureSource | None = None  # those that are asked about; null: a share of `train`
    held_out: float = 0.2  # that share
    image_size: int = 32  # pixels of the square that is taken from the middle of each picture
    max_train_samples: int = 0  # so many of them, drawn at random; 0: all
    max_test_samples: int = 0
    stores: str = "runs/stores"  # where prepared pictures are kept

    def __post_init__(self) -> None:
        check_least(self, 0, "max_train_samples", "max_test_samples")
        check_least(self, 8, "image_size")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out is {self.held_out}; it is a share of the pictures between 0 and 1, such as 0.2")

    @property
    def task(self) -> str:
        return f"{self.name}/{name_data(self.train)}"

    @property
    def stamps(self) -> dict[str, str]:
        return {str(source): fingerprint(source) for source in (self.train, self.test) if source}

    @property
    def beside(self) -> tuple[str, ...]:
        return BESIDE

    @abstractmethod
    def learn(self, features: Tensor, labels: Tensor) -> tuple[Classify, float]:
        """A classifier, and how often one of its kind is right on a part of these rows that it has not seen."""

    def ask(self, model: str, untrained: bool, seed: int) -> Found:
        known, asked = self.load()
        number, right = len(known.labels), relabel(asked, known.classes)
        stages = {stage: self.flat(maps) for stage, maps in describe_both(model, untrained, seed, known, asked).items()}
        unseen, found = dict[str, float](), dict[str, float]()
        for stage, features in stages.items():
            classify, unseen[stage] = self.learn(features[:number], known.labels)
            found[stage] = share_right(classify(features[number:]), right)
        best = max(unseen, key=lambda stage: unseen[stage])
        commonest = share_right(known.labels.mode().values, right)
        scores = {"accuracy": found[best], **(found if model not in BESIDE else {})}
        sizes = {"train": number, "test": len(asked.labels)}
        page = self.page(unseen, found, stages)
        return Found({"test": scores}, {"test": {"accuracy": commonest}}, "accuracy", sizes, page=page)

    def flat(self, maps: Tensor) -> Tensor:
        """Features (N, D) as the classifier takes them, of maps (N, C, h, w) of the parts of each picture."""
        return maps.flatten(1)

    def page(self, unseen: dict[str, float], found: dict[str, float], stages: dict[str, Tensor]) -> str:
        rows = [f"| {stage} | {features.shape[1]:,} | {unseen[stage]:.3f} | {found[stage]:.3f} |"
                for stage, features in stages.items()]  # fmt: skip
        head = ["| stage | features | on a fifth of the training pictures | test |", "|---|---|---|---|"]
        return "\n".join([f"# {self.task}", "", *head, *rows]) + "\n"

    def load(self) -> tuple[Labelled, Labelled]:
        """The pictures to learn from and those that are asked about. Errors: ValueError where they have no labels, or
        those of the test are others."""
        train = self.open(self.train)
        test = self.open(self.test) if self.test else train
        members = train.train.array, train.held_out.array
        if self.test:
            members = np.arange(len(train)), np.arange(len(test))
        known = load_labelled(self.train, train.folder, members[0].tobytes(), self.max_train_samples, self.image_size)
        source = self.test or self.train
        asked = load_labelled(source, test.folder, members[1].tobytes(), self.max_test_samples, self.image_size)
        if len(there := known.labels.unique()) < 2:
            raise ValueError(
                f"{self.train}: all {len(known.labels):,} pictures to learn from are of one class, "
                f"{known.classes[int(there)]}, and two are the fewest; {CLASS_OF[self.train.kind]}"
            )
        if strange := [name for name in asked.classes if name not in known.classes]:
            raise ValueError(
                f"{source} has the class {strange[0]}, which {self.train} has not (its classes: "
                f"{', '.join(known.classes[:20])}{' ...' if len(known.classes) > 20 else ''}): both must have the same"
            )
        return known, asked

    def open(self, source: PictureSource) -> StoredPictures:
        return prepare([source], Path(self.stores), self.held_out, DECODED_SIDE)


@lru_cache(maxsize=4)  # several probes and models are asked about the same ones
def load_labelled(source: PictureSource, folder: Path, members: bytes, most: int, size: int) -> Labelled:
    """The pictures `members` of the store of a source that have labels, `most` of them at most, as squares of `size`
    pixels. Errors: ValueError where none has."""
    pictures = StoredPictures(folder)
    numbers: Ints = np.frombuffer(members, np.int64)
    numbers = numbers[pictures.labels[numbers] >= 0]
    if not len(numbers):
        raise ValueError(f"{source}: no picture has a class; {CLASS_OF[source.kind]}")
    if 0 < most < len(numbers):
        numbers = np.sort(numbers[draws.permutation(draws.stream("probe"), len(numbers))[:most]])
    squares = [middle(pixels, size) for start in range(0, len(numbers), AT_ONCE)
               for pixels in pictures.load(numbers[start : start + AT_ONCE], size)]  # fmt: skip
    return Labelled(np.stack(squares), torch.from_numpy(pictures.labels[numbers]), tuple(pictures.classes))


def relabel(asked: Labelled, classes: Sequence[str]) -> Tensor:
    """The labels of `asked`, as numbers of `classes`."""
    return torch.tensor([classes.index(name) for name in asked.classes])[asked.labels]


def describe_both(model: str, untrained: bool, seed: int, known: Labelled, asked: Labelled) -> dict[str, Tensor]:
    """The maps of each stage (N, C, h, w) of pictures to learn from, and then of those that are asked about."""
    folder = Path(model if model in BESIDE else located(model))
    changed = tuple(sorted(path.stat().st_mtime_ns for path in folder.glob("*")))
    return described_last(model, untrained, seed, known, asked, changed)


@lru_cache(maxsize=1)  # the next probe asks the same model
def described_last(
    model: str, untrained: bool, seed: int, known: Labelled, asked: Labelled, changed: tuple[int, ...]
) -> dict[str, Tensor]:
    return describe(model, untrained, seed, known.squares, asked.squares)


def name_data(source: PictureSource) -> str:
    """As the table calls the data: vision/cifar10/train and vision/cifar10/train-*.parquet are cifar10."""
    parts = [part.lower() for part in Path(source.path).parts if not part.lower().startswith("train")]
    return parts[-1].partition(".")[0] if parts else source.kind


def share_right(guess: Tensor, right: Tensor) -> float:
    return (guess == right).float().mean().item()
