"""How do pictures and a model of them come together?  The collection and the weights, for `pretrain.run`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from corpus.images.opening import open_collection
from engine.run.agreement import agree, weights
from engine.run.checkpoint import Run
from engine.run.tracking import Tracker
from pretrain.assembly import Material, build_model
from pretrain.continued import take_trunk
from pretrain.recipe import PretrainRecipe

if TYPE_CHECKING:
    from accelerate import Accelerator


@contextmanager
def open_images(recipe: PretrainRecipe, run: Run, tracker: Tracker, accelerator: "Accelerator") -> Iterator[Material]:
    """Open what a recipe on images trains on. Errors: see `pretrain.run.pretrain`."""
    images, corpus = open_collection(recipe.image_collection, recipe.seed, accelerator)
    images = recipe.objective.study(corpus.train, images)
    model: Any = build_model(recipe, images)
    origin = take_trunk(model, recipe.model.get("from", ""), recipe.model.get("revision", ""))
    for line in origin.lines():
        tracker.note(line)
    agree(accelerator, model=weights(model))
    yield Material(images, corpus, model, origin)
