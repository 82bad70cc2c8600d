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
    rows: dict[str, str]  # a checksum of the dev rows, by split; {} of older versions
    passes: float  # over the training rows
    held_out: float  # the share of the training file's rows that dev is made of
    drawn_from: int  # rows that the training rows were drawn from by chance; 0: all were taken
    chosen: str  # how the model was chosen among those of several steps, in words; "": it is the last
    minutes: float
    memory: float  # GB, the most that the main process held; 0.0 if that is not known
    memory_of: str  # "job": while it did this job; "process": since it began, earlier jobs included
    precision: str
    processes: int
    data: str
    commit: str
    hardware: str
    model: str
    where: str  # file:line

    @property
    def is_strict(self) -> bool:
        """Whether entities were scored by IOB2's strict rule alone, as older versions did."""
        return any("recall" in scores and "f1" not in scores for scores in self.metrics.values())

    @property
    def job(self) -> tuple[str, str, str, int, str]:
        return self.label, self.init, self.task, self.seed, self.setting


def read_all(runs: Iterable[Path]) -> list[Result]:
    """Read the results of run folders and results.jsonl files, each file once, each job once.

    A job that failed has no scores, and is among them. Errors: ValueError for a bad line (with file and line), a run
    without results, one job with two outcomes, or jobs that were not scored on the same rows.
    """
    read = [read_run(run) for run in dict.fromkeys(run.resolve() for run in runs)]
    if troubles := [trouble for _, of_run in read for trouble in of_run]:
        raise ValueError(troubles[0])
    return compare([result for found, _ in read for result in found])


def read_what_is_there(runs: Iterable[Path]) -> tuple[list[Result], list[str]]:
    """Read results as `read_all` does, and what cannot be read of several runs, or is not finished, in words.

    Errors: ValueError if nothing can be read, or not all of the one run that is asked for; for a path where nothing is;
    and, as for `read_all`, for results that do not belong in one table.
    """
    asked = list({run.resolve(): run for run in runs}.values())
    results, left_out = [], []
    for run in asked:
        found, troubles = read_run(run)
        if troubles and (len(asked) == 1 or not run.exists()):
            raise ValueError(troubles[0])
        results += found
        left_out += [*troubles, *list_unfinished(run)]
    if not results:
        raise ValueError(f"there are no results yet: {'; '.join(left_out)}")
    return compare(results), left_out


def compare(results: Sequence[Result]) -> list[Result]:
    """Return each job once, if all that are of one task were scored on the same rows."""
    found = drop_doubles(results)
    refuse_unlike_rows(found)
    return found


def read_run(run: Path) -> tuple[list[Result], list[str]]:
    """Read the results of a run folder, or of a results.jsonl; and what of it cannot be read, a line each."""
    file = run / "results.jsonl" if run.is_dir() else run
    if not file.is_file():
        where = f"{run} has not finished a job, or is no run of finetune.run" if run.is_dir() else "nothing to read"
        return [], [f"{file} is not there ({where}): name run folders of finetune.run, or results.jsonl files"]
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return [], [f"{file} cannot be read ({error})"]
    results, troubles = [], []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                results.append(parse(line, f"{file}:{number}"))
            except ValueError as error:
                troubles.append(str(error))
    return results, troubles or ([] if results else [f"{file} holds no result: no finished job has a score"])


def list_unfinished(run: Path) -> list[str]:
    """Say which jobs of a run folder did not come to an end: those that were begun, and those of its last launch."""
    begun = [path.parent for path in (*run.glob("*/seed-*/recipe.yaml"), *run.glob("*/*/seed-*/recipe.yaml"))]
    try:
        asked = [run / name for name in json.loads((run / "jobs.json").read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):  # of an older version, or no run folder
        asked = []
    missing = {job for job in (*begun, *asked) if not (job / "finished.json").exists()}
    return [f"{job} is not finished" for job in sorted(missing)]


def parse(line: str, where: str) -> Result:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where} is not JSON ({error}): a table is made of results.jsonl files; if a run was killed while "
            "it wrote this one, delete the line"
        ) from None
    if not isinstance(fields, dict):
        raise ValueError(f"{where} is not a JSON object with the fields of a finished job")
    headline = get(fields, "headline", dict, where)
    failure = str(fields.get("failure") or "")
    has_value = headline.get("value") is not None or not failure
    best = get(fields, "best", dict, where) if "best" in fields else {}
    init = get(fields, "init", str, where)
    if init not in INITS:
        raise ValueError(f"{where}: init is {init!r}; allowed: {', '.join(INITS)}")
    return Result(
        task=get(fields, "task", str, where),
        label=get(fields, "label", str, where),
        init=init,
        seed=get(fields, "seed", int, where),
        metrics=rename_old(read_scores(fields, "metrics", where)),
        majority=read_scores(fields, "majority", where),
        headline=get(headline, "name", str, where),
        value=check_fraction(get(headline, "value", (int, float), where), "headline", where) if has_value else None,
        setting=json.dumps(get(fields, "hyperparameters", dict, where), sort_keys=True),
        tried=", ".join(f"{key.rsplit('.', 1)[-1]} {value}" for key, value in (fields.get("setting") or {}).items()),
        failure=failure,
        sizes=dict(fields.get("sizes") or {}),
        rows=dict(fields.get("rows") or {}),
        passes=float(fields.get("passes") or fields["hyperparameters"].get("epochs") or 1.0),
        held_out=float(fields.get("held_out") or 0.0),
        drawn_from=int(fields.get("drawn_from") or 0),
        chosen="the best of {evaluations} evaluations by {metric}".format(**best) if best else "",
        minutes=float(fields.get("seconds") or 0.0) / 60,
        memory=float(fields.get("peak_rss_mb") or 0.0) / 1e3,
        memory_of=str(fields.get("peak_rss_of") or "process"),
        precision=str(fields.get("precision") or ""),
        processes=int(fields.get("processes") or 1),
        data=str(fields.get("data", "")),
        commit=str(fields.get("commit") or ""),
        hardware=str(fields.get("hardware") or ""),
        model=str(fields.get("model") or ""),
        where=where,
    )


def get(fields: dict[str, Any], name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """A field that must be there and be of a kind."""
    if name not in fields:
        raise ValueError(f"{where} has no {name!r}: every line of a finished job has one")
    value = fields[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{where}: {name} is {value!r}, which is of the wrong type")
    return value


def read_scores(fields: dict[str, Any], name: str, where: str) -> Scores:
    """Return a field of the form {split: {metric: fraction}}."""
    splits = get(fields, name, dict, where)
    return {
        split: {
            metric: check_fraction(get(splits[split], metric, (int, float), where), f"{name} {split} {metric}", where)
            for metric in get(splits, split, dict, where)
        }
        for split in splits
    }


def rename_old(metrics: Scores) -> Scores:
    """What older versions called F1 of entities is the strict one."""
    return {
        split: {"strict_f1" if name == "f1" else name: value for name, value in names.items()}
        if "recall" in names and "strict_f1" not in names
        else names
        for split, names in metrics.items()
    }


def check_fraction(value: float, name: str, where: str) -> float:
    """Return a score that lies where scores lie."""
    if not math.isfinite(value) or abs(value) > 1:
        raise ValueError(f"{where}: {name} is {value}; scores are fractions from -1 to 1")
    return float(value)


def drop_doubles(results: Sequence[Result]) -> list[Result]:
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
    """Refuse results of one task that were scored on different rows, as a different majority score shows; of own files,
    whose rows have no other source, a different checksum too."""
    first: dict[str, Result] = {}
    for result in results:
        known = first.setdefault(result.task, result)
        of_own_files = result.task.startswith("own/") and result.rows and known.rows
        if not agree(known.majority, result.majority) or (of_own_files and known.rows != result.rows):
            raise ValueError(
                f"{result.where} and {known.where} were scored on different rows of {result.task} ({result.data} and "
                f"{known.data}), so they do not belong in one table"
            )


def agree(one: Scores, other: Scores) -> bool:
    """Whether two are of the same splits and equal in every metric that both have: versions may name different ones."""
    return one.keys() == other.keys() and all(
        one[split][name] == other[split][name] for split in one for name in one[split].keys() & other[split].keys()
    )
