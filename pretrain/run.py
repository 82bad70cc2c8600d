"""From a recipe to a pretrained model folder.

    cloze pretrain RECIPE.yaml [--key value ...]
    accelerate launch --config_file accelerate_configs/multi_gpu.yaml -m pretrain.run RECIPE.yaml [--key value ...]

The same command resumes from the newest complete state; a finished run is left as it is.
"""

from dataclasses import replace
from pathlib import Path

from corpus.images.medium import Images
from corpus.text.medium import Text
from engine.publish.hub import Publisher
from engine.run.agreement import agree, surroundings
from engine.run.checkpoint import Run
from engine.run.precision import Precision, precision_of
from engine.run.recipe import read
from engine.run.runtime import make_accelerator, program
from engine.run.tracking import Tracker
from pretrain.assembly import train_and_export
from pretrain.images import open_images
from pretrain.recipe import PretrainRecipe
from pretrain.text import open_text

OPENERS = {Text: open_text, Images: open_images}  # by medium: of its material, and of a model for it


@program
def main(argv: list[str]) -> None:
    example = "recipes/pretrain/demo.yaml --name try/bert --plan.max_steps 1000"
    pretrain(read(PretrainRecipe, argv, "python -m pretrain.run", example))


def pretrain(recipe: PretrainRecipe) -> Path:
    """Pretrain a model by a recipe, or resume where an earlier call or launch stopped. Return the model's folder.

    Errors: ValueError and OSError for what is wrong with recipe, data or disk; `engine.run.processes.Stopped` once a
    signal came and the state is saved; FloatingPointError for a training that is lost.
    """
    folder = Path("runs") / recipe.name
    accelerator = make_accelerator(recipe.seed, Precision.asked_by(recipe, folder))
    agree(accelerator, **vars(recipe), **surroundings(accelerator))
    recipe = replace(recipe, **precision_of(accelerator))
    run = Run(folder, recipe, accelerator, recipe.overwrite, recipe.resume_from_checkpoint)
    tracker = Tracker(run.folder, accelerator, recipe.report_to)
    publisher = Publisher(recipe.hub, run.folder, accelerator, tracker.note)
    if run.extended:
        tracker.note(extension_words(recipe, run))
    if run.finished:
        publisher.finish(run.folder / "model", run.finished["steps"])
        tracker.note(f"{run.folder} is finished; its model is {run.folder / 'model'}")
        return run.folder / "model"

    with OPENERS[recipe.objective.medium](recipe, run, tracker, accelerator) as found:
        return train_and_export(
            recipe, found.medium, found.corpus, found.model, run, tracker, publisher, accelerator, found.origin
        )


def extension_words(recipe: PretrainRecipe, run: Run) -> str:
    """What becomes of the learning rate when a finished run is extended."""
    schedule = recipe.schedule
    if schedule.lr_scheduler_type == "constant_with_warmup" and not schedule.warmup_ratio:
        rates = "the learning rate stays as it is, so it ends as a run that was planned so from its start"
    else:
        rates = (
            f"the learning rate continues where the {schedule.lr_scheduler_type} schedule of the longer plan stands at "
            "this point, so it differs from a run that was planned so from its start"
        )
    return f"{run.folder} was finished and is extended, with more {run.extended}: {rates}"


if __name__ == "__main__":
    main()
