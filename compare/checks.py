"""What would a step refuse, hours after a comparison was begun?  It is refused before anything is trained."""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from compare.recipe import CompareRecipe, System
from compare.steps import finetunings, learn_vocabulary, pretraining, within_minutes
from engine.run.disk import read_json, whole_file
from engine.run.finite import strict_json
from engine.run.recipe import differences, identity, load, read, resolved
from finetune.jobs import Job, list_jobs
from finetune.recipe import FinetuneRecipe
from finetune.table.standings import GLUE_TASKS
from finetune.tasks.task import find_task, open_task
from pretrain.recipe import PretrainRecipe
from tokenizer.recipe import TokenizerRecipe

MAY_CHANGE = ("tasks", "large_tasks", "seeds", "large_seeds", "same", "jobs")  # they add runs; jobs: how many at once


def check_recipes(recipe: CompareRecipe) -> None:
    """Read each step's recipe as its command will, and the rows of each task that is not done yet.

    Errors: FileNotFoundError and ValueError; FileExistsError for a finished job of another recipe.
    """
    tasks = [find_task(task).name for task in (*recipe.tasks, *recipe.large_tasks)]
    if not GLUE_TASKS.intersection(tasks):
        raise ValueError(
            f"{', '.join(tasks)}: no column in the GLUE table, by which systems are compared; name one task or more of "
            f"{', '.join(sorted(GLUE_TASKS))}"
        )
    for system in recipe.systems:
        read(TokenizerRecipe, list(learn_vocabulary(recipe, system).options))
        read(PretrainRecipe, list(pretraining(recipe, system, "minutes", *within_minutes(recipe)).options))
    check_text(recipe)
    jobs = list(list_finetunings(recipe))
    seen = set()
    for job in jobs:
        rows = (job.task, json.dumps(resolved(job.recipe.data), sort_keys=True))
        if not job.finished and rows not in seen:
            open_task(find_task(job.task), job.recipe.data)
            seen.add(rows)


def list_finetunings(recipe: CompareRecipe) -> Iterator[Job]:
    """The jobs of all fine-tunings. Errors: see `check_recipes`."""
    for system, arm in product(recipe.systems, recipe.arms):
        for step in finetunings(recipe, system, arm):
            wanted = read(FinetuneRecipe, list(step.options))
            refuse_grid(system, wanted)
            yield from list_jobs(wanted)


def refuse_grid(system: System, recipe: FinetuneRecipe) -> None:
    if recipe.grid:
        raise ValueError(
            f"{system.finetune} tries the settings of a `grid:`, and here each system has one setting, whose seeds are "
            "compared: remove `grid:`, or set its best values"
        )


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


def check_settings(recipe: CompareRecipe) -> None:
    """Refuse settings, also of the systems' recipes, other than the folder was begun with. Errors: ValueError."""
    path, now = settings_file(recipe), list_settings(recipe)
    kept = read_json(path, advice=f"delete {recipe.folder}, and compare anew") if path.exists() else {}
    before = {**now, **kept}  # one that an earlier version has begun kept no recipes
    if found := differences(before, now):
        raise ValueError(
            f"{recipe.folder} was begun with other settings ({'; '.join(found)}); restore them, choose another --name, "
            "or delete that folder"
        )


def keep_settings(recipe: CompareRecipe) -> None:
    """Leave in the folder what it is begun with, for `check_settings`."""
    whole_file(settings_file(recipe), strict_json(list_settings(recipe), indent=1).encode())


def settings_file(recipe: CompareRecipe) -> Path:
    return recipe.folder / "settings.json"


def list_settings(recipe: CompareRecipe) -> dict[str, Any]:
    """All that decides over the scores, as it stands in a JSON file."""
    found = {name: value for name, value in resolved(recipe).items() if name not in MAY_CHANGE}
    found["recipes"] = {path: said for system in recipe.systems for path, said in read_recipes(system)}
    return json.loads(strict_json(found))


def read_recipes(system: System) -> Iterator[tuple[str, Any]]:
    """What a system's recipes say, by their files."""
    yield system.tokenizer, identity(load(TokenizerRecipe, Path(system.tokenizer)))
    yield system.pretrain, identity(load(PretrainRecipe, Path(system.pretrain)))
    yield system.finetune, identity(load(FinetuneRecipe, Path(system.finetune)))
