"""From a recipe to a pretrained model folder.

    cloze pretrain RECIPE.yaml [--key value ...]
    accelerate launch --config_file accelerate_configs/multi_gpu.yaml -m pretrain.run RECIPE.yaml [--key value ...]

The same command resumes from the newest complete state; a finished run is left as it is.
"""

from dataclasses import replace
from pathlib import Path

from corpus.text.medium import Text
from corpus.text.opening import open_corpus
from engine.publish.hub import Publisher
from engine.run.agreement import agree, surroundings, weights
from engine.run.architecture import count_positions
from engine.run.checkpoint import Run
from engine.run.precision import Precision, precision_of
from engine.run.recipe import read
from engine.run.runtime import make_accelerator, program
from engine.run.tracking import Tracker
from networks import heads
from pretrain.assembly import build_model, train_and_export
from pretrain.continued import check_tokenizer, take_weights
from pretrain.enough import check_amount
from pretrain.recipe import PretrainRecipe
from tokenizer.load import fit_tokenizer, load_tokenizer, tokenizer_hash


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

    tokenizer = load_tokenizer(recipe.tokenizer_source, recipe.tokenizer_revision)
    text = Text.of(tokenizer, tokenizer_hash(tokenizer))
    model = build_model(recipe, text)
    recipe.check_examples(count_positions(model))
    source, revision = recipe.model.get("from", ""), recipe.model.get("revision", "")
    if source:
        check_tokenizer(tokenizer, source, revision)
    origin = take_weights(model, source, revision)
    for line in origin.lines():
        tracker.note(line)
    if not heads.is_known(model.config.model_type):
        tracker.note(
            f"a {model.config.model_type} makes its guesses at all positions, of which some are asked: slower than "
            "where only these meet the vocabulary"
        )
    fit_tokenizer(tokenizer, model)
    agree(accelerator, tokenizer=text.stamp, model=weights(model))
    if accelerator.is_main_process and not (run.folder / "data_report.md").exists():
        for line in check_amount(recipe, tokenizer.backend_tokenizer):
            tracker.note(line)
    held_out_tokens = recipe.max_eval_samples * max(phase.size for phase in recipe.phases)
    with open_corpus(recipe.corpus, text, recipe.seed, run.folder, accelerator, held_out_tokens) as corpus:
        return train_and_export(recipe, text, corpus, model, run, tracker, publisher, accelerator, origin)


def extension_words(recipe: PretrainRecipe, run: Run) -> str:
    """What becomes of the learning rate when a finished run goes on."""
    schedule = recipe.schedule
    if schedule.lr_scheduler_type == "constant_with_warmup" and not schedule.warmup_ratio:
        rates = "the learning rate stays as it is, so it ends as a run that was planned so from its start"
    else:
        rates = (
            f"the learning rate goes on where the {schedule.lr_scheduler_type} schedule of the longer plan stands at "
            "this point, so it differs from a run that was planned so from its start"
        )
    return f"{run.folder} was finished and goes on, with more {run.extended}: {rates}"


if __name__ == "__main__":
    main()
