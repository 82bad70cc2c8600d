"""The whole road in ten minutes, on text that every installation has: `make demo`.

Each step is a command that a user would type; a step that is finished is not repeated. A slower machine takes fewer
steps, not longer: the recipe gives pretraining its minutes, and the fine-tunings share what they leave. What it leaves:
runs/demo/results.json, and runs/demo/report.html to look at.
"""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from demo.report import write_report
from engine.run.disk import read_json, whole_file
from engine.run.folders import DEMO, mark, read_finished, refuse_others
from engine.run.processes import STOPPED
from engine.run.runtime import maxrss_mb, program
from engine.run.starting import INTERRUPTED
from finetune.table.results import read_all
from finetune.tasks.metrics import score
from finetune.tasks.shortcuts import shortcuts
from finetune.tasks.task import DataSource, find_task

FOLDER = Path("runs/demo")
RECIPE = Path("recipes/pretrain/demo.yaml")
PRETRAIN: dict[str, tuple[str, ...]] = {
    "train a WordPiece vocabulary": ("-m", "tokenizer.train", "recipes/tokenizer/demo.yaml"),
    "pretrain a small BERT": ("-m", "pretrain.run", str(RECIPE)),
}
RUN = ("-m", "finetune.run", "recipes/finetune/demo.yaml")
FINETUNE: dict[str, tuple[str, ...]] = {
    "fine-tune it on four tasks": (*RUN, "--name", "demo/pretrained", "--init", "pretrained"),
    "fine-tune the same network from random weights": (*RUN, "--name", "demo/random", "--init", "random"),
}
SECONDS = 570  # of the whole, after installing, with half a minute to spare of ten
# What the rest takes, counted in pretraining steps of this machine, which measure how fast it is:
PASS, APART, CLOSING = 280, 320, 130  # a pass over the four tasks' rows; the rest of a fine-tuning; rules and report
PASSES = (0.5, 4.0)  # at least and at most
SPLIT = "test"  # dev is for choosing


@program
def main(argv: list[str]) -> None:
    if argv:
        raise ValueError(f"`make demo` takes no options; found {' '.join(argv)}")
    measured = FOLDER / "steps.json"
    refuse_others(FOLDER, DEMO, own=("wordpiece", "pretrain", "pretrained", "random"))
    mark(FOLDER, DEMO)
    advice = "delete it, and what each step took is measured anew"
    steps = read_json(measured, advice=advice) if measured.exists() else {}
    for name, step in steps.items():
        if not (isinstance(step, dict) and all(is_number(step.get(key)) for key in ("seconds", "peak_rss_mb"))):
            raise ValueError(f"{measured} is damaged ({name!r} has no seconds and peak_rss_mb); {advice}")

    def take(name: str, command: tuple[str, ...]) -> None:
        print(f"\n== {name}\n   python {' '.join(command)}", flush=True)
        taken = run(command)
        if name not in steps:  # a step that was done before takes no time now; what counts is what it took then
            steps[name] = taken
            whole_file(measured, json.dumps(steps, indent=1).encode())

    for name, command in PRETRAIN.items():
        take(name, command)
    passes = choose_passes(steps)
    for name, command in FINETUNE.items():
        take(name, (*command, "--plan.num_train_epochs", str(passes)))
    began = time.perf_counter()
    tasks = compared()
    results = {
        "tasks": tasks,
        "gain": sum(row["pretrained"] - row["random_init"] for row in tasks.values()) / len(tasks),
        "pretraining_steps": pretrained()["steps"],
        "num_train_epochs": passes,
        "seconds": round(sum(step["seconds"] for step in steps.values()) + time.perf_counter() - began, 1),
        "peak_rss_mb": max(step["peak_rss_mb"] for step in steps.values()),
    }
    whole_file(FOLDER / "results.json", (json.dumps(results, indent=1) + "\n").encode())
    page = write_report(FOLDER, RECIPE, results, steps)
    print("\n" + as_table(tasks))
    print(f"\n{in_words(results)} See {page}")


def choose_passes(steps: dict[str, dict[str, float]]) -> float:
    """How many passes over the training rows both fine-tunings make: as many as there is time for.

    It is chosen once and written down, so the two are trained alike, and a resume keeps it.
    """
    path = FOLDER / "passes.json"
    if path.exists():
        advice = f"delete {FOLDER} and make the demo anew"
        chosen = read_json(path, "num_train_epochs", advice=advice)["num_train_epochs"]
        if not is_number(chosen) or not PASSES[0] <= chosen <= PASSES[1]:
            raise ValueError(f"{path} is damaged (num_train_epochs is {chosen!r}); {advice}")
        return float(chosen)
    run = pretrained()
    left = (SECONDS - sum(step["seconds"] for step in steps.values())) * run["steps"] / run["seconds"]
    passes = fit_passes(left)
    whole_file(path, json.dumps({"num_train_epochs": passes}).encode())
    return passes


def is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def fit_passes(left: float) -> float:
    """How many passes, to a tenth, each of two fine-tunings can make in the time of `left` pretraining steps."""
    fewest, most = PASSES
    return min(most, max(fewest, math.floor(10 * ((left - CLOSING) / 2 - APART) / PASS) / 10))


def pretrained() -> dict[str, Any]:
    """What the pretraining took. Errors: ValueError if that is not there, or of no use."""
    run = read_finished(FOLDER / "pretrain")
    if not run or not all(is_number(run.get(key)) and run[key] > 0 for key in ("steps", "seconds")):
        raise ValueError(f"{FOLDER / 'pretrain' / 'finished.json'} does not say steps and seconds; delete {FOLDER} and "
                         "make the demo anew")  # fmt: skip
    return run


def in_words(results: dict[str, Any]) -> str:
    """What was done for the table, and how long it took."""
    steps, passes, gain = results["pretraining_steps"], results["num_train_epochs"], 100 * results["gain"]
    return (
        f"Pretraining ({steps:,} steps) is worth {gain:+.1f} points on average, after {passes:g} passes of fine-tuning "
        f"each; one seed. {results['seconds'] / 60:.1f} minutes, at most {results['peak_rss_mb']:,} MB in one process."
    )


def run(command: tuple[str, ...]) -> dict[str, float]:
    """Run one step to its end. Return its seconds and the most memory that one process of it held, in MB."""
    began = time.perf_counter()
    status, peak = measured_call([sys.executable, *command])
    if status in (STOPPED, INTERRUPTED):
        print("stopped; `make demo` resumes from here", flush=True)
    if status:
        sys.exit(status)  # the step has said why
    return {"seconds": round(time.perf_counter() - began, 1), "peak_rss_mb": round(peak)}


def measured_call(command: list[str]) -> tuple[int, float]:
    """Run a command from a small process, its only parent, that learns what its children held at most.

    A process started from here would count what this one holds: what was held before an exec counts on. Ctrl-C reaches
    all of them, and is answered by the command alone.
    """
    report = FOLDER / ".peak"
    FOLDER.mkdir(parents=True, exist_ok=True)
    code = (
        "import pathlib, resource, signal, subprocess, sys\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"  # ignored, it would be ignored by the command as well
        "status = subprocess.call(sys.argv[2:])\n"
        "pathlib.Path(sys.argv[1]).write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))\n"
        "sys.exit(status)"
    )
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true"}
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        status = subprocess.call([sys.executable, "-c", code, str(report), *command], env=environment)
    finally:
        signal.signal(signal.SIGINT, before)
    if not report.exists():
        return status or 1, 0.0  # it was killed
    peak = maxrss_mb(float(report.read_text()))
    report.unlink()
    return status, peak


def compared() -> dict[str, dict[str, Any]]:
    """Each task's headline metric on the test rows: a constant answer, simple rules, random and pretrained weights."""
    table: dict[str, dict[str, Any]] = {}
    for result in read_all([FOLDER / "random", FOLDER / "pretrained"]):
        if result.headline not in result.metrics[SPLIT]:
            raise ValueError(f"{result.where}: scored by an older version; delete {FOLDER} and make the demo anew")
        row = table.setdefault(result.task, {"metric": result.headline})
        row["majority"] = result.majority[SPLIT].get(result.headline, 0.0)
        row.setdefault("rules", rules(result.task, result.headline))
        row["random_init" if result.init == "random" else "pretrained"] = result.metrics[SPLIT][result.headline]
    return table


def rules(name: str, headline: str) -> dict[str, float]:
    """What rules without understanding score on the same rows."""
    task = find_task(name)
    rows = task.load(DataSource("sample"))
    answers = shortcuts(task, rows["train"], rows[SPLIT])
    return {rule: round(score(task, answer, rows[SPLIT])[headline], 4) for rule, answer in answers.items()}


def as_table(tasks: dict[str, dict[str, Any]]) -> str:
    """The comparison in percent, as Markdown."""
    lines = ["| task (metric) | majority | best simple rule | untrained | pretrained |", "|---|---:|---:|---:|---:|"]
    for name, row in tasks.items():
        rule, best = max(row["rules"].items(), key=lambda pair: pair[1])
        values = f"{row['majority']:.1%} | {best:.1%} ({rule.replace('_', ' ')}) | {row['random_init']:.1%}"
        lines.append(f"| {name} ({row['metric'].replace('_', ' ')}) | {values} | **{row['pretrained']:.1%}** |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
