"""Which pictures are shuffled together?  A chapter: so many that their numbers fit in memory, scattered over all."""

from typing import Any

import numpy as np

from corpus.images.pictures import PictureChapter, Pictures
from corpus.manifest import Mapped
from engine.train import draws


class StoredChapters:
    """The pictures `members` (K,) of a collection, cut into chapters of about `chapter_images`, anew for each epoch."""

    def __init__(self, pictures: Pictures, members: Mapped, seed: int, chapter_images: int):
        self.pictures, self.members, self.seed = pictures, members, seed
        self.num_chapters = max(1, round(len(members.array) / chapter_images))

    def chapter(self, epoch: int, number: int, cursor: dict[str, Any]) -> PictureChapter:
        size = len(self.members.array)
        first, last = (size * place // self.num_chapters for place in (number, number + 1))
        places = draws.scattered(draws.stream("pictures", self.seed, epoch), np.arange(first, last), size)
        return PictureChapter(self.pictures, self.members.at(places), is_last=number + 1 == self.num_chapters)
