"""Which commands does a comparison consist of?  The very ones that a user would type."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compare.recipe import Arm, CompareRecipe, System


@dataclass(frozen=True)
class Step:
    """A command, and the files that are there once it need not be called again."""

    words: str
    command: tuple[str, ...]
    leaves: tuple[Path, ...]
    run: Path | None = None  # of a pretraining, which is told what it takes of the processor

    @property
    def options(self) -> tuple[str, ...]:
        """The command's recipe, and its options."""
        return self.command[1:]


def learn_vocabulary(recipe: CompareRecipe, system: System) -> Step:
    folder = recipe.vocabulary(system)
    name = folder.relative_to("runs").as_posix()
    return Step(
        f"vocabulary of {system.name}", ("tokenizer", system.tokenizer, "--name", name), (folder / "report.json",)
    )


def within_minutes(recipe: CompareRecipe) -> tuple[str, ...]:
    """The options of a pretraining that ends with the comparison's minutes."""
    return ("--plan.minutes", str(recipe.minutes), "--plan.clock", recipe.clock)


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
