"""Which system is the best, pretrained on the same text for the same time?  The lecture's Table 1, made anew.

    cloze compare recipes/table-1/table-1.yaml
    cloze compare recipes/table-1/table-1.yaml --name try/table-1 --minutes 1 --max_train_samples 500

Each step is a command that a user would type: a vocabulary, a pretraining, fine-tunings. A finished step is not
repeated, and one that was stopped resumes. After each the page runs/NAME/comparison.html is written again.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from compare.amount import characters_per_token, count_steps, find_slowest
from compare.commands import Commands, do_each
from compare.page import write_page
from compare.recipe import Arm, CompareRecipe, System
from engine.run.disk import alone, read_json, whole_file
from engine.run.finite import strict_json
from engine.run.processes import STOPPED
from engine.run.recipe import find_recipe, load, read, resolved
from engine.run.runtime import program, speak_plainly
from engine.run.starting import INTERRUPTED
from finetune.recipe import FinetuneRecipe
from finetune.table.standings import GLUE_TASKS
from finetune.tasks.task import find_task
from pretrain.recipe import PretrainRecipe

AFTER_MINUTES: tuple[Arm, ...] = ("minutes", "untrained")  # that are fine-tuned once a system has had its minutes
MAY_CHANGE = ("tasks", "large_tasks", "seeds", "large_seeds", "same", "jobs")  # they add runs; jobs: how many at once


@program
def main(argv: list[str]) -> None:
    speak_plainly()
    compare(read(CompareRecipe, argv, "python -m compare.run", "recipes/table-1/table-1.yaml --minutes 10"))


def compare(recipe: CompareRecipe) -> Path:
    """Do every step of a comparison that is not done yet. Return the page.

    Errors: ValueError for settings that differ from those that the folder was begun with; SystemExit where a step ends
    with an error, which it has said, or is stopped.
    """
    with alone(recipe.folder, "comparing in"), Commands(recipe.threads) as commands:
        check_recipes(recipe)
        check_settings(recipe)
        check_text(recipe)
        steps = Steps(recipe, commands)
        try:
            for system in recipe.systems:
                steps.take(learn_vocabulary(recipe, system))
                characters_per_token(recipe, system)  # refuses what the page could not use, hours later
            do_each(steps.take_minutes, recipe.systems, recipe.jobs)
            if "text" in recipe.same:
                slowest = find_slowest(recipe)  # has read this very text in its minutes
                others = [system for system in recipe.systems if system != slowest]
                do_each(steps.take_text, others, recipe.jobs)
        except SystemExit as ended:
            if ended.code in (STOPPED, INTERRUPTED):
                print("stopped; the same command resumes from here", flush=True)
            raise
        page = write_page(recipe)
    print(f"the comparison is {page}")
    return page


def check_recipes(recipe: CompareRecipe) -> None:
    """Refuse what a step would find to be wrong hours later. Errors: FileNotFoundError and ValueError."""
    tasks = [find_task(task).name for task in (*recipe.tasks, *recipe.large_tasks)]
    if not GLUE_TASKS.intersection(tasks):
        raise ValueError(
            f"{', '.join(tasks)}: no column in the GLUE table, by which systems are compared; name one task or more of "
            f"{', '.join(sorted(GLUE_TASKS))}"
        )
    for system in recipe.systems:
        find_recipe(Path(system.tokenizer))
        for step in finetunings(recipe, system, "minutes"):
            if read(FinetuneRecipe, list(step.command[1:])).grid:
                raise ValueError(
                    f"{system.finetune} tries the settings of a `grid:`, and here each system has one setting, "
                    "whose seeds are compared: remove `grid:`, or set its best values"
                )


def check_settings(recipe: CompareRecipe) -> None:
    """Keep what the folder was begun with, and refuse another setting. Errors: ValueError."""
    path = recipe.folder / "settings.json"
    now = {name: value for name, value in resolved(recipe).items() if name not in MAY_CHANGE}
    before = read_json(path, advice=f"delete {recipe.folder}, and compare anew") if path.exists() else now
    for name, value in now.items():
        if before.get(name) != value:
            raise ValueError(
                f"{recipe.folder} was begun with another {name} ({before.get(name)!r} there, {value!r} here); choose "
                "another --name, or delete that folder"
            )
    whole_file(path, strict_json(now, indent=1).encode())


def check_text(recipe: CompareRecipe) -> None:
    """Refuse systems that would read different texts. Errors: ValueError."""
    first, *others = recipe.systems
    for system in others:
        if name_text(system) != name_text(first):
            raise ValueError(
                f"{first.pretrain} and {system.pretrain} differ in their `corpus:` section, and only what is "
                "pretrained on the same text can be compared; make them alike"
            )


def name_text(system: System) -> dict[str, Any]:
    """A system's corpus, but for its blanks: a byte-level vocabulary keeps those that others do not tell apart."""
    corpus = resolved(load(PretrainRecipe, Path(system.pretrain)).corpus)
    for source in corpus["sources"]:
        del source["whitespace"]
    return corpus


# The steps


@dataclass(frozen=True)
class Step:
    """A command, and the files that are there once it need not be called again."""

    words: str
    command: tuple[str, ...]
    leaves: tuple[Path, ...]
    run: Path | None = None  # of a pretraining, which is told what it takes of the processor


def learn_vocabulary(recipe: CompareRecipe, system: System) -> Step:
    folder = recipe.vocabulary(system)
    name = folder.relative_to("runs").as_posix()
    return Step(
        f"vocabulary of {system.name}", ("tokenizer", system.tokenizer, "--name", name), (folder / "report.json",)
    )


def pretraining(recipe: CompareRecipe, system: System, arm: Arm, *budget: str) -> Step:
    folder = recipe.pretrained(system, arm)
    name, vocabulary = folder.relative_to("runs").as_posix(), recipe.vocabulary(system) / "tokenizer"
    options = ("--name", name, "--tokenizer", vocabulary.as_posix(), *budget)
    command = ("pretrain", system.pretrain, *options)
    return Step(f"pretrain {system.name}, same {arm}", command, (folder / "finished.json",), folder)


def finetunings(recipe: CompareRecipe, system: System, arm: Arm) -> Iterator[Step]:
    """Fine-tune what an arm of a system has pretrained; untrained, the network of the same architecture."""
    folder = recipe.finetuned(system, arm)
    common = (
        "finetune", system.finetune, "--name", folder.relative_to("runs").as_posix(), "--label", system.name,
        "--model", recipe.pretrained(system, arm).as_posix(),
        "--init", "random" if arm == "untrained" else "pretrained",
        "--max_train_samples", str(recipe.max_train_samples), "--save_model", "False",
    )  # fmt: skip
    for tasks, seeds in ((recipe.tasks, recipe.seeds), (recipe.large_tasks, recipe.large_seeds)):
        if tasks:
            words = f"fine-tune {system.name}, {'same ' * (arm != 'untrained')}{arm}, on {', '.join(tasks)}"
            jobs = [folder / task.replace("/", "-") / f"seed-{seed}" for task in tasks for seed in seeds]
            leaves = tuple(job / "finished.json" for job in jobs)
            yield Step(words, (*common, "--task", *tasks, "--seeds", *map(str, seeds)), leaves)


# How steps are taken


class Steps:
    """Takes the steps of a comparison that are not done yet; of several systems at once, where `jobs` says so."""

    def __init__(self, recipe: CompareRecipe, commands: Commands):
        self.recipe = recipe
        self.commands = commands
        self.writing = Lock()  # of what all systems share: the page, and the file of their seconds

    def take_minutes(self, system: System) -> None:
        recipe = self.recipe
        budget = ("--plan.minutes", str(recipe.minutes), "--plan.clock", recipe.clock)
        self.take(pretraining(recipe, system, "minutes", *budget), system)
        for arm in AFTER_MINUTES:
            for step in finetunings(recipe, system, arm):
                self.take(step, system)

    def take_text(self, system: System) -> None:
        recipe = self.recipe
        budget = ("--plan.max_steps", str(count_steps(recipe, system)))
        self.take(pretraining(recipe, system, "text", *budget), system)
        for step in finetunings(recipe, system, "text"):
            self.take(step, system)

    def take(self, step: Step, system: System | None = None) -> None:
        """Call a step's command, record its processor time, and write the page. Errors: SystemExit."""
        if all(path.exists() for path in step.leaves):
            return
        if self.commands.stopped.is_set():
            sys.exit(STOPPED)
        log = self.recipe.log(system) if system and self.recipe.jobs > 1 else None
        where = f"\n   it says more in {log}" if log else ""
        print(f"\n== {step.words}\n   cloze {' '.join(step.command)}{where}", flush=True)
        status, seconds = self.commands.call(step.command, log)
        if log and status not in (0, STOPPED, INTERRUPTED):
            print(f"{step.words}: ended with status {status}; the end of {log} says why", flush=True)
        with self.writing:
            if step.run is not None:
                note_processor(self.recipe.folder, step.run, seconds)
            if status:
                sys.exit(status)  # the step has said why
            write_page(self.recipe)


def note_processor(folder: Path, run: Path, seconds: float) -> None:
    """Add what a launch of a run has taken of the processor."""
    path = folder / "processor.json"
    known = (
        read_json(path, advice="delete it; the seconds of earlier launches are then not known") if path.exists() else {}
    )
    name = run.relative_to(folder).as_posix()
    known[name] = round(known.get(name, 0.0) + seconds, 1)
    whole_file(path, json.dumps(known, indent=1).encode())


if __name__ == "__main__":
    main()
