"""From a recipe to a pretrained model folder.

    accelerate launch --config_file accelerate_configs/cpu.yaml -m pretrain.run RECIPE.yaml [--key value ...]

The same command goes on from the newest complete state; a finished run is left as it is.
"""

from dataclasses import replace
from pathlib import Path

from torch import nn

from corpus.store import prepare
from engine.batches import Batches
from engine.checkpoint import Run
from engine.curves import curves
from engine.evaluation import measure
from engine.loop import train
from engine.recipe import read
from engine.runtime import make_accelerator, program
from engine.tracking import Tracker
from pretrain.data_report import data_report
from pretrain.examples import epochs, fixed_batches
from pretrain.recipe import PretrainRecipe
from pretrain.vocabulary import Vocabulary
from tokenizer.load import load_tokenizer, tokenizer_hash


@program
def main(argv: list[str]) -> None:
    recipe = read(PretrainRecipe, argv)
    objective = recipe.objective
    accelerator = make_accelerator(recipe.seed)
    run = Run(Path("runs") / recipe.name, replace(recipe, overwrite=False), accelerator, recipe.overwrite)
    tracker = Tracker(run.folder, accelerator)
    if run.finished:
        tracker.note(f"{run.folder} is finished; its model is {run.folder / 'model'}")
        return

    tokenizer = load_tokenizer(recipe.tokenizer)
    vocabulary, stamp, corpus = Vocabulary.of(tokenizer), tokenizer_hash(tokenizer), recipe.corpus
    model = objective.build(recipe.model, vocabulary)
    with accelerator.main_process_first():
        text, held_out = prepare(corpus.sources, tokenizer, stamp, Path(corpus.stores), corpus.held_out)
    run.bind(corpus=text.manifest["fingerprint"], tokenizer=stamp)
    open_epoch = epochs(text, objective, vocabulary, recipe.length, recipe.seed)
    batches = Batches(open_epoch, recipe.plan, accelerator)
    unseen = epochs(held_out, objective, vocabulary, recipe.length, recipe.seed)(0)
    evaluation = fixed_batches(unseen, recipe.evaluation_examples, recipe.plan.device_batch)
    if accelerator.is_main_process:
        report = data_report(text, held_out, batches.epoch(0), objective, tokenizer)
        (run.folder / "data_report.md").write_text(report, encoding="utf-8")
        tracker.note(report)

    baselines = {f"baseline_{name}": value for name, value in objective.baselines(evaluation).items()}

    def evaluate(model: nn.Module) -> dict[str, float]:
        sums, counts = measure(model, objective.loss, evaluation, accelerator)
        found = objective.metrics(sums, counts)
        return {f"eval_{name}": value for name, value in found.items()} | baselines

    train(model, objective.loss, batches, recipe.plan, recipe.optimizer, recipe.schedule, recipe.seed, run, tracker,
          accelerator, evaluate)  # fmt: skip
    folder = run.export(model, tokenizer)
    if accelerator.is_main_process:
        picture = curves(run.folder / "metrics.jsonl", objective.panels)
        (run.folder / "curves.svg").write_text(picture, encoding="utf-8")
    run.finish(steps=recipe.plan.steps, parameters=model.num_parameters())
    tracker.note(f"the model is {folder}")


if __name__ == "__main__":
    main()
