"""Which system is the best, pretrained on the same text for the same time?  The lecture's Table 1, made anew.

    cloze compare recipes/table-1/table-1.yaml
    cloze compare recipes/table-1/table-1.yaml --name try/table-1 --minutes 1 --max_train_samples 500

Each step is a command that a user would type: a vocabulary, a pretraining, fine-tunings. A finished step is not
repeated, and one that was stopped resumes. After each the page runs/NAME/comparison.html is written again.
"""

import json
import sys
from pathlib import Path
from threading import Lock

from compare.amount import characters_per_token, count_steps, find_slowest
from compare.checks import check_recipes, check_settings, keep_settings
from compare.commands import Commands, do_each
from compare.page import write_page
from compare.recipe import AFTER_MINUTES, CompareRecipe, System
from compare.steps import Step, finetunings, learn_vocabulary, pretraining, within_minutes
from engine.run.disk import alone, read_json, whole_file
from engine.run.processes import STOPPED
from engine.run.recipe import read
from engine.run.runtime import program, speak_plainly
from engine.run.starting import INTERRUPTED


@program
def main(argv: list[str]) -> None:
    speak_plainly()
    compare(read(CompareRecipe, argv, "python -m compare.run", "recipes/table-1/table-1.yaml --minutes 10"))


def compare(recipe: CompareRecipe) -> Path:
    """Do every step of a comparison that is not done yet. Return the page.

    Errors: those of `check_settings` and `check_recipes`; SystemExit where a step ends with an error, which it has
    said, or is stopped.
    """
    with alone(recipe.folder, "comparing in"), Commands(recipe.threads) as commands:
        check_settings(recipe)
        check_recipes(recipe)
        keep_settings(recipe)
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


# How steps are taken


class Steps:
    """Takes the steps of a comparison that are not done yet; of several systems at once, where `jobs` says so."""

    def __init__(self, recipe: CompareRecipe, commands: Commands):
        self.recipe = recipe
        self.commands = commands
        self.writing = Lock()  # of what all systems share: the page, and the file of their seconds

    def take_minutes(self, system: System) -> None:
        recipe = self.recipe
        self.take(pretraining(recipe, system, "minutes", *within_minutes(recipe)), system)
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
