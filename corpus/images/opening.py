"""From where do the pictures of a recipe come?  From a store that is made of its sources. The `images:` section."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.images.chapters import StoredChapters
from corpus.images.medium import Images
from corpus.images.report import hub_ids, remarks, report
from corpus.images.source import PictureSource
from corpus.images.store import is_prepared, origin_of, prepare
from corpus.medium import OpenCorpus
from engine.run.agreement import agree
from engine.run.folders import STORE, refuse_inside
from engine.run.recipe import check_least, check_one_line, operational

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Collection:
    """Where the pictures are, and which share of them is held out for evaluation."""

    sources: tuple[PictureSource, ...] = (PictureSource("photos"),)
    held_out: float = 0.02  # share of the pictures, or of their groups, that are not trained on, but evaluated
    decoded_side: int = 128  # pictures of no more than its square in pixels are stored decoded: faster, and larger
    chapter_images: int = 1_000_000  # pictures that are shuffled together, about
    stores: str = "runs/stores"  # where prepared pictures are kept
    license: str = operational("")  # of your own pictures, for the model card: SPDX, such as CC-BY-4.0, or words

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources is empty; name one source or more")
        check_one_line("license", self.license)
        check_least(self, 0, "decoded_side")
        check_least(self, 1, "chapter_images")
        if not 0 < self.held_out < 1:
            raise ValueError(
                f"held_out is {self.held_out}; it is a share of the pictures between 0 and 1, such as 0.02"
            )


def open_collection(collection: Collection, seed: int, accelerator: "Accelerator") -> tuple[Images, OpenCorpus]:
    """Open a collection on every process: what its pictures are like, and these as chapters.

    Errors: what `corpus.images.store.prepare` raises.
    """
    asked = {name: getattr(collection, name) for name in ("sources", "held_out", "decoded_side")}
    if accelerator.num_processes > 1:
        with accelerator.main_process_first():  # which reads the files; the others of its machine find what it noted
            origin = origin_of(**asked)
        agree(accelerator, images=origin)  # before anybody builds a store of what only he has
    folder = Path(collection.stores)
    if accelerator.is_main_process and accelerator.num_processes > 1 and not is_prepared(folder=folder, **asked):
        print(
            "the pictures are not prepared yet: the main process does it now while the others wait, five minutes at "
            "most; for many say first  cloze prepare RECIPE.yaml"
        )
    refuse_inside(folder, STORE)
    with accelerator.main_process_first():
        pictures = prepare(folder=folder, **asked)
    about = pictures.manifest
    medium = Images(tuple(about["mean"]), tuple(about["std"]), stamp=pictures.folder.parent.name)
    sources = tuple(PictureSource(**source) for source in about["sources"])
    held_out = StoredChapters(pictures, pictures.held_out, seed, chapter_images=max(1, len(pictures)))
    corpus = OpenCorpus(
        StoredChapters(pictures, pictures.train, seed, collection.chapter_images), held_out, about["fingerprint"],
        report(sources, pictures, collection.license), partial(remarks, pictures), hub_ids(sources),
    )  # fmt: skip
    return medium, corpus
