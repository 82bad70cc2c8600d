"""What is a picture to an objective?  Pixels, red, green and blue. The medium `Images`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from torch import Tensor
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

from corpus.images.pictures import Ints, PictureChapter, Pixels
from corpus.medium import Medium
from engine.run.checkpoint import Processor
from engine.train import draws


@dataclass(frozen=True)
class Images(Medium):
    """Colour pictures. `mean` and `std` of red, green and blue, between 0 and 1, are those of the collection."""

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    stamp: str = ""  # of the collection: its files, and how they are decoded

    section: ClassVar = "images"
    unit: ClassVar = "images"
    size_unit: ClassVar = "pixels"
    largest: ClassVar = 1 << 13
    held_out: ClassVar = "held-out images of the same sources"
    processor_name: ClassVar = "image processor"
    limits: ClassVar = (
        "The model has seen the pictures it was trained on, and shares their gaps: things, places and people that are "
        "rare in them are strange to it. It is meant to be fine-tuned or probed, not to decide on people."
    )

    @property
    def processor(self) -> Processor:
        return self.processor_for(224)

    def processor_for(self, size: int) -> Processor:
        """An image processor of transformers, for pictures of size x size."""
        made: Any = ConvNextImageProcessorPil(
            size={"shortest_edge": size}, crop_pct=1.0, image_mean=list(self.mean), image_std=list(self.std)
        )
        return cast(Processor, made)

    def describe(self, sizes: Sequence[int]) -> str:
        return f"Its pictures have {' and '.join(f'{size} x {size}' for size in sizes)} pixels."

    def normalised(self, pixels: Tensor) -> Tensor:
        """Red, green and blue (B, 3, H, W) between 0 and 1 as networks take them."""
        mean, std = (pixels.new_tensor(each).view(3, 1, 1) for each in (self.mean, self.std))
        return (pixels - mean) / std

    def shown(self, values: Tensor) -> Tensor:
        """What `normalised` was given."""
        mean, std = (values.new_tensor(each).view(3, 1, 1) for each in (self.mean, self.std))
        return values * std + mean

    def count(self, size: int) -> int:
        return 1

    def fake(self, rows: int, size: int) -> PictureChapter:
        """Noise, in pictures whose shorter side is `size`."""
        return PictureChapter(FakePictures(rows, size), np.arange(rows))


class FakePictures:
    """A collection that is nowhere."""

    classes: Sequence[str] = ()

    def __init__(self, number: int, side: int):
        self.number, self.side = number, side
        self.labels: Ints = np.full(number, -1)

    def __len__(self) -> int:
        return self.number

    def load(self, index: Ints, least: int = 0) -> list[Pixels]:
        shape = (self.side, self.side * 4 // 3, 3)
        places = np.arange(np.prod(shape))
        keys = [draws.stream("a made-up picture", int(number)) for number in index]
        return [draws.integers(key, 256, places).reshape(shape).astype(np.uint8) for key in keys]
