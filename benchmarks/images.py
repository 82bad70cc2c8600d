"""How fast do pictures become batches?  Our road and the plain one, PIL and transforms picture by picture, in turn.

    python -m benchmarks.images --folder vision/images/cifar10/train --size 32 --pad 4
    python -m benchmarks.images --folder vision/detection/voc-animals/JPEGImages --size 64 --resize 72
    python -m benchmarks.images --folder vision/detection/voc-animals/JPEGImages --size 64 --resize 72 --shorter_side 72

Both give the same: a random crop of `size` pixels, mirrored by chance, less the mean, by the standard deviation, in
batches of float tensors. The plain way is what most people write: a Dataset that opens each file with PIL,
transforms as torchvision has them (Resize, RandomCrop, RandomHorizontalFlip, ToTensor, Normalize), and a DataLoader.
Ours is what `cloze pretrain` does: a store, chapters, an album, and a split of whole batches, in the same DataLoader.
Times are of the CPU, in one process, so that other work on the machine takes nothing from them; the making of the store
is timed apart.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.measuring import cpu_seconds, finish, ratio, turn_by_turn
from corpus.images.chapters import StoredChapters
from corpus.images.pictures import Album, Shots
from corpus.images.scaling import scale
from corpus.images.source import PictureSource, files
from corpus.images.store import StoredPictures, prepare
from engine.run.options import read_options
from engine.run.recipe import check_least
from engine.run.runtime import program
from engine.train import draws


@dataclass(frozen=True)
class Options:
    """Make batches of the pictures in a folder, our way and the plain one, in turn.

    Example: python -m benchmarks.images --folder vision/images/cifar10/train --size 32 --pad 4
    """

    folder: str = "vision/images/cifar10/train"  # of pictures
    size: int = 32  # pixels of a crop's side
    pad: int = 0  # black pixels put around each picture before it is cut
    resize: int = 0  # pixels of the shorter side to which each is resized before it is cut; 0: as it is
    shorter_side: int = 0  # as in a source of a recipe: made smaller once, for the store
    decoded_side: int = 128  # as in a recipe's images section: up to its square, pictures are stored as pixels
    batch: int = 64  # pictures of a batch
    images: int = 2000  # pictures in a round
    rounds: int = 3  # times that each way is taken; the ratio is one of medians

    def __post_init__(self) -> None:
        check_least(self, 1, "size", "batch", "images", "rounds")


@program
def main(argv: list[str]) -> None:
    options = read_options(Options, argv, "python -m benchmarks.images")
    source = PictureSource("folder", options.folder, shorter_side=options.shorter_side)
    with tempfile.TemporaryDirectory() as folder:
        stored: list[StoredPictures] = []
        made = cpu_seconds(
            lambda: stored.append(prepare([source], Path(folder), 0.02, options.decoded_side, processes=1))
        )
        (pictures,) = stored
        ways: dict[str, Callable[[], float]] = {
            "ours": lambda: spent(our_batches(pictures, options), options),
            "plain": lambda: spent(plain_batches(source, pictures, options), options),
        }
        found = turn_by_turn(ways, options.rounds)
    speed = {name: [options.images / seconds for seconds in taken] for name, taken in found.items()}
    finish({
        "images_per_cpu_second": {name: [round(pace) for pace in paces] for name, paces in speed.items()},
        "ratio": ratio(speed["ours"], speed["plain"]),
        "store_cpu_seconds_of_this_process": round(made, 2),
        "pictures": len(pictures),
        "options": vars(options),
    })  # fmt: skip


def spent(batches: Iterator[Tensor], options: Options) -> float:
    """CPU seconds of a round; the first batch, before it, opens what has to be opened."""
    shape = next(batches).shape
    assert shape == (options.batch, 3, options.size, options.size), shape

    def take() -> None:
        seen = 0
        while seen < options.images:
            seen += len(next(batches))

    return cpu_seconds(take)


# Ours


class Crops(Dataset[Tensor]):
    """Batch k of an epoch's order, as `pretrain.examples` and `engine.train.batches` make it."""

    def __init__(self, pictures: StoredPictures, options: Options):
        chapter = StoredChapters(pictures, pictures.train, 0, len(pictures)).chapter(0, 0, {})
        self.album = Album(chapter, options.size, options.resize)
        self.order = draws.permutation(draws.stream("order"), len(self.album))
        self.mean, self.std = (np.array(pictures.manifest[name]) for name in ("mean", "std"))
        self.options = options

    def __getitem__(self, number: int) -> Tensor:
        places = np.arange(number * self.options.batch, (number + 1) * self.options.batch) % len(self.order)
        return split(self.album.take(self.order[places]), self.options, self.mean, self.std, key=number)


def our_batches(pictures: StoredPictures, options: Options) -> Iterator[Tensor]:
    return iter(DataLoader(Crops(pictures, options), sampler=count(), batch_size=None))


def split(t: Shots, options: Options, mean: npt.NDArray[Any], std: npt.NDArray[Any], key: int) -> Tensor:
    """(B, 3, S, S) Random crops, mirrored by chance."""
    pad, size = options.pad, options.size
    pixels = [scale(picture, options.resize, options.resize) for picture in t.pixels] if options.resize else t.pixels
    room = np.array([picture.shape[:2] for picture in pixels]) + 2 * pad - size + 1  # (B, 2)
    corner = draws.integers(draws.stream("corner", key), room, t.index[:, None], np.arange(2))
    cut = np.zeros((len(pixels), size, size, 3), np.uint8)
    for crop, picture, (top, left) in zip(cut, pixels, corner - pad, strict=True):
        seen = picture[max(0, top) : top + size, max(0, left) : left + size]
        crop[max(0, -top) :, max(0, -left) :][: seen.shape[0], : seen.shape[1]] = seen
    mirrored = draws.integers(draws.stream("mirrored", key), 2, t.index).astype(bool)
    cut[mirrored] = cut[mirrored, :, ::-1]
    factor, shift = 1 / (255 * std), -mean / std
    return torch.from_numpy(cut).permute(0, 3, 1, 2).contiguous().float().mul_(column(factor)).add_(column(shift))


def column(values: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None, None]


# The plain way


class PlainPictures(Dataset[Tensor]):
    """Files, opened with PIL, and torchvision's transforms, each of which takes one picture."""

    def __init__(self, paths: list[Path], options: Options, mean: list[float], std: list[float]):
        self.paths, self.options = paths, options
        self.mean, self.std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        options = self.options
        picture: Any = Image.open(self.paths[index]).convert("RGB")
        if options.resize:
            scale = options.resize / min(picture.size)
            picture = picture.resize([max(options.resize, round(side * scale)) for side in picture.size],
                                     Image.Resampling.BILINEAR)  # fmt: skip
        if options.pad:
            wide = Image.new("RGB", [side + 2 * options.pad for side in picture.size])
            wide.paste(picture, (options.pad, options.pad))
            picture = wide
        left, top = (int(torch.randint(0, side - options.size + 1, (1,))) for side in picture.size)
        picture = picture.crop((left, top, left + options.size, top + options.size))
        if torch.rand(1) < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float().div(255)
        return pixels.sub(self.mean).div(self.std)


def plain_batches(source: PictureSource, pictures: StoredPictures, options: Options) -> Iterator[Tensor]:
    paths = [path for _, path in files(source)]
    mean, std = pictures.manifest["mean"], pictures.manifest["std"]
    loader = DataLoader(PlainPictures(paths, options, mean, std), options.batch, shuffle=True, drop_last=True)
    return (batch for _ in count() for batch in loader)


if __name__ == "__main__":
    main()
