"""What does a model know?  Probes: several, of several models, beside the same networks untrained.

    cloze probe recipes/probe/words.yaml --model runs/skip-gram runs/glove
    cloze table runs/words

A job is a probe of a model with a seed. Finished jobs are not done again, unless the model or a file that the probe
reads has changed. Results are lines of runs/NAME/results.jsonl as fine-tuning leaves them, so `cloze table` shows them;
runs/NAME/report.html shows all of it: scores, curves by layer, and what the probes tell in words and pictures.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from engine.publish.exhibits import Exhibit, write_exhibits
from engine.run.disk import alone, whole_file, whole_folder
from engine.run.finite import strict_json
from engine.run.folders import RUN, mark, read_finished, refuse_others
from engine.run.recipe import read
from engine.run.runtime import commit, hardware, peak_rss_mb, program, speak_plainly
from probe.page import Finished, make_page
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
        try:
            for job in jobs:
                do(job, recipe.overwrite)
        finally:  # what is done stands in the table, whatever came between
            lines = report(recipe, folder, jobs)
    show([line for line in lines if line["job"] in {str(job.folder.relative_to(folder)) for job in jobs}])
    print(f"the report is {folder / 'report.html'}", flush=True)
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
    found, models = [], list(dict.fromkeys([*beside, *recipe.model]))
    labels = name_models(models)
    for model in models:
        label, stamp = labels[model], [model] if model in beside else stamp_of(model)
        for one, files in zip(recipe.probes, stamps, strict=True):
            if model in beside and model not in one.beside:
                continue
            kinds = [(seed, False) for seed in (recipe.seeds if one.trains else recipe.seeds[:1])]
            kinds += [(seed, True) for seed in recipe.seeds if recipe.untrained and model not in beside]
            for seed, untrained in kinds:
                about = {"probe": plain(one), "files": files, "model": stamp, "seed": seed, "untrained": untrained}
                path = name_parts(model)  # the label is no part of the place: namesakes change it
                digest = hashlib.sha256(json.dumps([about, path], sort_keys=True).encode()).hexdigest()[:8]
                own = f"{shorten(path).replace('/', '-')}-{digest}"
                place = folder / one.task.replace("/", "-") / own / f"seed-{seed}"
                found.append(Job(one, model, label, seed, untrained, about, place))
    return found


def name_models(models: Iterable[str]) -> dict[str, str]:
    """How the table calls each model: runs/skip-gram/model is skip-gram, vectors.txt in a folder is that folder's. The
    last two parts of a path are enough, unless another model has the same."""
    parts = {model: name_parts(model) for model in models}
    short = {model: shorten(own) or model for model, own in parts.items()}
    namesakes = {name: {parts[model] for model in short if short[model] == name} for name in short.values()}
    return {model: name if len(namesakes[name]) == 1 else "/".join(parts[model]).removesuffix(".txt")
            for model, name in short.items()}  # fmt: skip


def name_parts(model: str) -> tuple[str, ...]:
    """The parts of a model's path that tell it from others."""
    return tuple(part for part in Path(model).parts if part not in ("/", "runs", "model"))


def shorten(parts: tuple[str, ...]) -> str:
    return "/".join(parts[-2:]).removesuffix(".txt")


def do(job: Job, again: bool) -> None:
    """Ask, and leave the answer in the job's folder."""
    if read_finished(job.folder) and not again:
        print(f"{job.words}: done before", flush=True)
        return
    began = time.perf_counter()
    found = job.probe.ask(job.model, job.untrained, job.seed)
    line = line_of(job, found, time.perf_counter() - began)
    with whole_folder(job.folder) as aside:
        exhibits: list[Exhibit] = [found.page, *found.pictures] if found.page else [*found.pictures]
        if lines := write_exhibits(exhibits, aside, "picture"):
            (aside / "page.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
        if found.details:
            whole_file(aside / "details.json", strict_json(found.details).encode())
        whole_file(aside / "finished.json", strict_json(line, indent=1).encode())
    value = f": {found.headline} {line['headline']['value']:.4f}" if found.headline else ": done"
    print(f"{job.words}{value}", flush=True)


def line_of(job: Job, found: Found, seconds: float) -> dict[str, Any]:
    """A results line, as `finetune.table` reads them; without a headline none of its fields is needed."""
    split = next(iter(found.metrics), "")
    value = found.metrics[split][found.headline] if found.headline else None
    return {
        "task": job.probe.task, "label": job.label, "init": "random" if job.untrained else "pretrained",
        "seed": job.seed, "model": job.model, "metrics": found.metrics, "majority": found.baseline,
        "each_seed": job.untrained or job.probe.trains,  # whether other seeds are scores of their own
        "headline": {"name": found.headline, "value": value}, "shortcuts": list(found.shortcuts),
        "layers": found.layers, "hyperparameters": plain(job.probe), "sizes": found.sizes,
        "drawn_from": found.drawn_from, "rows": job.stamp["files"], "seconds": round(seconds, 2),
        "peak_rss_mb": round(peak_rss_mb()), "precision": "fp32", "processes": 1,
        "data": ", ".join(job.stamp["files"]), "commit": commit() or "unknown",
        "hardware": hardware(),
    }  # fmt: skip


def report(recipe: ProbeRecipe, folder: Path, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Write the results and the pages of the finished jobs. Return the lines of results.jsonl."""
    done = list_finished(folder, jobs)
    lines = write_results(folder, done)
    if done:
        write_pages(folder, recipe, done)
        whole_file(folder / "report.html", make_page(recipe.name, done).encode())
    return lines


def list_finished(folder: Path, jobs: Sequence[Job]) -> list[Finished]:
    """The finished jobs of a folder, those of `jobs` last. Of those that are alike but for their settings and what they
    read, such as a model that was trained further, the last counts; so does one seed of a trained model where the
    probe trains nothing: whichever seed comes first, it is asked once."""
    asked = {job.folder for job in jobs}
    paths = sorted(
        (path for path in folder.glob("*/*/seed-*/finished.json")),
        key=lambda path: (path.parent in asked, path.stat().st_mtime_ns, path),
    )
    found = [
        (path.parent, {"layers": {}, "shortcuts": []} | line) for path in paths if (line := read_finished(path.parent))
    ]
    labels = name_models(line["model"] for _, line in found)
    last: dict[tuple[Any, ...], Finished] = {}
    for place, line in found:
        one = Finished(place, {**line, "label": labels[line["model"]]})
        seed = line["seed"] if line.get("each_seed", True) else None
        last.update({(*(one.line[name] for name in ("task", "label", "init")), seed): one})
    return list(last.values())


def write_results(folder: Path, done: Sequence[Finished]) -> list[dict[str, Any]]:
    """Make results.jsonl anew from the finished jobs that have a score. Return its lines."""
    lines = [{**one.line, "job": str(one.folder.relative_to(folder))} for one in done
             if one.line["headline"]["value"] is not None]  # fmt: skip
    whole_file(folder / "results.jsonl", "".join(strict_json(line) + "\n" for line in lines).encode())
    return lines


def write_pages(folder: Path, recipe: ProbeRecipe, done: Sequence[Finished]) -> None:
    """The pages on all finished jobs of each kind of probe that the recipe has."""
    for name, kind in {probe.name: type(probe) for probe in recipe.probes}.items():
        jobs = [(one.line, json.loads((one.folder / "details.json").read_text(encoding="utf-8"))) for one in done
                if one.line["hyperparameters"]["name"] == name and (one.folder / "details.json").is_file()]  # fmt: skip
        for file, page in kind.make_pages(jobs).items():
            whole_file(folder / file, page.encode())
            print(f"page: {folder / file}", flush=True)


def show(lines: list[dict[str, Any]]) -> None:
    """A table for each probe: the headline of each model beside that of the same network untrained, over the seeds."""
    by_task: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_task.setdefault(line["task"], []).append(line)
    for task, found in by_task.items():
        name = found[0]["headline"]["name"]
        guess = [scores[name] for scores in found[0]["majority"].values() if name in scores]
        table = Table("model", "trained", "untrained", "coverage", title_justify="left",
                      title=f"{task}: {name}" + (f"; a guess {guess[0]:.3f}" if guess else ""))  # fmt: skip
        for label in dict.fromkeys(line["label"] for line in found):
            own = [line for line in found if line["label"] == label]
            by_init = {init: [line["headline"]["value"] for line in own if line["init"] == init]
                       for init in ("pretrained", "random")}  # fmt: skip
            covered = [scores["coverage"] for scores in own[0]["metrics"].values() if "coverage" in scores]
            cells = (*by_init.values(), covered)
            table.add_row(label, *(f"{mean(cell):.3f}" if cell else "–" for cell in cells))
        Console().print(table)


if __name__ == "__main__":
    main()
