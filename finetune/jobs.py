"""Which jobs does a recipe ask for, and which is to be done next?  Tasks × seeds × grid search.

A job is a task with a seed and a point of the grid. It lives in a folder of its own, whose `finished.json` is the
results line: so a job is done or not done, whatever was killed when, and a run's results.jsonl can always be made anew.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.run.disk import whole_file
from engine.run.finite import strict_json
from engine.run.folders import JOB, check_folder, read_finished
from engine.run.recipe import changed
from engine.run.system import lockf
from finetune.recipe import FinetuneRecipe
from finetune.tasks.task import find_task

RUNS = Path("runs")


@dataclass(frozen=True)
class Job:
    """One fine-tuning. `recipe` is its own: one task, one seed, the grid's point and the task's settings in place."""

    task: str
    seed: int
    setting: dict[str, Any]  # the grid's point, by dotted key
    recipe: FinetuneRecipe
    folder: Path

    @property
    def words(self) -> str:
        """What it is, in words: `glue/rte, seed 0, learning_rate=5e-05`."""
        return ", ".join(filter(None, [self.task, f"seed {self.seed}", name_setting(self.setting)]))

    @property
    def finished(self) -> dict[str, Any] | None:
        return read_finished(self.folder)


def list_jobs(recipe: FinetuneRecipe) -> list[Job]:
    """Every job of the recipe; a task that another one starts from comes before it.

    Errors: ValueError for unknown tasks and keys and for values of the wrong kind; FileExistsError for a finished job
    of another recipe, unless the run is to be overwritten.
    """
    check_tasks(recipe)
    found = [
        make_job(recipe, task, seed, setting)
        for task in order_tasks(recipe)
        for setting in list_points(recipe)
        for seed in recipe.seeds
    ]
    for job in found:
        if job.finished and not recipe.overwrite:  # which deletes it before anything is done
            check_folder(job.folder, job.recipe, JOB)
    return found


def make_job(recipe: FinetuneRecipe, task: str, seed: int, setting: dict[str, Any]) -> Job:
    own = replace(recipe, grid={}, settings={}, task=(task,), seeds=(seed,), overwrite=False,
                  start_from={task: recipe.start_from[task]} if task in recipe.start_from else {})  # fmt: skip
    own = changed(own, recipe.settings.get(task, {}), f"settings.{task}")
    own = changed(own, setting, "grid")
    parts = [task.replace("/", "-"), *([name_setting(setting)] if setting else []), f"seed-{seed}"]
    return Job(task, seed, setting, own, RUNS.joinpath(recipe.name, *parts))


def list_points(recipe: FinetuneRecipe) -> list[dict[str, Any]]:
    """Every combination of the grid's values; one empty point without a grid."""
    for key, values in recipe.grid.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"grid: {key} is {values!r}; it takes a list of the values to try, such as [5e-5, 3e-5]")
        if key.split(".")[0] in ("data", "task", "seeds", "name", "model", "max_train_samples"):
            raise ValueError(
                f"grid: {key} is not a setting of the training; try optimizer.learning_rate, plan.num_train_epochs and "
                "the like"
            )
    return [dict(zip(recipe.grid, values, strict=True)) for values in itertools.product(*recipe.grid.values())]


def name_setting(setting: dict[str, Any]) -> str:
    """A grid point as the name of a folder: `learning_rate=5e-05,num_train_epochs=3`."""
    return ",".join(f"{key.rsplit('.', 1)[-1]}={value}" for key, value in setting.items()).replace("/", "-")


def order_tasks(recipe: FinetuneRecipe) -> list[str]:
    """The tasks, each after the one that it starts from. Errors: ValueError if that one is not asked for."""
    ordered: list[str] = []

    def add(task: str, followers: tuple[str, ...]) -> None:
        before = recipe.start_from.get(task)
        if before in followers:
            raise ValueError(f"start_from: {task} would have to start from itself, by way of {before}")
        if before and before not in recipe.task:
            raise ValueError(
                f"start_from: {task} starts from {before}, which is not among the tasks: name it there too"
            )
        if before and before not in ordered:
            add(before, (*followers, task))
        if task not in ordered:
            ordered.append(task)

    for task in recipe.task:
        add(task, (task,))
    return ordered


def check_tasks(recipe: FinetuneRecipe) -> None:
    """Refuse a task that does not exist or has nothing to train on, wherever the recipe names it."""
    for name in (*recipe.task, *recipe.settings, *itertools.chain(*recipe.start_from.items())):
        task = find_task(name)
        if not task.train_split:
            raise ValueError(
                f"{task.name} has no training rows: run {task.trained_as} with --predict_test True, whose model "
                "predicts it"
            )
    for name, settings in recipe.settings.items():
        if not isinstance(settings, dict):
            raise ValueError(
                f"settings: {name} is {settings!r}; it takes keys and values, such as {{plan.num_train_epochs: 1}}"
            )


def is_ready(job: Job, all_jobs: Sequence[Job]) -> bool:
    before = job.recipe.start_from.get(job.task)
    return all(other.finished for other in all_jobs if other.task == before)


def find_start(job: Job, all_jobs: Sequence[Job]) -> Job | None:
    """The finished job whose model this one starts from: the best on dev; None if it starts from the recipe's model."""
    before = job.recipe.start_from.get(job.task)
    if not before:
        return None
    done = [(other, other.finished) for other in all_jobs if other.task == before]
    scored = [
        (line["headline"]["value"], other) for other, line in done if line and line["headline"]["value"] is not None
    ]
    if not scored:
        raise ValueError(f"start_from: no job of {before} came to a score, so {job.task} has nothing to start from")
    return max(scored, key=lambda pair: pair[0])[1]


def write_job_list(folder: Path, found: Sequence[Job]) -> None:
    """Note in jobs.json what this launch is to do, so that a table can name what is not done yet."""
    path, content = folder / "jobs.json", json.dumps([str(job.folder.relative_to(folder)) for job in found]).encode()
    if not path.exists() or path.read_bytes() != content:
        whole_file(path, content)


def write_results(folder: Path) -> list[dict[str, Any]]:
    """Make results.jsonl anew from the finished jobs of a run, those of other launches too. Return its lines."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".results.lock").open("a") as lock:
        lockf(lock)  # of several processes the last one has seen all
        lines = list(list_finished(folder))
        text = "".join(strict_json(line) + "\n" for line in lines)
        whole_file(folder / "results.jsonl", text.encode())
    return lines


def list_finished(folder: Path) -> Iterator[dict[str, Any]]:
    """The results lines, in the order in which the jobs were finished."""
    paths = [*folder.glob("*/seed-*/finished.json"), *folder.glob("*/*/seed-*/finished.json")]
    for path in sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path)):
        if line := read_finished(path.parent):
            yield line
