"""From a recipe to a pretrained model folder.

    accelerate launch --config_file accelerate_configs/cpu.yaml -m pretrain.run RECIPE.yaml [--key value ...]

The same command goes on from the newest complete state; a finished run is left as it is.
"""

import math
from collections.abc import Callable
from pathlib import Path

from torch import nn

from engine.agreement import agree, surroundings, weights
from engine.batches import Batches, Position
from engine.checkpoint import Run
from engine.curves import curves
from engine.evaluation import measure
from engine.flops import count_flops
from engine.hub import Publisher
from engine.loop import train
from engine.recipe import read
from engine.runtime import make_accelerator, program
from engine.tracking import Tracker
from pretrain.card import card
from pretrain.data_report import data_report
from pretrain.examples import ChapterExamples, fixed_batches, open_chapters
from pretrain.recipe import PretrainRecipe
from pretrain.text import opened
from pretrain.vocabulary import Vocabulary
from tokenizer.load import load_tokenizer, tokenizer_hash


@program
def main(argv: list[str]) -> None:
    recipe = read(PretrainRecipe, argv)
    objective, seed = recipe.objective, recipe.seed
    accelerator = make_accelerator(seed)
    agree(accelerator, **vars(recipe), **surroundings(accelerator))
    run = Run(Path("runs") / recipe.name, recipe, accelerator, recipe.overwrite, recipe.state)
    tracker = Tracker(run.folder, accelerator, recipe.trackers)
    publisher = Publisher(recipe.hub, run.folder, accelerator, tracker.note)
    if run.finished:
        publisher.finish(run.folder / "model", run.finished["steps"])
        tracker.note(f"{run.folder} is finished; its model is {run.folder / 'model'}")
        return

    tokenizer = load_tokenizer(recipe.tokenizer)
    vocabulary = Vocabulary.of(tokenizer)
    vocabulary.require(objective.special_tokens)
    model = objective.build(recipe.model, vocabulary)
    agree(accelerator, tokenizer=tokenizer_hash(tokenizer), model=weights(model))
    held_out_tokens = recipe.evaluation_examples * max(phase.length for phase in recipe.phases)
    with opened(recipe.corpus, tokenizer, seed, run.folder, accelerator, held_out_tokens) as corpus:
        run.bind(corpus=corpus.fingerprint, tokenizer=tokenizer_hash(tokenizer))
        open_chapter = open_chapters(corpus.text, objective, vocabulary, seed)
        open_held_out = open_chapters(corpus.held_out, objective, vocabulary, seed)
        unseen = open_held_out(Position(), recipe.length)
        evaluation = fixed_batches(unseen, recipe.evaluation_examples, recipe.plan.device_batch)
        plan = recipe.plan
        if plan.flops:
            plan = plan.in_steps(flops_per_step(recipe, model, open_held_out))
        batches = Batches(open_chapter, plan, accelerator, recipe.phases, corpus.reached)
        if accelerator.is_main_process and not (run.folder / "data_report.md").exists():
            report = data_report(corpus.sources, corpus.stores, batches.examples(), objective, tokenizer)
            (run.folder / "data_report.md").write_text(report, encoding="utf-8")
            tracker.note(report)
        baselines = {f"baseline_{name}": value for name, value in objective.baselines(evaluation).items()}

        judged: dict[int, dict[str, float]] = {}  # what each evaluation found

        def evaluate(model: nn.Module, step: int) -> dict[str, float]:
            sums, counts = measure(model, objective.loss, evaluation, accelerator)
            if accelerator.is_main_process:
                tracker.show("samples", step, objective.samples(model, tokenizer, seed, evaluation))
            found = judged[step] = objective.metrics(sums, counts)
            return {f"eval_{name}": value for name, value in found.items()} | baselines

        def publish(step: int) -> None:
            if target := publisher.wants(step):
                found = judged.get(step, {})
                if not all(math.isfinite(value) for name, value in found.items() if name.endswith("_loss")):
                    tracker.note(f"step {step} is not published: its evaluation is not finite")
                    return
                about = card(recipe, model, tokenizer, corpus.sources, corpus.stores, found)
                run.export(model, tokenizer, about, recipe.hub.repo, target)
                losses = [value for name, value in found.items() if name.endswith("_loss")]
                publisher.publish(target, sum(losses) if losses else None)

        steps = train(model, objective.loss, batches, plan, recipe.optimizer, recipe.schedule, seed, run, tracker,
                      accelerator, evaluate, run.folder / "profile" if recipe.profile else None, publish)  # fmt: skip
        about = card(recipe, model, tokenizer, corpus.sources, corpus.stores, judged[steps])
    folder = run.export(model, tokenizer, about, recipe.hub.repo)
    if accelerator.is_main_process:
        picture = curves(run.folder / "metrics.jsonl", objective.panels)
        (run.folder / "curves.svg").write_text(picture, encoding="utf-8")
    run.finish(steps=steps, parameters=model.num_parameters())
    tracker.note(f"the report is {run.folder / 'report.html'}")
    publisher.finish(folder, steps)
    tracker.close()
    tracker.note(f"the model is {folder}")


def flops_per_step(
    recipe: PretrainRecipe, model: nn.Module, open_chapter: Callable[[Position, int], ChapterExamples]
) -> float:
    """What a step takes, averaged over the phases, by what sixteen examples take."""
    total = 0.0
    for phase in recipe.phases:
        some = fixed_batches(open_chapter(Position(), phase.length), 16, 16)[0]
        rows = len(some.x["input_ids"])
        total += phase.share * count_flops(model, recipe.objective.loss, some) * recipe.plan.global_batch / rows
    return total


if __name__ == "__main__":
    main()
