"""What does the GLUE server want to see?  A zip of eleven files, from the test predictions that finetune.run left.

    cloze submit RUNS... [--out submission.zip] [--score FOLDER] [--partial True]

RUNS are run folders whose jobs were run with --predict_test True; the tasks may stand in several of them. Of a task's
jobs (seeds, settings, runs) the one that is best on dev is taken, and nothing but dev chooses. AX is predicted by the
MNLI model that is taken (gluebenchmark.com/faq), WNLI by the commonest label of its training rows, unless a model beats
that on dev. What the server would refuse is refused, with all that is missing; --partial True writes what there is.

With --score FOLDER the predictions are scored by the labelled test files in FOLDER, as far as it holds them: RTE.tsv,
named as in the zip, with a column `prediction`, `label`, or what the task calls it, or RTE/test.tsv, laid out and
named as in the benchmark's download (MNLI/test_matched.tsv, AX/diagnostic.tsv), with the task's label column. Rows
without a label (empty, - or -1) are not scored, nor those that a file with a column `index` lacks: how many are is
printed.
"""

import io
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

from datasets import Dataset
from tyro.conf import Positional, arg

from engine.run.disk import whole_file
from engine.run.options import read_options
from engine.run.records import json_object
from engine.run.runtime import program
from finetune.table.results import Result, parse, refuse_unlike_rows
from finetune.tasks import glue
from finetune.tasks.metrics import score
from finetune.tasks.task import find_task


@dataclass(frozen=True)
class Entry:
    """One file of a submission: a row for each row of a test split, in its order."""

    name: str  # "MNLI-m", without .tsv
    sheet: glue.Sheet
    split: str
    num_rows: int  # of the official test file

    @property
    def learnt(self) -> str:
        return find_task(self.sheet.task).trained_as or self.sheet.task

    @property
    def predictions(self) -> str:
        return f"{self.sheet.task.replace('/', '-')}-{self.split}.jsonl"


ENTRIES = (
    Entry("CoLA", glue.COLA, "test", 1063),
    Entry("SST-2", glue.SST2, "test", 1821),
    Entry("MRPC", glue.MRPC, "test", 1725),
    Entry("STS-B", glue.STSB, "test", 1379),
    Entry("QQP", glue.QQP, "test", 390_965),
    Entry("MNLI-m", glue.MNLI, "test_matched", 9796),
    Entry("MNLI-mm", glue.MNLI, "test_mismatched", 9847),
    Entry("QNLI", glue.QNLI, "test", 5463),
    Entry("RTE", glue.RTE, "test", 3000),
    Entry("WNLI", glue.WNLI, "test", 146),
    Entry("AX", glue.AX, "test", 1104),
)
NOT_AVERAGED = ("WNLI", "AX")  # the average is that of the published table: nine columns, MNLI's two apart
ADVICE = "Nothing was written. --partial True writes what there is, to look at or to be scored"
UNLABELLED = ("", "-", "-1")
MAJORITY = "not_entailment"  # 323 of WNLI's 635 training rows


@dataclass(frozen=True)
class Options:
    """Write the zip that the GLUE server takes.

    Example: cloze submit runs/glue --partial True
    """

    # folders of fine-tuning runs (cloze finetune) that were run with --predict_test True
    runs: Annotated[tuple[Path, ...], Positional, arg(metavar="RUN...", help_behavior_hint="(one or several)")]
    out: Path = Path("submission.zip")  # the zip to write
    score: Path | None = None  # a folder of labelled test files, by which the predictions are scored
    partial: bool = False  # write the tasks that are there, though the server takes only a complete zip


@dataclass(frozen=True)
class Job:
    """A finished job, its folder, and how good it is on dev."""

    folder: Path
    result: Result
    value: float


@dataclass(frozen=True)
class Filled:
    """What stands in one file of the submission, and where it comes from; `lack`: why the server would refuse it."""

    rows: tuple[str, ...]  # as the official files write labels and scores
    origin: str
    lack: str = ""


@program
def main(argv: list[str]) -> None:
    options = read_options(Options, argv, "python -m finetune.submit")
    jobs = read_jobs(options.runs)
    filled = {entry: fill(entry, jobs[entry.learnt]) for entry in ENTRIES}
    lacks = [f"{entry.name}.tsv: {file.lack}" for entry, file in filled.items() if file.lack]
    if lacks and not options.partial:
        raise ValueError(
            "\n  ".join([f"the server would refuse this submission ({len(lacks)} files):", *lacks, ADVICE])
        )
    files = {entry: file.rows for entry, file in filled.items() if file.rows}
    scores = score_files(options.score, files) if options.score else []
    whole_file(options.out, make_zip(files))
    print(report(filled, options.out, scores))


def read_jobs(runs: Sequence[Path]) -> dict[str, list[Job]]:
    """The finished jobs in run folders by task, each once; one without a score, which failed, is left out.

    Errors: ValueError for a folder without a job, or for jobs of one task that were scored on different dev rows.
    """
    jobs: dict[str, list[Job]] = {entry.learnt: [] for entry in ENTRIES}
    seen: set[Path] = set()
    for run in runs:
        found = sorted(path for path in run.rglob("finished.json") if path.parent.name.startswith("seed-"))
        if not found:
            raise ValueError(f"{run} holds no finished job; name run folders of finetune.run, such as runs/glue")
        for path in found:
            result = parse(path.read_text(encoding="utf-8"), str(path))
            if path.resolve() not in seen and result.task in jobs and result.value is not None:
                jobs[result.task].append(Job(path.parent, result, result.value))
            seen.add(path.resolve())
    if not seen:
        raise ValueError("name the run folders whose jobs predicted the test splits, such as runs/glue")
    for of_task in jobs.values():
        refuse_unlike_rows([job.result for job in of_task])
    return jobs


def list_candidates(jobs: Sequence[Job]) -> list[Job]:
    """The jobs of one task that predicted most of its test files, the best on dev first."""
    files = [entry.predictions for entry in ENTRIES if jobs and entry.learnt == jobs[0].result.task]
    number = [sum((job.folder / file).is_file() for file in files) for job in jobs]
    kept = [job for job, own in zip(jobs, number, strict=True) if own and own == max(number)]
    return sorted(kept, key=lambda job: job.value, reverse=True)


def fill(entry: Entry, jobs: Sequence[Job]) -> Filled:
    """One file, from the jobs of the task that its model learns."""
    candidates = list_candidates(jobs)
    if entry.sheet is glue.WNLI and not (candidates and beats_majority(candidates[0])):
        beaten = f"; the best model has {percent(candidates[0].value)} on dev" if candidates else ""
        code = glue.WNLI.written[glue.WNLI.labels.index(MAJORITY)]
        return Filled((code,) * entry.num_rows, f"{MAJORITY}, the commonest label of the training rows{beaten}")
    if not candidates:
        ran = f"none of its {len(jobs)} jobs has test predictions" if jobs else "no finished job"
        why = f"{entry.learnt}: {ran}; run it with --predict_test True on data that has the test files"
        return Filled((), "missing", why)
    job, other = candidates[0], len(jobs) - len(candidates)
    path = job.folder / entry.predictions
    if not path.is_file():
        why = f"{path} is not there: the data had no {entry.split} split of {entry.sheet.task}"
        return Filled((), "missing", why)
    rows = tuple(read_predictions(path, entry.sheet))
    lack = "" if len(rows) == entry.num_rows else f"{path} has {len(rows)} rows, the official file {entry.num_rows}"
    of = f"of {len(candidates)}" + (f"; {other} more without test predictions" if other else "")
    return Filled(rows, f"{job.folder} ({job.result.headline} {percent(job.value)} on dev, best {of})", lack)


def beats_majority(job: Job) -> bool:
    majority = next(iter(job.result.majority.values()))
    return job.value > majority[job.result.headline]


def read_predictions(path: Path, sheet: glue.Sheet) -> Iterator[str]:
    """The answers in a job's predictions file, in the official writing.

    Errors: ValueError, with file and line, for a line that is none of a prediction, or for ids that are not 0, 1, 2…,
    as they are in the official test files.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            where = f"{path}:{number + 1}"
            try:
                fields = json_object(line)
                row_id, answer = fields["id"], fields["prediction"]
            except (ValueError, KeyError) as error:
                raise ValueError(f"{where}: no JSON object with an id and a prediction ({error})") from None
            if row_id != str(number):
                raise ValueError(
                    f"{where}: id {row_id!r}; expected {str(number)!r}: official test files number their rows"
                )
            yield to_official(answer, sheet, where)


def to_official(answer: Any, sheet: glue.Sheet, where: str) -> str:
    """One answer as the server reads it: a label in the files' own writing, a score from 0 to 5."""
    if sheet.labels:
        if answer not in sheet.labels:
            raise ValueError(f"{where}: prediction {answer!r} of {sheet.task}; allowed: {', '.join(sheet.labels)}")
        return sheet.written[sheet.labels.index(answer)]
    if not isinstance(answer, int | float) or not math.isfinite(answer):
        raise ValueError(f"{where}: prediction {answer!r} of {sheet.task} is not a number")
    return f"{min(max(answer, 0.0), glue.LARGEST_SCORE):.3f}"


def make_zip(files: Mapping[Entry, Iterable[str]]) -> bytes:
    """The zip, the same bytes for the same predictions: its files bear the first date that a zip can hold."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, rows in files.items():
            about = zipfile.ZipInfo(f"{entry.name}.tsv", (1980, 1, 1, 0, 0, 0))
            about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            lines = "".join(f"{index}\t{row}\n" for index, row in enumerate(rows))
            archive.writestr(about, f"index\tprediction\n{lines}")
    return content.getvalue()


def report(filled: Mapping[Entry, Filled], out: Path, scores: Sequence[str]) -> str:
    """Which job predicted what, what it scored, and whether the server takes it."""
    rows = {entry: f"{len(file.rows)} rows" if file.rows else "-" for entry, file in filled.items()}
    origins = [f"{entry.name + '.tsv':<12}{rows[entry]:>12}  {file.origin}" for entry, file in filled.items()]
    num_files = sum(bool(file.rows) for file in filled.values())
    lacks = [f"  {entry.name}.tsv: {file.lack}" for entry, file in filled.items() if file.lack]
    verdict = "the server refuses it:" if lacks else "complete, as the server takes it"
    return "\n".join([*origins, *scores, f"{out}: {num_files} files of {len(ENTRIES)}, {verdict}", *lacks])


def score_files(folder: Path, files: Mapping[Entry, Sequence[str]]) -> list[str]:
    """What the predictions score where `folder` has the labels, in percent, a line each, and the nine's average.

    Errors: ValueError if it has none of them, or if one does not belong to the rows that are predicted.
    """
    labelled = {entry: found for entry, rows in files.items() if (found := read_right_labels(folder, entry, len(rows)))}
    if not labelled:
        looked = ", ".join(f"{entry.name}.tsv or {in_download(entry)}" for entry in files)
        raise ValueError(f"{folder} has no labels of what is predicted; looked for a column of labels in {looked}")
    lines, headlines, in_part = [f"scores by the labels in {folder}:"], {}, []
    for entry, right in labelled.items():
        task, rows = find_task(entry.sheet.task), files[entry]
        answers = glue.read_labels(entry.sheet, ((row, rows[row]) for row in right), str)
        numbers = score(task, answers, Dataset.from_dict({"label": list(right.values())}))
        headlines[entry.name] = numbers[task.headline]
        undefined = " (all answers alike: undefined)" if numbers.pop("undefined", 0) else ""
        of = f" on the {len(right):,} of {len(rows):,} rows that have labels" if len(right) < len(rows) else ""
        in_part += [entry.name] if of else []
        values = ", ".join(f"{name} {percent(x)}" for name, x in numbers.items())
        lines.append(f"{entry.name:<12}{values}{undefined}{of}")
    nine = [entry.name for entry in ENTRIES if entry.name not in NOT_AVERAGED]
    if unknown := [name for name in nine if name not in headlines]:
        return [*lines, f"no average of the nine columns without {', '.join(unknown)}"]
    parts = [name for name in in_part if name in nine]
    note = f"; of {', '.join(parts)} a part of the rows" if parts else ""
    average = fmean(headlines[name] for name in nine)
    return [*lines, f"average     {percent(average)} of nine columns, WNLI left out{note}"]


def read_right_labels(folder: Path, entry: Entry, num_rows: int) -> dict[int, float] | None:
    """Row → label, from the file in `folder` that has the labels of a test split; None where there is none.

    Rows without a label are left out. Errors: ValueError, with file and line, for a bad label, for an index that is no
    predicted row's or stands twice, and for a file without indices that has another number of rows.
    """
    anywhere = (entry.sheet.label, "label", "prediction")
    for name, columns in ((f"{entry.name}.tsv", anywhere), (in_download(entry), (entry.sheet.label,))):
        path = folder / name
        if not path.is_file():
            continue
        header, lines = glue.read_tsv(path, ())
        lines, _ = glue.drop_broken_rows(path, len(header), lines, skip=False)
        column = next((column for column in columns if column in header), None)
        if column is None:
            continue
        rows = match_rows(path, header, lines, num_rows)
        written = {line: row[header.index(column)] for line, row in lines.items()}
        written = {line: label for line, label in written.items() if label not in UNLABELLED}
        if written:
            labels = glue.read_labels(entry.sheet, written.items(), partial("{}:{}".format, path))
            return dict(zip((rows[line] for line in written), labels, strict=True))
    return None


def match_rows(path: Path, header: Sequence[str], lines: Mapping[int, list[str]], num_rows: int) -> dict[int, int]:
    """Line → the predicted row that it labels: a prediction is scored by the label of its own row."""
    if "index" not in header:
        if len(lines) != num_rows:
            raise ValueError(
                f"{path} has {len(lines)} rows, but {num_rows} are predicted: these are not the same rows; for a part "
                "of them a column index says which"
            )
        return dict(zip(lines, range(num_rows), strict=True))
    known = {str(number): number for number in range(num_rows)}
    rows: dict[int, int] = {}
    seen: dict[str, int] = {}  # index → its line
    for line, fields in lines.items():
        index = fields[header.index("index")]
        if index not in known:
            raise ValueError(f"{path}:{line}: index {index!r}; the test file has 0 to {num_rows - 1}")
        if index in seen:
            raise ValueError(f"{path}:{line}: index {index!r} stands in line {seen[index]} too")
        rows[line], seen[index] = known[index], line
    return rows


def in_download(entry: Entry) -> str:
    return f"{entry.sheet.folder}/{entry.sheet.only_file or entry.split + '.tsv'}"


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


if __name__ == "__main__":
    main()
