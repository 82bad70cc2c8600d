"""Where does one go from a run's page?  To its files, to the run that it began with, and to runs on the same data."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from engine.publish.curves import Points, read_metrics
from engine.run.folders import JOB, RUN, kind_of
from engine.run.tracking import name_of, recipe_of

FILES = {
    "metrics.jsonl": "every value (metrics.jsonl)",
    "recipe.yaml": "recipe.yaml",
    "data_report.md": "data report",
    "model/README.md": "model card",
    "analysis.html": "what it gets wrong",
}
MOST_RUNS = 30  # that are looked at, the newest ones: each has its metrics read


@dataclass(frozen=True)
class Compared:
    """A run, among those that were evaluated on the same data."""

    name: str
    link: str  # to its report, or else its metrics; relative, so a copied runs/ keeps it; none to the page's own run
    steps: int
    values: tuple[float | None, ...]  # the last ones, of the measures asked for


def list_links(folder: Path, finished: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(relative address, what it is) of the files of a run, of its table, and of the run that it began with."""
    found = [(name, what) for name, what in FILES.items() if (folder / name).exists()]
    if kind_of(folder) == JOB:
        found.append((relative(run_of(folder) / "table.html", folder), "the table of its run"))
    recipe = recipe_of(folder).get("model")
    named = finished.get("started_from") or (recipe.get("from") if isinstance(recipe, dict) else recipe)
    if named:
        start = Path(str(named))
        report = (start.parent if start.name == "model" else start) / "report.html"
        if report.is_file():
            found.append((relative(report, folder), f"the run that it began with, {name_of(report.parent)}"))
    return found


def find_compared(folder: Path, points: Mapping[str, Points], measures: list[str]) -> list[Compared]:
    """This run, and those beside it, or a job's in other runs, whose evaluation can be compared; nothing if none can.

    Which can: those that measure the same and whose baselines are the same numbers. A baseline is a function of the
    held-out rows alone, so it differs where they, the tokenizer or the task do.
    """
    own = baselines_of(points)
    found = []
    for other in list_neighbours(folder) if own else []:
        try:
            metrics = read_metrics(other / "metrics.jsonl")
        except (OSError, ValueError):
            continue
        theirs = baselines_of(metrics)
        if own.keys() == theirs.keys() and all(math.isclose(own[n], theirs[n], rel_tol=1e-6) for n in own):
            page = "report.html" if (other / "report.html").exists() else "metrics.jsonl"
            found.append(summarise(name_of(other), relative(other / page, folder), metrics, measures))
    this = summarise(name_of(folder), "", points, measures)
    return [this, *sorted(found, key=lambda run: run.name)] if found else []


def summarise(name: str, link: str, points: Mapping[str, Points], measures: list[str]) -> Compared:
    values = tuple(points[measure][-1][1] if measure in points else None for measure in measures)
    return Compared(name, link, last_step(points), values)


def last_step(points: Mapping[str, Points]) -> int:
    return int(max((step for values in points.values() for step, _ in values), default=0))


def baselines_of(points: Mapping[str, Points]) -> dict[str, float]:
    return {name: values[-1][1] for name, values in points.items() if name.startswith("baseline_")}


def list_neighbours(folder: Path) -> list[Path]:
    """The folders, the newest first, of the runs beside a run; of a job, those of its task, in all runs beside its own.

    A job is RUN/TASK/SEED, or RUN/TASK/SETTING/SEED.
    """
    run = run_of(folder)
    task = folder.relative_to(run).parts[:1]
    patterns = [f"*/{task[0]}/*/metrics.jsonl", f"*/{task[0]}/*/*/metrics.jsonl"] if task else ["*/metrics.jsonl"]
    places = (path for pattern in patterns for path in run.parent.glob(pattern))
    dated = sorted(((path.stat().st_mtime, path.parent) for path in places if path.parent != folder), reverse=True)
    return [place for _, place in dated[:MOST_RUNS]]


def run_of(folder: Path) -> Path:
    """The run that a job lies in; a run itself."""
    return next((outer for outer in (folder, *folder.parents) if kind_of(outer) == RUN), folder)


def relative(path: Path, folder: Path) -> str:
    """The address of a path for a page in `folder`."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())
