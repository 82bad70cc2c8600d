"""What did the finished jobs score?  Reads the results lines that finetune.run leaves, and refuses what does not fit.

A line is one finished job: a task, learnt with one seed and one setting of the hyperparameters, from one model.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INITS = ("random", "pretrained")

Scores = dict[str, dict[str, float]]  # split name -> metric name -> fraction, -1 to 1


@dataclass(frozen=True)
class Result:
    """One finished job, and the line where it stands."""

    task: str
    label: str
    init: str
    seed: int
    metrics: Scores
    majority: Scores  # what the commonest label would score on the same rows
    headline: str  # the metric that judges the task
    value: float | None  # of the headline; None if the job came to no score
    setting: str  # the hyperparameters, as canonical JSON
    tried: str  # the grid's point, in words; "" without a grid
    failure: str  # what went wrong, in words; "" if nothing did
    sizes: dict[str, int]  # rows, by split; the first one was trained on
    minutes: float
    memory: float  # GB, the most that a process held
    precision: str
    processes: int
    data: str
    commit: str
    hardware: str
    where: str  # file:line

    @property
    def job(self) -> tuple[str, str, str, int, str]:
        """Return what tells this job from every other."""
        return self.label, self.init, self.task, self.seed, self.setting


def read_all(runs: Iterable[Path]) -> list[Result]:
    """Read the results of run folders and results.jsonl files, each file once, each job once.

    A job that failed has no scores, and is among them.

    A job that stands twice with the same scores counts once.

    Raises:
        ValueError: a bad line (with file and line), a run without results, one job with two outcomes, or jobs that were
            not scored on the same rows.
    """
    files = dict.fromkeys(results_file(run) for run in runs)
    results = distinct([result for file in files for result in read(file)])
    refuse_unlike_rows(results)
    return results


def results_file(run: Path) -> Path:
    """Return the results file that a run folder or a path to the file itself stands for."""
    file = run / "results.jsonl" if run.is_dir() else run
    if not file.is_file():
        raise ValueError(f"{file} is not there: name run folders of finetune.run, or results.jsonl files")
    return file.resolve()


def read(file: Path) -> list[Result]:
    """Read one results.jsonl; empty lines are passed over."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [parse(line, f"{file}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]


def parse(line: str, where: str) -> Result:
    """Read one results line, which stands at `where`."""
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not JSON ({error}): if a run was killed while writing it, remove it") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{where} is not a JSON object with the fields of a finished job")
    headline = field(fields, "headline", dict, where)
    failure = str(fields.get("failure") or "")
    has_value = headline.get("value") is not None or not failure
    init = field(fields, "init", str, where)
    if init not in INITS:
        raise ValueError(f"{where}: init is {init!r}; allowed: {', '.join(INITS)}")
    return Result(
        task=field(fields, "task", str, where),
        label=field(fields, "label", str, where),
        init=init,
        seed=field(fields, "seed", int, where),
        metrics=scores(fields, "metrics", where),
        majority=scores(fields, "majority", where),
        headline=field(headline, "name", str, where),
        value=fraction(field(headline, "value", (int, float), where), "headline", where) if has_value else None,
        setting=json.dumps(field(fields, "hyperparameters", dict, where), sort_keys=True),
        tried=", ".join(f"{key.rsplit('.', 1)[-1]} {value}" for key, value in (fields.get("setting") or {}).items()),
        failure=failure,
        sizes=dict(fields.get("sizes") or {}),
        minutes=float(fields.get("seconds") or 0.0) / 60,
        memory=float(fields.get("peak_rss_mb") or 0.0) / 1e3,
        precision=str(fields.get("precision") or ""),
        processes=int(fields.get("processes") or 1),
        data=str(fields.get("data", "")),
        commit=str(fields.get("commit") or ""),
        hardware=str(fields.get("hardware") or ""),
        where=where,
    )


def field(fields: dict[str, Any], name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """Return a field that must be there and be of a kind."""
    if name not in fields:
        raise ValueError(f"{where} has no {name!r}: every line of a finished job has one")
    value = fields[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{where}: {name} is {value!r}, which is of the wrong type")
    return value


def scores(fields: dict[str, Any], name: str, where: str) -> Scores:
    """Return a field of the form {split: {metric: fraction}}."""
    splits = field(fields, name, dict, where)
    return {
        split: {
            metric: fraction(field(splits[split], metric, (int, float), where), f"{name} {split} {metric}", where)
            for metric in field(splits, split, dict, where)
        }
        for split in splits
    }


def fraction(value: float, name: str, where: str) -> float:
    """Return a score that lies where scores lie."""
    if not math.isfinite(value) or abs(value) > 1:
        raise ValueError(f"{where}: {name} is {value}; scores are fractions from -1 to 1")
    return float(value)


def distinct(results: Sequence[Result]) -> list[Result]:
    """Return each job once, in order; one job with two outcomes is an error, since nothing says which one counts."""
    first: dict[tuple[str, str, str, int, str], Result] = {}
    for result in results:
        known = first.setdefault(result.job, result)
        if known.metrics != result.metrics:
            raise ValueError(
                f"{result.where} and {known.where} are the same job ({result.label}, {result.init}, {result.task}, "
                f"seed {result.seed}) with different scores: leave one out, or give the runs different labels"
            )
    return list(first.values())


def refuse_unlike_rows(results: Sequence[Result]) -> None:
    """Refuse results of one task that were scored on different rows, as a different majority score shows."""
    first: dict[str, Result] = {}
    for result in results:
        known = first.setdefault(result.task, result)
        if known.majority != result.majority:
            raise ValueError(
                f"{result.where} and {known.where} were scored on different rows of {result.task} ({result.data} and "
                f"{known.data}: the majority scores differ), so they do not belong in one table"
            )
