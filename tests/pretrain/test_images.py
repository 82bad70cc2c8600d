"""Does an objective on another medium need the text's code?  Relative patch position, in one screen.

Doersch et al. 2015, on made-up pictures: y is where one patch lies beside another, x are the two patches.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from corpus.medium import Medium, OpenCorpus
from corpus.text.opening import Corpus
from corpus.text.source import Source
from engine.publish.exhibits import Picture
from engine.publish.hub import NOWHERE, Publisher
from engine.run.checkpoint import Run
from engine.run.runtime import make_accelerator, program
from engine.run.tracking import Tracker
from engine.train import draws
from engine.train.batch import Batch
from engine.train.optimizer import Optimizer
from engine.train.plan import Plan
from engine.train.schedule import Schedule
from pretrain.assembly import build_model, train_and_export
from pretrain.objective import Objective, correct_sum, cross_entropy_sum
from pretrain.recipe import PretrainRecipe
from pretrain.terms import Term

PLACES = np.array([(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)])
PATCH = 4


class Album(Medium):
    """Pictures of which red grows downwards and green to the right, under noise; also their own corpus and units."""

    unit, processor_name, limits = "images", "image processor", "It has seen made-up pictures only."
    stamp, is_last, num_pictures = "an album", True, 256
    cursor: ClassVar[dict] = {}
    next_cursor: ClassVar[dict] = {}
    processor = PretrainedConfig()  # anything that can be saved

    def describe(self, sizes):
        return "Its pictures are made up."

    def fake(self, rows, size):
        return self

    def chapter(self, epoch, number, cursor):
        return self

    def __len__(self):
        return self.num_pictures

    def take(self, index):
        return index

    def report(self):
        return [f"{len(self)} pictures of {3 * PATCH} x {3 * PATCH} pixels."]


@dataclass(frozen=True, kw_only=True)
class RelativePosition(Objective[Album]):
    medium, pipeline, in_short = Album, "image-feature-extraction", "relative patch position (Doersch et al. 2015)"
    size_key, image_size = "image_size", 3 * PATCH
    terms = (Term("place", "Place of the neighbour", "place", among=8),)

    def units(self, chapter, size, album, key):
        return chapter

    def split(self, t, album, key):
        place = draws.integers(draws.stream("place", key), 8, t)  # (B,)
        grid = np.indices((3 * PATCH, 3 * PATCH)) / (3 * PATCH)  # (2, 12, 12)
        noise = draws.uniform(draws.stream("noise", key), t[:, None], np.arange(3 * (3 * PATCH) ** 2))
        pictures = noise.reshape(-1, 3, 3 * PATCH, 3 * PATCH) * 0.1
        pictures[:, :2] += grid
        corner = PATCH * (1 + PLACES[place])
        patch = [p[:, r : r + PATCH, c : c + PATCH] for p, (r, c) in zip(pictures, corner, strict=True)]
        x = {"centre": pictures[:, :, PATCH : 2 * PATCH, PATCH : 2 * PATCH], "neighbour": np.stack(patch)}
        tensors = {name: torch.from_numpy(patches.astype(np.float32)) for name, patches in x.items()}
        return Batch(tensors, {"place": torch.from_numpy(place)}, {"place": len(t)}, (1,) * len(t), len(t))

    def build(self, model, album):
        return Patches(PretrainedConfig(**model))

    def loss(self, model, batch):
        logits = model(**batch.x)
        sums = {"place": cross_entropy_sum(logits, batch.y["place"])}
        return sums if model.training else sums | {"place_correct": correct_sum(logits, batch.y["place"])}

    def show(self, batch, album):
        return [Picture(f"its neighbour lies at {PLACES[place]}", DOT) for place in batch.y["place"].tolist()]


class Patches(PreTrainedModel):
    config_class = PretrainedConfig

    def __init__(self, config):
        super().__init__(config)
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(3 * PATCH**2, 32), nn.ReLU())
        self.place = nn.Linear(64, 8)
        self.post_init()

    def forward(self, centre, neighbour):  # (B, 3, P, P) each
        return self.place(torch.cat([self.trunk(centre), self.trunk(neighbour)], 1))  # (B, 8)


DOT = bytes.fromhex(  # a PNG of one pixel
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060"
    "000000050001a5f645400000000049454e44ae426082"
)


@program
def main(argv):
    accelerator, album = make_accelerator(seed=0), Album()
    recipe = PretrainRecipe(
        "places", Corpus((Source("text", "nowhere"),)), {"model_type": "patches"},
        RelativePosition(name="relative_position"), Optimizer(learning_rate=1e-2), Schedule(),
        Plan(max_steps=60, global_batch_size=32, per_device_train_batch_size=16, logging_steps=20, eval_steps=30),
        max_eval_samples=64,
    )  # fmt: skip
    run = Run(Path("runs/places"), recipe, accelerator)
    tracker = Tracker(run.folder, accelerator)
    publisher = Publisher(NOWHERE, run.folder, accelerator, tracker.note)
    corpus = OpenCorpus(album, album, "made up", ["- made-up pictures"])
    train_and_export(recipe, album, corpus, build_model(recipe, album), run, tracker, publisher, accelerator)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "runs/places/metrics.jsonl").read_text().splitlines()]


def test_an_objective_on_pictures_trains_on_one_process_and_on_two(tmp_path, launch_program, launch_together):
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir(), together.mkdir()
    ended = launch_program(main, alone)
    assert ended.status == 0, ended.said
    ranks = launch_together(main, together)
    assert [rank.status for rank in ranks] == [0, 0], ranks[0].said
    assert "2 process(es)" in ranks[0].said
    last = lines(alone)[-1]
    assert last["eval_place_accuracy"] > 0.5
    assert last["baseline_place_accuracy"] < 0.25
    apart, joint = ([line["eval_place_loss"] for line in lines(folder) if "eval_place_loss" in line]
                    for folder in (alone, together))  # fmt: skip
    assert apart == pytest.approx(joint, rel=1e-5)
    assert all("tokens" not in name for line in lines(alone) for name in line)
    assert any("images_per_second" in line for line in lines(alone))
    page = (alone / "runs/places/report.html").read_text()
    assert "images a second" in page
    assert "tokens a second" not in page
    assert page.count("data:image/png;base64,") == 10  # the pictures of the data report
    card = (alone / "runs/places/model/README.md").read_text()
    assert "relative patch position" in card
    assert "Its pictures are made up." in card
