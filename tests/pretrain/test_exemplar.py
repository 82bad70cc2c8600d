"""Do exemplar networks know their seeds again, and does their memory of features hold what it should?"""

import shutil

import numpy as np
import pytest
import torch
import yaml
from matplotlib import rc_context
from safetensors.torch import load_file
from skimage.data import astronaut, chelsea, coffee

from corpus.images.chapters import StoredChapters
from corpus.images.medium import Images
from corpus.images.pictures import PictureChapter
from corpus.images.source import PictureSource
from corpus.images.store import prepare
from corpus.images.transformations import Transformations
from engine.publish.curves import ink_style, save
from engine.publish.exhibits import Picture
from engine.train.batches import Position
from pretrain.examples import ChapterExamples, open_chapters
from pretrain.objectives.exemplar import Exemplar
from pretrain.pretext.exemplar_sheets import CHANGES, plot_moves
from pretrain.run import main

SMALL = {"embedding_size": 16, "hidden_sizes": [32, 64], "depths": [1, 1], "layer_type": "basic",
         "downsample_in_first_stage": True}  # fmt: skip


class Photos:
    """Three photos, and chapters of them."""

    classes = ()
    labels = np.full(3, -1)
    shown = (astronaut(), coffee(), chelsea())
    parts = 1

    def __len__(self) -> int:
        return 3

    def load(self, index, least=0):
        return [self.shown[number] for number in index]

    def chapter(self, epoch, number, cursor):
        return PictureChapter(self, np.random.default_rng(epoch).permutation(3), is_last=number + 1 == self.parts)


def examples_of(objective: Exemplar, key: int = 1) -> ChapterExamples:
    return ChapterExamples(Photos().chapter(0, 0, {}), objective, Images(), objective.size, key)


def train(objective: Exemplar, steps: int, size: int) -> torch.nn.Module:
    torch.manual_seed(0)
    model = objective.build(SMALL, Images())
    examples, adam = examples_of(objective), torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(steps):
        batch = examples.batch(examples.order[step * size : (step + 1) * size])
        adam.zero_grad()
        (objective.loss(model, batch)["seed"] / batch.counts["seed"]).backward()
        adam.step()
    return model.eval()


@pytest.mark.parametrize("softmax", ["weights", "memory"])
def test_new_transformations_of_the_seeds_are_known(softmax):
    mild = Transformations(0.1, (0.9, 1.1), 10, (0.8, 1.25), (0.8, 1.25), (0.9, 1.1), 0.03, 0.03)
    objective = Exemplar(name="exemplar", image_size=16, seeds=8, softmax=softmax, transformations=mild)
    model = train(objective, steps=40, size=32)
    batch = examples_of(objective, key=2).batch(np.arange(240))
    with torch.inference_mode():
        right = float(objective.loss(model, batch)["seed_correct"]) / 240
    assert right > 2.5 / 8


def test_what_is_evaluated_are_other_transformations_of_the_same_seeds():
    objective, photos = Exemplar(name="exemplar", seeds=8, shorter_side=128), Photos()
    trained, again = (open_chapters(photos, objective, Images(), 0, purpose) for purpose in ("chapter", "asked again"))
    one, other, later = trained(Position(), 32), again(Position(), 32), trained(Position(epoch=1), 32)
    assert one.units.seeds is other.units.seeds is later.units.seeds
    index = np.arange(8)
    left, right, third = (examples.batch(index) for examples in (one, other, later))
    assert torch.equal(left.y["seeds"], right.y["seeds"])
    for batch in (right, third):
        assert ((left.x["pixel_values"] - batch.x["pixel_values"]).abs().mean((1, 2, 3)) > 0.05).all()


def test_without_transformations_the_patch_itself_is_shown():
    still = Transformations(0, (1, 1), 0, (1, 1), (1, 1), (1, 1), 0, 0)
    objective, images = Exemplar(name="exemplar", seeds=8, shorter_side=128, transformations=still), Images()
    batch, seeds = examples_of(objective).batch(np.arange(8)), objective.chosen
    (chosen,) = seeds.values()
    border = (chosen.windows.shape[1] - 32) // 2
    inside = torch.from_numpy(chosen.windows[:, border:-border, border:-border]).permute(0, 3, 1, 2) / 255
    assert images.shown(batch.x["pixel_values"]) == pytest.approx(inside, abs=1e-4)


def test_a_memory_holds_the_features_that_a_seed_had_last():
    objective = Exemplar(name="exemplar", seeds=8, shorter_side=128, softmax="memory", momentum=0.5)
    model, batch = objective.build(SMALL, Images()), examples_of(objective).batch(np.array([3, 5]))
    before = model.memory.clone()
    objective.loss(model.eval(), batch)
    assert torch.equal(model.memory, before)
    objective.loss(model.train(), batch)["seed"].backward()
    with torch.no_grad():
        features = model(batch.x["pixel_values"])
    expected = torch.nn.functional.normalize(before[[3, 5]] + features, dim=1)
    assert model.memory[[3, 5]] == pytest.approx(expected, abs=1e-5)
    others = [0, 1, 2, 4, 6, 7]
    assert torch.equal(model.memory[others], before[others])
    assert "memory" in model.state_dict()
    assert objective.together
    twice = torch.nn.functional.normalize(features.sum(0, keepdim=True), dim=1)
    model.momentum = 0.0
    model.remember(features, torch.tensor([7, 7]))
    assert model.memory[7:] == pytest.approx(twice, abs=1e-5)
    model.remember(features * torch.nan, torch.tensor([1, 2]))
    assert model.memory.isfinite().all()


def test_too_many_seeds_and_several_chapters_are_refused():
    with pytest.raises(ValueError, match=r"have only 64 patches .*lower it to that"):
        examples_of(Exemplar(name="exemplar", seeds=1000, shorter_side=128))
    assert len(examples_of(Exemplar(name="exemplar", seeds=64, shorter_side=128)).units.seeds) == 64
    photos = Photos()
    photos.parts = 2
    with pytest.raises(ValueError, match=r"raise\s+images.chapter_images"):
        Exemplar(name="exemplar").units(photos.chapter(0, 0, {}), 32, Images(), 0)


@pytest.mark.parametrize("softmax", ["weights", "memory"])
def test_seeds_and_invariance_are_shown(softmax):
    objective = Exemplar(name="exemplar", image_size=16, seeds=8, softmax=softmax)
    model, batch = objective.build(SMALL, Images()).eval(), examples_of(objective).batch(np.arange(8))
    shown, samples = objective.show(batch, Images()), objective.samples(model, Images(), 0, [batch])
    assert len(shown) == 8
    assert all(isinstance(one, Picture) and one.png.startswith(b"\x89PNG") for one in [*shown, *samples])
    assert "features move" in samples[0].caption


def test_the_curves_are_labelled_with_plain_numbers():
    moved = {title: [{"features": 1.0, "pixels": 2.0}] * 9 for title in CHANGES}
    with rc_context(ink_style()):
        figure = plot_moves(moved)
        save(figure, "png")
    ticks = [[label.get_text() for label in axis.get_xticklabels(which="both")] for axis in figure.axes]
    assert [[text for text in texts if text] for texts in ticks] == [
        ["-45", "0", "45"], ["-0.5", "0", "0.5"], ["0.5", "1", "2"], ["0.25", "1", "4"], ["-0.5", "0", "0.5"],
    ]  # fmt: skip


def test_the_photos_that_packages_bring_give_four_hundred_seeds(tmp_path):
    pictures = prepare([PictureSource("photos")], tmp_path, 0.05, decoded_side=96)
    chapter = StoredChapters(pictures, pictures.train, 0, 1_000_000).chapter(0, 0, {})
    assert len(Exemplar(name="exemplar", seeds=400).units(chapter, 32, Images(), 0).seeds) == 400


@pytest.mark.slow
def test_a_memory_is_the_same_on_two_processes_and_after_a_resume(tmp_path, launch, launch_together):
    plan = {"max_steps": 6, "global_batch_size": 10, "per_device_train_batch_size": 10, "logging_steps": 1,
            "eval_steps": 3, "save_steps": 3, "save_total_limit": 2}  # fmt: skip
    recipe = {
        "name": "alone", "model": SMALL, "optimizer": {"learning_rate": 1e-3}, "schedule": {}, "plan": plan,
        "objective": {"name": "exemplar", "seeds": 16, "image_size": 16, "softmax": "memory"}, "max_eval_samples": 32,
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert launch(tmp_path, "recipe.yaml").status == 0
    shared = {"name": "together", "plan": {**plan, "per_device_train_batch_size": 5}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**recipe, **shared}))
    ranks = launch_together(main, tmp_path, "recipe.yaml")
    assert [rank.status for rank in ranks] == [0, 0], "\n".join(rank.said for rank in ranks)
    one, two = (load_file(tmp_path / "runs" / name / "model/model.safetensors") for name in ("alone", "together"))
    assert one["memory"] == pytest.approx(two["memory"], abs=1e-4)
    folder = tmp_path / "runs/alone"
    whole = {name: tensor.clone() for name, tensor in one.items()}
    for name in ("finished.json", "state/step-6"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    again = load_file(folder / "model/model.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
