"""What is a writer of chapters asked for, and how do it and its readers speak?  Through the files of one folder.

EPOCH-CHAPTER/train/    a store (corpus.text.store); it appears whole
EPOCH-CHAPTER.wanted    training waits for this one, however many others are there
evaluation/held_out/    the store of held-out documents, which is a job of its own
JOB.error               why JOB (chapters or held_out) will write no more
JOB.lock                held as long as JOB is at work
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from corpus.text.source import Source
from engine.run.disk import whole_file
from engine.run.system import lockf

Name = Literal["chapters", "held_out"]


@dataclass(frozen=True)
class Job:
    """One order to a writer: chapters without end from a place on, or the held-out documents."""

    name: Name
    sources: tuple[Source, ...]
    tokenizer: str  # JSON
    dtype: str  # of an id on disk
    held_out: float  # share of the documents
    held_out_tokens: int  # that are enough for evaluation
    chapter_tokens: int
    seed: int
    folder: Path
    processes: int  # that tokenize
    parent: int  # id of the process with which the job ends
    epoch: int = 0  # where the chapters begin
    number: int = 0
    cursor: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @staticmethod
    def from_json(text: str) -> "Job":
        fields = json.loads(text)
        sources = tuple(Source(**source) for source in fields["sources"])
        return Job(**{**fields, "sources": sources, "folder": Path(fields["folder"])})

    @property
    def target(self) -> Path:
        """The folder that appears first."""
        named = chapter_name(self.epoch, self.number) if self.name == "chapters" else "evaluation"
        return self.folder / named


def chapter_name(epoch: int, number: int) -> str:
    """Names sort as chapters follow each other."""
    return f"{epoch:06}-{number:06}"


def chapters_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[0-9]*-[0-9]*") if not path.suffix)


def is_past(chapter: Path) -> bool:
    """Are later chapters there, but not this one?  Then it will not come."""
    return any(path.name > chapter.name for path in chapters_in(chapter.parent)) and not chapter.exists()


def wanted_path(chapter: Path) -> Path:
    return chapter.with_suffix(".wanted")


# Is the job alive, and if not, why?


@contextmanager
def at_work(folder: Path, name: Name) -> Iterator[None]:
    """Within this block `is_at_work` says so, to every process of the machine, until this process ends."""
    with (folder / f"{name}.lock").open("w") as file:
        lockf(file)  # unlike flock's, this lock is not passed on to forked processes
        yield


def is_at_work(folder: Path, name: Name) -> bool:
    try:
        with (folder / f"{name}.lock").open() as file:
            lockf(file, shared=True, wait=False)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def tell(error: Exception, folder: Path, name: Name, trace: str) -> None:
    """Leave word of what ended the job: of the user's mistakes and the system's refusals in words, else the `trace`."""
    kind = next((kind for kind in (ValueError, OSError) if isinstance(error, kind)), RuntimeError)
    message = trace if kind is RuntimeError else str(error) or repr(error)
    whole_file(folder / f"{name}.error", json.dumps({"kind": kind.__name__, "message": message}).encode())


def raise_what_was_told(folder: Path, name: Name) -> None:
    path = folder / f"{name}.error"
    if path.exists():
        failure = json.loads(path.read_text())
        raise {"ValueError": ValueError, "OSError": OSError}.get(failure["kind"], RuntimeError)(failure["message"])
