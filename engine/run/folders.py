"""Whose folder is this?  It says so itself: no program writes into another's folder, or deletes what is not its own.

A run, a job of a run, a tokenizer and a demo have a mark, the file `.cloze`. A prepared corpus is known by its
manifests, and what an earlier version made by its files.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TextIO

import yaml

from engine.run.disk import read_json, remove, whole_file
from engine.run.key_names import right_key
from engine.run.options import values_of
from engine.run.recipe import differences, identity
from engine.run.system import lockf

RUN, JOB, TOKENIZER, STORE, DEMO = "run", "job", "tokenizer", "store", "demo"
WORDS = {RUN: "run", JOB: "fine-tuning job", TOKENIZER: "tokenizer", STORE: "prepared corpus", DEMO: "demo"}
MARK = ".cloze"
BUDGET = "budget"
ANEW = "restore it, choose another --name, or start anew with --overwrite True"
WRITTEN = (  # into the folder of a run; jobs lie in folders of their own
    "recipe.yaml", "metrics.jsonl", "stamps.json", "state", "model", "finished.json", "data_report.md", "curves.svg",
    "report.html", "samples", "profile", "hub", "hub.json", "tensorboard", "wandb", "results.jsonl", "results.lock",
    "table.md", "table.html", "table.json",
)  # fmt: skip
SHOWN = "data_report-*.png"  # also into the folder of a run


class Taken(FileExistsError):
    """Another process is at this run."""


def kind_of(folder: Path) -> str:
    """What a folder is; empty if it is nothing of ours."""
    marked = _words(folder / MARK)
    if marked and marked[0] in WORDS:
        return marked[0]
    if (folder / "tokenizer").is_dir() and (folder / "report.json").is_file():
        return TOKENIZER
    is_text = (folder / "train/manifest.json").is_file() and (folder / "held_out").is_dir()
    if is_text or (folder / "pictures/manifest.json").is_file():
        return STORE
    if (folder / "steps.json").is_file() and (folder / "wordpiece").is_dir():
        return DEMO
    return RUN if _words(folder / "recipe.yaml")[:2] == ["#", "commit"] else ""


def mark(folder: Path, kind: str, recipe: str = "") -> None:
    """Say what a folder is; `recipe` is a hash of what made it."""
    whole_file(folder / MARK, f"{kind} {recipe}\n".encode())


def recipe_of_mark(folder: Path) -> str:
    """The hash that `mark` was given; empty if there is none."""
    return " ".join(_words(folder / MARK)[1:])


def refuse_others(folder: Path, kind: str, own: Sequence[str] = ()) -> None:
    """Refuse a folder that is no `kind` of ours, or lies inside another program's. An empty one will do, and one that
    holds nothing but what is called as `own`. Errors: FileExistsError."""
    refuse_inside(folder.parent, kind)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; choose another --name, or move it away")
    found = kind_of(folder)
    if found == kind or (found == RUN and kind == JOB):
        return
    if found:
        raise FileExistsError(f"{folder} is a {WORDS[found]} and no {WORDS[kind]}; choose another --name")
    if others := [name for name in visible(folder) if name not in own]:
        names = ", ".join(others[:5])
        raise FileExistsError(
            f"{folder} is not empty and no {WORDS[kind]} of ours ({names}); choose another --name, or empty it"
        )


def refuse_inside(folder: Path, kind: str) -> None:
    """Refuse to put a `kind` into a folder that is, or lies inside, another program's. Errors: FileExistsError."""
    for outer in (folder, *folder.parents):
        if outer.exists() and not outer.is_dir():
            raise FileExistsError(f"{outer} is a file, and a {WORDS[kind]} needs a folder; choose another place")
        found = kind_of(outer)
        if found and not (found == DEMO or (found, kind) == (RUN, JOB)):
            raise FileExistsError(f"a {WORDS[kind]} cannot lie inside {outer}, a {WORDS[found]}; choose another place")


def visible(folder: Path) -> list[str]:
    """What a folder holds, but for hidden files: a lock, a mark, and what another process is about to put there."""
    return sorted(entry.name for entry in folder.glob("*") if not entry.name.startswith("."))


def clear(folder: Path) -> None:
    """Delete what a run wrote into its folder, its jobs too; anything else is kept, and named.

    Errors: FileExistsError if the folder is no run, or a symbolic link.
    """
    refuse_to_clear(folder)
    if not kind_of(folder):
        return  # nothing is in it
    mark(folder, RUN)
    for job in [found.parent for found in folder.rglob(MARK) if kind_of(found.parent) == JOB]:
        shutil.rmtree(job)
        for outer in job.parents:
            if outer == folder or any(outer.iterdir()):
                break
            outer.rmdir()
    for entry in sorted(folder.iterdir()):
        name = entry.name.lstrip(".")
        is_aside, is_shown = name != entry.name and name.startswith(WRITTEN), fnmatch(name, SHOWN)
        if name in WRITTEN or is_aside or is_shown:
            remove(entry)
    if kept := visible(folder):
        print(f"{folder}: kept {', '.join(kept)}, which no run wrote")


def refuse_to_clear(folder: Path) -> None:
    """See `clear`."""
    if folder.is_symlink():
        raise FileExistsError(
            f"{folder} is a symbolic link to {folder.resolve()}: --overwrite deletes nothing there; choose another "
            "--name, or delete the link"
        )
    refuse_others(folder, RUN)


# Whose run is it?


def read_finished(folder: Path) -> dict[str, Any] | None:
    """What a run's `finish` wrote into its folder, or None. Errors: ValueError if that is damaged."""
    path = folder / "finished.json"
    advice = "restore it, or delete it, and the same command does again what no state is left of"
    return read_json(path, "seconds", advice=advice) if path.exists() else None


def check_folder(folder: Path, recipe: Any, kind: str = RUN) -> None:
    """Refuse a folder that holds another recipe's run, or anything that is no run of this kind.

    A run whose recipe.yaml is damaged is known by its mark. Errors: FileExistsError; ValueError for a damaged
    recipe.yaml if that of the run is not the one at hand.
    """
    refuse_others(folder, kind)
    if not kind_of(folder) or not has_work(folder) or recipe_of_mark(folder) == hash_of(recipe):
        return
    found = _read_recipe(folder)
    before, now = identity(recipe, found), identity(recipe)
    if before != now and not find_extension(folder, recipe):
        renamed = _renamed(found, recipe)
        whose = "an earlier version, whose recipes had other keys" if renamed else "another recipe"
        changed = "; ".join(renamed or differences(before, now))
        more = longer(before, now)
        hint = f"; once that run is finished, a larger {more} extends it" if more and not read_finished(folder) else ""
        raise FileExistsError(
            f"{folder} holds a run of {whose} ({changed}); choose another --name, or pass --overwrite True to delete "
            f"that run{hint}"
        )


def find_extension(folder: Path, recipe: Any) -> str:
    """The key of the budget, such as plan.max_steps, of which `recipe` gives a finished run more, and else the same;
    empty if it gives none. Errors: ValueError for a run that cannot resume."""
    if recipe_of_mark(folder) in ("", hash_of(recipe)) or not read_finished(folder):
        return ""
    before, now = identity(recipe, _read_recipe(folder)), identity(recipe)
    key = longer(before, now) or (BUDGET if before == now else "")  # equal: a kill came while it was extended
    if not key:
        return ""
    instead = f"train on from its weights: --model.from {folder} --name NEW"
    if now.get("last_phase"):
        raise ValueError(f"{folder} ended with its last_phase, and more {key} would begin before that: {instead}")
    if not any((folder / "state").glob("step-*")):
        raise ValueError(f"{folder} is finished and has no state left to resume from: {instead}")
    return key


def longer(before: Any, now: Any) -> str:
    """The key of the budget that is all that differs, and is larger now; empty if there is none."""
    plans = before.get("plan"), now.get("plan")
    if not all(isinstance(plan, dict) for plan in plans):
        return ""
    for name in ("max_steps", "minutes", "flops"):
        old, new = (plan.get(name) or 0 for plan in plans)
        if 0 < old < new and before == {**now, "plan": {**now["plan"], name: old}}:
            return f"plan.{name}"
    return ""


def _read_recipe(folder: Path) -> dict[str, Any]:
    path = folder / "recipe.yaml"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no recipe")
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged ({' '.join(str(error).split())}), and the run began with another recipe than this one: "
            f"give that one, and the file is written anew; or {ANEW}"
        ) from None
    return found


def recipe_is_lost(folder: Path, recipe: Any) -> bool:
    """Whether recipe.yaml does not say what the run, which resumes, began with. Say so."""
    try:
        if identity(recipe, _read_recipe(folder)) == identity(recipe):
            return False
    except ValueError:
        pass
    print(f"{folder / 'recipe.yaml'} was damaged; it is written anew")
    return True


def hash_of(recipe: Any) -> str:
    return hashlib.sha256(json.dumps(identity(recipe), sort_keys=True).encode()).hexdigest()


def locked(folder: Path, shared: bool = False) -> TextIO:
    """Hold the folder's lock until the returned file is closed or the process ends, however it ends."""
    file = (folder / ".lock").open("a+")
    try:
        lockf(file, shared, wait=False)  # a process's own: it may claim the folder again
    except OSError:
        file.close()
        raise Taken(f"another process is training in {folder}; wait for it, or end it") from None
    return file


def has_work(folder: Path) -> bool:
    """A launch that failed before its first report leaves only what can be written anew."""
    files = ("metrics.jsonl", "state", "results.jsonl", "model", "finished.json")
    folders = [folder, *(found.parent for found in folder.rglob(MARK))]  # its jobs, too
    return any((place / name).exists() for place in folders for name in files)


def _renamed(found: dict[str, Any], recipe: Any) -> list[str]:
    """A key that recipes had once, and what it is now; nothing if `found` has none such."""
    known = [key for key, _ in values_of(recipe)]
    old = [key for key, _ in values_of(found) if key not in known and key.partition(".")[0] not in ("model", "config")]
    return [f"{key}: {advice}" for key in old if (advice := right_key(key, known))][:1]


def _words(path: Path) -> list[str]:
    """Those of the file's first line; none where there is no file."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        return file.readline(1000).decode("utf-8", "replace").split()
