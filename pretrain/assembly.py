"""Which parts does a pretraining run consist of?  Put together once, for the program, the demo and the benchmarks."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn
from transformers import PreTrainedModel

from corpus.medium import Medium, OpenCorpus
from engine.publish.card import Card
from engine.publish.curves import curves
from engine.publish.hub import Publisher
from engine.run.checkpoint import Run
from engine.run.tracking import Tracker, fitted
from engine.train.batch import Batch
from engine.train.batches import Batches, Position
from engine.train.evaluation import measure
from engine.train.flops import count_flops
from engine.train.loop import Hooks, Training, train
from engine.train.plan import Plan
from pretrain import online_probe
from pretrain.card import card
from pretrain.continued import FRESH, Origin
from pretrain.data_report import write_data_report
from pretrain.examples import ChapterExamples, check_answers, fixed_batches, open_chapters
from pretrain.online_probe import OnlineProbe
from pretrain.recipe import PretrainRecipe

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Assembly:
    """What is trained, on what, and what it is evaluated on."""

    model: PreTrainedModel
    plan: Plan  # the recipe's, in steps where it is in FLOPs
    batches: Batches[ChapterExamples]
    evaluation: list[Batch]  # held-out examples, always the same ones
    origin: Origin = FRESH  # of the weights


@dataclass(frozen=True)
class Material:
    """What a run trains on, opened, and the model that is trained."""

    medium: Medium
    corpus: OpenCorpus
    model: PreTrainedModel
    origin: Origin = FRESH  # of the weights


def build_model(recipe: PretrainRecipe, medium: Medium) -> PreTrainedModel:
    """The recipe's model with fresh weights. Errors: ValueError for a medium or a size that does not do."""
    recipe.objective.check(medium)
    model = recipe.objective.build(recipe.model, medium)
    if not isinstance(model, PreTrainedModel):
        raise TypeError(
            f"{recipe.objective.name} builds a {type(model).__name__}; it must be a PreTrainedModel (networks/), or "
            "nothing could open it again"
        )
    return model


def assemble(
    recipe: PretrainRecipe, medium: Medium, corpus: OpenCorpus, model: PreTrainedModel, accelerator: "Accelerator"
) -> Assembly:
    """Put a run together. Errors: ValueError if its batches cannot be divided as the objective needs."""
    objective, plan = recipe.objective, recipe.plan
    micro_batches = plan.global_batch_size // (plan.per_device_train_batch_size * accelerator.num_processes)
    if objective.together and micro_batches > 1:
        raise ValueError(
            f"{objective.name} compares the examples of a batch with each other, and accumulation would cut the batch: "
            f"set plan.per_device_train_batch_size to {plan.global_batch_size // accelerator.num_processes}"
        )
    open_chapter = open_chapters(corpus.train, objective, medium, recipe.seed)
    unseen_of, purpose = (corpus.train, "asked again") if objective.asks_again else (corpus.held_out, "chapter")
    open_held_out = open_chapters(unseen_of, objective, medium, recipe.seed, purpose)
    unseen = open_held_out(Position(), objective.size)
    evaluation = fixed_batches(unseen, recipe.max_eval_samples, plan.per_device_train_batch_size)
    held_out = f"{medium.section}.held_out"
    check_answers(
        evaluation,
        objective,
        f"the held-out examples ask nothing, so nothing could be judged; raise {held_out}, or give more text",
    )
    if plan.flops:
        plan = plan.in_steps(flops_per_step(recipe, model, open_held_out))
    batches = Batches(open_chapter, plan, accelerator, recipe.phases, corpus.note_progress)
    return Assembly(model, plan, batches, evaluation)


def flops_per_step(
    recipe: PretrainRecipe, model: nn.Module, open_chapter: Callable[[Position, int], ChapterExamples]
) -> float:
    """What a step takes, averaged over the phases, by what sixteen examples take."""
    total = 0.0
    for phase in recipe.phases:
        some = fixed_batches(open_chapter(Position(), phase.size), 16, 16)[0]
        flops = count_flops(model, recipe.objective.loss, some)
        total += phase.share * flops * recipe.plan.global_batch_size / len(some.sizes)
    return total


def training_of(recipe: PretrainRecipe, medium: Medium, parts: Assembly, hooks: Hooks, run: Path) -> Training:
    """The parts as the loop takes them."""
    is_streamed = recipe.corpus is not None and recipe.corpus.mode == "stream"
    advice = "prepare the corpus first (corpus.mode: store, cloze prepare)" if is_streamed else ""
    return Training(
        parts.model, recipe.objective.loss, parts.batches, parts.plan, recipe.optimizer, recipe.schedule, recipe.seed,
        medium.unit, advice, hooks, run / "profile" if recipe.profile else None, keeps_last=True,
    )  # fmt: skip


def train_and_export(
    recipe: PretrainRecipe, medium: Medium, corpus: OpenCorpus, model: PreTrainedModel, run: Run, tracker: Tracker,
    publisher: Publisher, accelerator: "Accelerator", origin: Origin = FRESH,
) -> Path:  # fmt: skip
    """Train, evaluate, save, export and report. Return the model's folder.

    Errors: ValueError if the run began with another corpus or processor; what `engine.train.loop.train` raises.
    """
    run.bind(corpus=corpus.fingerprint, **{medium.processor_name: medium.stamp})
    parts = replace(assemble(recipe, medium, corpus, model, accelerator), origin=origin)
    if accelerator.is_main_process and not (run.folder / "data_report.md").exists():
        said = write_data_report(run.folder, corpus, parts.batches.examples(), recipe.objective, medium)
        tracker.note(fitted(said, rows=3))
        tracker.note(f"all of it is in {run.folder / 'data_report.md'}")
    checks = Checks(recipe, medium, corpus, parts, run, tracker, publisher, accelerator)
    steps = train(training_of(recipe, medium, parts, checks, run.folder), run, tracker, accelerator)
    if steps not in checks.found:  # an earlier launch evaluated it, and was stopped after it
        checks.evaluate(model.eval(), steps)
    folder = run.export(model, recipe.objective.saved_beside(model, medium), checks.card(steps), recipe.hub.repo)
    if accelerator.is_main_process:
        picture = curves(run.folder / "metrics.jsonl", (*recipe.objective.panels, *online_probe.PANELS))
        (run.folder / "curves.svg").write_text(picture, encoding="utf-8")
    run.finish(steps=steps, parameters=model.num_parameters())
    tracker.note(f"the report is {run.folder / 'report.html'}")
    publisher.finish(folder, steps)
    tracker.close()
    tracker.note(f"the model is {folder}")
    return folder


class Checks(Hooks):
    """Evaluations on the held-out examples, and what is published of them."""

    def __init__(
        self, recipe: PretrainRecipe, medium: Medium, corpus: OpenCorpus, parts: Assembly, run: Run, tracker: Tracker,
        publisher: Publisher, accelerator: "Accelerator",
    ):  # fmt: skip
        self.recipe, self.medium, self.corpus, self.parts = recipe, medium, corpus, parts
        self.run, self.tracker, self.publisher, self.accelerator = run, tracker, publisher, accelerator
        self.baselines = recipe.objective.baselines(parts.evaluation)
        self.found: dict[int, dict[str, float]] = {}  # by step
        size, probes = recipe.objective.size, recipe.probe_every > 0
        self.online = OnlineProbe.of(medium, corpus, parts.model, size, recipe.seed) if probes else None

    def evaluate(self, model: nn.Module, step: int) -> dict[str, float]:
        objective, evaluation = self.recipe.objective, self.parts.evaluation
        sums, counts = measure(model, objective.loss, evaluation, self.accelerator)
        if self.accelerator.is_main_process:
            exhibits = objective.samples(model, self.medium, self.recipe.seed, evaluation)
            self.tracker.show("samples", step, exhibits)
        found = self.found[step] = objective.metrics(sums, counts)
        baselines = {f"baseline_{name}": value for name, value in self.baselines.items()}
        is_due = online_probe.is_due(step, self.parts.plan, self.recipe.probe_every)
        looked = self.online.measure(model, self.accelerator) if self.online and is_due else {}
        return {f"eval_{name}": value for name, value in found.items()} | baselines | looked

    def card(self, step: int) -> Card:
        """The card of the model of a step, with what its evaluation found, if there was one."""
        recipe, found = self.recipe, self.found.get(step, {})
        return card(recipe, self.parts.model, self.medium, self.corpus, found, self.baselines, self.parts.origin)

    def in_words(self, found: dict[str, float]) -> list[str]:
        return [term.in_words(found) for term in self.recipe.objective.terms] + online_probe.in_words(found)

    def publish(self, step: int) -> None:
        target = self.publisher.wants(step)
        if not target:
            return
        found = self.found.get(step, {})
        losses = [value for name, value in found.items() if name.endswith("_loss")]
        if not all(map(math.isfinite, losses)):
            self.tracker.note(f"step {step} is not published: its evaluation is not finite")
            return
        beside = self.recipe.objective.saved_beside(self.parts.model, self.medium)
        self.run.export(self.parts.model, beside, self.card(step), self.recipe.hub.repo, target)
        self.publisher.publish(target, sum(losses) if losses else None)
