"""Can an objective on images be trained?  Relative patch position in one screen, on the pictures of real sources.

After Doersch et al. 2015: y is where one patch lies beside another, x are the two patches.
"""

import io
import json
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from corpus.images.medium import Images
from corpus.images.opening import Collection
from corpus.images.pictures import Album
from corpus.images.source import PictureSource
from corpus.images.store import is_prepared, prepare
from corpus.text.opening import Corpus
from corpus.text.source import Source
from engine.publish.exhibits import Picture
from engine.run.runtime import program
from engine.train import draws
from engine.train.batch import Batch
from engine.train.optimizer import Optimizer
from engine.train.plan import Plan
from engine.train.schedule import Schedule
from pretrain.objective import Objective, correct_sum, cross_entropy_sum
from pretrain.plan import Options, foresee, show
from pretrain.prepare import Options as PrepareOptions
from pretrain.prepare import prepare_images
from pretrain.recipe import PretrainRecipe
from pretrain.run import pretrain
from pretrain.terms import Term

PLACES = np.array([(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)])
PATCH = 4


@dataclass(frozen=True, kw_only=True)
class RelativePosition(Objective[Images]):
    medium, pipeline, in_short = Images, "image-feature-extraction", "relative patch position (Doersch et al. 2015)"
    size_key, image_size = "image_size", 3 * PATCH
    terms = (Term("place", "Place of the neighbour", "place", among=8),)

    def units(self, chapter, size, images, key):
        return Album(chapter, size)

    def split(self, t, images, key):
        place = draws.integers(draws.stream("place", key), 8, t.index)  # (B,)
        pictures = np.stack([pixels[: 3 * PATCH, : 3 * PATCH] for pixels in t.pixels]).transpose(0, 3, 1, 2) / 255
        corner = PATCH * (1 + PLACES[place])
        patch = [p[:, r : r + PATCH, c : c + PATCH] for p, (r, c) in zip(pictures, corner, strict=True)]
        x = {"centre": pictures[:, :, PATCH : 2 * PATCH, PATCH : 2 * PATCH], "neighbour": np.stack(patch)}
        tensors = {name: torch.from_numpy(patches.astype(np.float32)) for name, patches in x.items()}
        number = len(place)
        return Batch(tensors, {"place": torch.from_numpy(place)}, {"place": number}, (1,) * number, number)

    def build(self, model, images):
        return Patches(PretrainedConfig(**model))

    def loss(self, model, batch):
        logits = model(**batch.x)
        sums = {"place": cross_entropy_sum(logits, batch.y["place"])}
        return sums if model.training else sums | {"place_correct": correct_sum(logits, batch.y["place"])}

    def show(self, batch, images):
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


def png(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


DOT = png(np.zeros((1, 1, 3), np.uint8))


@pytest.fixture(scope="module")
def slopes(tmp_path_factory) -> Path:
    """A folder of 256 pictures of which red grows downwards and green to the right, under noise."""
    folder, chance = tmp_path_factory.mktemp("slopes"), np.random.default_rng(0)
    grid = np.indices((3 * PATCH, 3 * PATCH)).transpose(1, 2, 0) / (3 * PATCH)
    for number in range(256):
        noise = chance.random((3 * PATCH, 3 * PATCH, 3)) * 0.1
        noise[:, :, :2] += grid
        (folder / f"{number:03}.png").write_bytes(png((np.clip(noise, 0, 1) * 255).astype(np.uint8)))
    return folder


def recipe_for(collection: Collection | None, **changes) -> PretrainRecipe:
    plan = Plan(max_steps=60, global_batch_size=32, per_device_train_batch_size=16, logging_steps=20, eval_steps=30)
    return PretrainRecipe(
        "places", {"model_type": "patches"}, RelativePosition(name="relative_position"),
        Optimizer(learning_rate=1e-2), Schedule(), plan, images=collection, max_eval_samples=64, **changes,
    )  # fmt: skip


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "runs/places/metrics.jsonl").read_text().splitlines()]


def test_an_objective_on_pictures_trains_on_one_process_and_on_two(slopes, tmp_path, launch_program, launch_together):
    @program
    def main(argv):
        pretrain(recipe_for(Collection((PictureSource("folder", str(slopes)),), held_out=0.2)))

    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir(), together.mkdir()
    ended = launch_program(main, alone)
    assert ended.status == 0, ended.said
    ranks = launch_together(main, together)
    assert [rank.status for rank in ranks] == [0, 0], "\n".join(rank.said for rank in ranks)
    assert "2 process(es)" in ranks[0].said
    last = lines(alone)[-1]
    assert last["eval_place_accuracy"] > 0.5
    assert last["baseline_place_accuracy"] < 0.3
    apart, joint = ([line["eval_place_loss"] for line in lines(folder) if "eval_place_loss" in line]
                    for folder in (alone, together))  # fmt: skip
    assert apart == pytest.approx(joint, rel=1e-5)
    assert all("tokens" not in name for line in lines(alone) for name in line)
    assert any("images_per_second" in line for line in lines(alone))
    page = (alone / "runs/places/report.html").read_text()
    assert "images a second" in page
    assert "tokens a second" not in page
    assert page.count("data:image/png;base64,") >= 10  # the pictures of the data report
    card = (alone / "runs/places/model/README.md").read_text()
    assert "relative patch position" in card
    assert "held-out images of the same sources" in card
    assert "Its pictures have 12 x 12 pixels." in card
    assert (alone / "runs/places/model/preprocessor_config.json").exists()


def test_a_run_that_is_stopped_resumes_and_ends_as_if_it_had_not_been(slopes, tmp_path, launch_program):
    collection = Collection((PictureSource("folder", str(slopes)),), held_out=0.2, chapter_images=64)

    @program
    def main(argv):
        recipe = recipe_for(collection, overwrite=False)
        plan = replace(recipe.plan, save_steps=10, dataloader_num_workers=int(argv[0]))
        pretrain(replace(recipe, plan=plan, name=argv[1]))

    def stop_early(pid: int) -> None:
        log = tmp_path / "runs/stopped/metrics.jsonl"
        if not sent and log.exists() and '"step": 20' in log.read_text():
            os.kill(pid, signal.SIGTERM)
            sent.append(pid)

    sent: list[int] = []
    assert launch_program(main, tmp_path, "0", "whole").status == 0
    assert launch_program(main, tmp_path, "2", "stopped", watch=stop_early).status == 3
    assert launch_program(main, tmp_path, "0", "stopped").status == 0
    whole, stopped = (tmp_path / "runs" / name / "model/model.safetensors" for name in ("whole", "stopped"))
    assert whole.read_bytes() == stopped.read_bytes()


def test_a_plan_counts_images_and_the_store(slopes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = recipe_for(Collection((PictureSource("folder", str(slopes)),), held_out=0.2))
    found = foresee(recipe, Options())
    assert found["work"]["corpus_images"] == 256
    assert found["work"]["images"] == 60 * 32
    assert found["time"]["images_per_second"] > 0
    prepared = prepare(recipe.image_collection.sources, tmp_path / "stores", 0.2, 128)
    size = sum(path.stat().st_size for path in prepared.folder.glob("*.bin"))
    assert found["disk"]["store"] == pytest.approx(size, rel=0.05)
    show(found)


def test_pictures_are_prepared_by_the_same_command_and_found_by_training(slopes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    collection = Collection((PictureSource("folder", str(slopes)),), held_out=0.2)
    prepare_images(collection, PrepareOptions())
    assert "images to train on" in capsys.readouterr().out
    assert is_prepared(collection.sources, Path("runs/stores"), 0.2, 128)
    with pytest.raises(ValueError, match=r"on one machine, on all its cores: leave --executor and --tasks out"):
        prepare_images(collection, PrepareOptions(executor="slurm"))


def test_the_section_of_another_medium_is_refused():
    with pytest.raises(ValueError, match="relative_position is trained on what `images:` says, so `corpus:` does noth"):
        recipe_for(Collection(), corpus=Corpus((Source("docstrings"),)))
    with pytest.raises(ValueError, match="relative_position is trained on images, so `tokenizer:` does nothing"):
        recipe_for(Collection(), tokenizer="runs/bert-wordpiece/tokenizer")
    assert recipe_for(None).images == Collection()  # the photos that installed packages bring
