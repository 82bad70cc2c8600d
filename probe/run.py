"""What does a model know?  Probes: several, of several models, beside the same networks untrained.

    cloze probe recipes/probe/words.yaml --model runs/skip-gram runs/glove
    cloze table runs/words

A job is a probe of a model with a seed. Finished jobs are not done again, unless the model or a file that the probe
reads has changed. Results are lines of runs/NAME/results.jsonl as fine-tuning leaves them, so `cloze table` shows them;
what a probe tells in words is in its job's page.md.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from engine.run.disk import alone, whole_file, whole_folder
from engine.run.finite import strict_json
from engine.run.folders import RUN, mark, read_finished, refuse_others
from engine.run.recipe import read
from engine.run.runtime import commit, hardware, peak_rss_mb, program, speak_plainly
from probe.probe import Found, Probe, plain, stamp_of
from probe.recipe import ProbeRecipe

RUNS = Path("runs")


@program
def main(argv: list[str]) -> None:
    speak_plainly()
    probe(read(ProbeRecipe, argv, "python -m probe.run", "recipes/probe/words.yaml --model runs/skip-gram"))


def probe(recipe: ProbeRecipe) -> list[dict[str, Any]]:
    """Do every job of a recipe that is not done yet. Return the lines of results.jsonl, one for each scored job.

    Errors: ValueError and OSError for what is wrong with recipe, model or data.
    """
    if not recipe.model:
        raise ValueError("no model is named: give --model, such as --model runs/skip-gram")
    folder = RUNS / recipe.name
    refuse_others(folder, RUN)
    jobs = list_jobs(recipe, folder)
    with alone(folder, "probing into"):
        mark(folder, RUN)
        for job in jobs:
            do(job, recipe.overwrite)
        lines = write_results(folder)
        write_pages(folder, recipe)
    show([line for line in lines if line["job"] in {str(job.folder.relative_to(folder)) for job in jobs}])
    return lines


@dataclass(frozen=True)
class Job:
    """One probe of one model. `stamp` has all that decides what comes out, so an equal one has nothing to do."""

    probe: Probe
    model: str
    label: str
    seed: int
    untrained: bool
    stamp: dict[str, Any]
    folder: Path

    @property
    def words(self) -> str:
        return f"{self.probe.task} of {self.label}{', untrained' if self.untrained else ''}, seed {self.seed}"


def list_jobs(recipe: ProbeRecipe, folder: Path) -> list[Job]:
    """Every job of a recipe: a trained model once, or, if the probe itself is trained, with each seed; untrained ones
    with each seed; what is asked beside them once. Errors: FileNotFoundError."""
    stamps = [one.stamps for one in recipe.probes]
    beside = [name for one in recipe.probes for name in one.beside]
    found = []
    for model in dict.fromkeys([*beside, *recipe.model]):
        label, stamp = label_of(model), [model] if model in beside else stamp_of(model)
        for one, files in zip(recipe.probes, stamps, strict=True):
            if model in beside and model not in one.beside:
                continue
            kinds = [(seed, False) for seed in (recipe.seeds if one.trains else recipe.seeds[:1])]
            kinds += [(seed, True) for seed in recipe.seeds if recipe.untrained and model not in beside]
            for seed, untrained in kinds:
                about = {"probe": plain(one), "files": files, "model": stamp, "seed": seed, "untrained": untrained}
                digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:8]
                place = folder / one.task.replace("/", "-") / f"{label.replace('/', '-')}-{digest}" / f"seed-{seed}"
                found.append(Job(one, model, label, seed, untrained, about, place))
    return found


def label_of(model: str) -> str:
    """A model as the table calls it: runs/skip-gram/model is skip-gram, vectors.txt in a folder is that folder's."""
    parts = [part for part in Path(model).parts if part not in ("/", "runs", "model")]
    return "/".join(parts[-2:]).removesuffix(".txt") or model


def do(job: Job, again: bool) -> None:
    """Ask, and leave the answer in the job's folder."""
    if read_finished(job.folder) and not again:
        print(f"{job.words}: done before", flush=True)
        return
    began = time.perf_counter()
    found = job.probe.ask(job.model, job.untrained, job.seed)
    line = line_of(job, found, time.perf_counter() - began)
    with whole_folder(job.folder) as aside:
        if found.page:
            (aside / "page.md").write_text(found.page, encoding="utf-8")
        for name, content in found.pictures.items():
            (aside / name).write_bytes(content)
        if found.details:
            whole_file(aside / "details.json", strict_json(found.details).encode())
        whole_file(aside / "finished.json", strict_json(line, indent=1).encode())
    value = f"{found.headline} {line['headline']['value']:.4f}" if found.headline else str(job.folder / "page.md")
    print(f"{job.words}: {value}", flush=True)


def line_of(job: Job, found: Found, seconds: float) -> dict[str, Any]:
    """A results line, as `finetune.table` reads them; without a headline none of its fields is needed."""
    split = next(iter(found.metrics), "")
    value = found.metrics[split][found.headline] if found.headline else None
    return {
        "task": job.probe.task, "label": job.label, "init": "random" if job.untrained else "pretrained",
        "seed": job.seed, "model": job.model, "metrics": found.metrics, "majority": found.baseline,
        "headline": {"name": found.headline, "value": value}, "hyperparameters": plain(job.probe), "sizes": found.sizes,
        "drawn_from": found.drawn_from,
        "rows": job.stamp["files"], "seconds": round(seconds, 2), "peak_rss_mb": round(peak_rss_mb()),
        "precision": "fp32", "processes": 1, "data": ", ".join(job.stamp["files"]), "commit": commit() or "unknown",
        "hardware": hardware(),
    }  # fmt: skip


def write_results(folder: Path) -> list[dict[str, Any]]:
    """Make results.jsonl anew from the finished jobs that have a score. Return its lines."""
    lines = [{**line, "job": str(path.parent.relative_to(folder))} for path, line in list_finished(folder)
             if line["headline"]["value"] is not None]  # fmt: skip
    whole_file(folder / "results.jsonl", "".join(strict_json(line) + "\n" for line in lines).encode())
    return lines


def write_pages(folder: Path, recipe: ProbeRecipe) -> None:
    """The pages on all finished jobs of each kind of probe that the recipe has."""
    for name, kind in {probe.name: type(probe) for probe in recipe.probes}.items():
        jobs = [(line, json.loads((path.parent / "details.json").read_text(encoding="utf-8")))
                for path, line in list_finished(folder)
                if line["hyperparameters"]["name"] == name and (path.parent / "details.json").is_file()]  # fmt: skip
        for file, page in kind.make_pages(jobs).items():
            whole_file(folder / file, page.encode())
            print(f"page: {folder / file}", flush=True)


def list_finished(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    paths = folder.glob("*/*/seed-*/finished.json")
    for path in sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path)):
        if line := read_finished(path.parent):
            yield path, line


def show(lines: list[dict[str, Any]]) -> None:
    """A row for each score of a probe: what is in the vocabulary, a guess that does not look, and each model."""
    systems = dict.fromkeys(line["label"] + ", untrained" * (line["init"] == "random") for line in lines)
    rows: dict[tuple[str, str], dict[str, list[float]]] = {}
    for line in lines:
        system = line["label"] + ", untrained" * (line["init"] == "random")
        for scores, blind in zip(line["metrics"].values(), line["majority"].values(), strict=True):
            for name in [name for name in scores if not name.endswith("coverage")]:
                row = rows.setdefault((line["task"], name), {})
                row["blind"] = [blind[name]] if name in blind else []
                row.setdefault("coverage", []).append(scores.get(f"{name}_coverage", scores.get("coverage", 1.0)))
                row.setdefault(system, []).append(scores[name])
    table = Table("probe", "score", "coverage", "blind", *systems)
    for (task, name), row in rows.items():
        cells = (row.get(key) for key in ("coverage", "blind", *systems))
        table.add_row(task, name, *(f"{mean(cell):.3f}" if cell else "–" for cell in cells))
    if lines:
        Console().print(table)


if __name__ == "__main__":
    main()
