"""How does a corpus that is never stored reach training?  Chapter by chapter, each on disk only while it is needed.

On each machine a process of its own (corpus.text.stream_writer) reads the sources, interleaved by weight, tokenizes,
and writes chapter after chapter as a small store, a few ahead of training; the training process deletes those it has
left. So every objective works as on a prepared store, a random next sentence is from another document of the chapter,
and the documents of a chapter are put in a random order whole: nothing is lost or seen twice, and no shuffle buffer has
to be saved. What is in a chapter does not depend on how many processes write or read it.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import xxhash
from transformers import PreTrainedTokenizerFast

from corpus.text.chapters import Chapter
from corpus.text.sentences import SPLITTER
from corpus.text.source import Source, parts, pinned
from corpus.text.store import Store, vocabulary_size
from corpus.text.stream_job import Job, chapter_name, chapters_in, is_at_work, is_past, raise_what_was_told, wanted_path
from engine.train import draws

EDGE = 1 << 16  # bytes
HELD_OUT_TOKENS = 1 << 18  # 2,048 examples of 128 tokens
LOOK_EVERY = 0.05  # seconds
PATIENCE = 120.0  # seconds without a writer at work, after which a process that does not start it gives up


class StreamedText:
    """The text of `sources`, as chapters of about `chapter_tokens` tokens; the very first ones are smaller.

    `held_out` is the share of documents kept from training. `folder` is this run's own, on a disk of this machine; it
    takes about ten bytes for each token of a chapter. `processes` tokenize. On each machine exactly one process says
    `builds`, and calls `consumed` and `close`; the others, and DataLoader workers, to whom this is pickled or forked,
    open what it has made. `launch` names this launch, alike in all its processes: the writer of a launch that was
    killed may still write or delete for a moment, and does so in another folder. Errors: those of
    `corpus.text.source.pinned`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        tokenizer: PreTrainedTokenizerFast,
        held_out: float,
        chapter_tokens: int,
        folder: Path,
        seed: int,
        processes: int,
        builds: bool,
        held_out_tokens: int = HELD_OUT_TOKENS,
        launch: str = "",
    ) -> None:
        job = Job(
            name="held_out",
            sources=tuple(pinned(source) for source in sources),
            tokenizer=tokenizer.backend_tokenizer.to_str(),
            dtype="uint16" if vocabulary_size(tokenizer) <= 1 << 16 else "uint32",
            held_out=held_out,
            held_out_tokens=held_out_tokens,
            chapter_tokens=chapter_tokens,
            seed=seed,
            folder=Path(),
            processes=0,
            parent=0,
        )
        # All processes of a launch compute this name, and what another run has left behind has another one.
        self._stamp = hashlib.sha256(job.to_json().encode()).hexdigest()[:16]
        home = folder.absolute() / f"{self._stamp}{launch}"
        self._job = replace(job, folder=home, processes=processes, parent=os.getpid())
        self._num_ids = vocabulary_size(tokenizer)
        self._owner = os.getpid() if builds else None
        self._writers: dict[str, subprocess.Popen[str]] = {}
        self._coming: tuple[int, int] | None = None  # the writer's next chapter that was not opened here
        self._reached = ""  # the name of the chapter in training
        if builds:
            for left in folder.glob(f"{self._stamp}*"):
                shutil.rmtree(left, ignore_errors=True)
            home.mkdir(parents=True)
            self._start(self._job)

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources, those of the Hub at the commit that is read."""
        return self._job.sources

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of what decides over the chapters: how they are cut and the sources, at their commit or by
        their files' names, sizes, beginnings and ends, since no stream is read whole for it. A cursor is good for one
        fingerprint."""
        found = [
            (part.name, part.num_bytes, edges(part.path)) for source in self._job.sources for part in parts(source)
        ]
        return hashlib.sha256(json.dumps([self._stamp, found, SPLITTER]).encode()).hexdigest()

    def chapter(self, epoch: int, number: int, cursor: dict[str, Any]) -> Chapter:
        """Open a chapter, as soon as it is there. `cursor` says where its sources stand: that of a saved position, or
        the `next_cursor` of the chapter before; {} at the beginning of an epoch.

        Out of turn, the writer begins anew from `cursor`: what lies before is passed over, not tokenized. Errors: what
        the writer met, as ValueError (bad input) or OSError (no room on the disk, no network, a killed writer).
        """
        job = replace(self._job, name="chapters", epoch=epoch, number=number, cursor=cursor)
        self._wait_for(job)
        store = Store(job.target / "train", self._num_ids)
        about = store.manifest
        if self._builds and self._coming == (epoch, number):
            self._coming = (epoch + 1, 0) if about["is_last"] else (epoch, number + 1)
            wanted_path(job.target).unlink(missing_ok=True)
        documents = draws.permutation(draws.stream("documents", job.seed, epoch, number), len(store))
        return Chapter(store, documents, about["is_last"], about["cursor"], about["next_cursor"])

    def consumed(self, epoch: int, number: int) -> None:
        """Training has reached this chapter: delete those before it. What is open stays readable."""
        if self._builds and self._reached != chapter_name(epoch, number):
            self._reached = chapter_name(epoch, number)
            for chapter in chapters_in(self._job.folder):
                if chapter.name < self._reached:
                    shutil.rmtree(chapter, ignore_errors=True)

    def held_out(self) -> Store:
        """The documents for evaluation: the first held-out ones of epoch 0, until they have `held_out_tokens` tokens or
        the sources end. At a rate of 0.01, a hundred times as much text is read for them. Errors: as in `chapter`."""
        self._wait_for(self._job)
        return Store(self._job.target / "held_out", self._num_ids)

    def close(self) -> None:
        """End the writers and remove the folder."""
        if self._builds:
            for name in list(self._writers):
                self._end(name)
            shutil.rmtree(self._job.folder, ignore_errors=True)
            with suppress(OSError):  # where it holds another run's
                self._job.folder.parent.rmdir()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_owner": None, "_writers": {}}

    # Waiting

    @property
    def _builds(self) -> bool:
        return self._owner == os.getpid()  # a forked DataLoader worker does not

    def _wait_for(self, job: Job) -> None:
        last_seen = time.monotonic()
        while not job.target.exists():
            if self._builds:
                self._see_to(job)
            elif is_at_work(job.folder, job.name):
                last_seen = time.monotonic()
                if is_past(job.target):
                    raise RuntimeError(f"{job.target} was deleted before this process opened it")
            else:
                raise_what_was_told(job.folder, job.name)
                if time.monotonic() > last_seen + PATIENCE:
                    raise ChildProcessError(f"nobody is writing {job.target}: the process that had it written is gone")
            time.sleep(LOOK_EVERY)

    def _see_to(self, job: Job) -> None:
        """Have somebody write what this job is for. Errors: what ended the one who did."""
        writer = self._writers.get(job.name)
        status = writer.poll() if writer else None
        out_of_turn = job.name == "chapters" and ((job.epoch, job.number) != self._coming or is_past(job.target))
        if writer is None or out_of_turn or status == -signal.SIGTERM:  # who ends all processes lets us save our state
            self._start(job)
        elif status is None:
            wanted_path(job.target).touch()  # there may be enough chapters that are not consumed yet
        elif not job.target.exists():
            raise_what_was_told(job.folder, job.name)
            raise ChildProcessError(f"the process that writes {job.target} {in_words(status)}")

    # Writers

    def _start(self, job: Job) -> None:
        self._end(job.name)
        if job.name == "chapters":
            for chapter in chapters_in(job.folder):
                if self._coming and chapter.name >= chapter_name(*self._coming):
                    shutil.rmtree(chapter)
            self._coming = job.epoch, job.number
        # An interpreter of its own, since a process with threads and a GPU must not be forked; it imports no torch.
        root = Path(__file__).parents[2]
        path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
        writer = subprocess.Popen(
            [sys.executable, "-P", "-m", "corpus.text.stream_writer"],
            stdin=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for training, which saves its state first
        )
        self._writers[job.name] = writer
        assert writer.stdin
        with suppress(BrokenPipeError), writer.stdin:  # it is dead already: whoever waits for it learns so
            writer.stdin.write(job.to_json())

    def _end(self, name: str) -> None:
        if writer := self._writers.pop(name, None):
            writer.kill()
            writer.wait()
        (self._job.folder / f"{name}.error").unlink(missing_ok=True)


def in_words(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    reason = ", as the system does when memory runs out" if status == -signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-status).name}{reason}"


def edges(path: Path | None) -> str:
    """A checksum of a file's first and last EDGE bytes: of equal sizes, it tells other text from the same. "" for what
    is no file."""
    if path is None:
        return ""
    with path.open("rb") as file:
        found = xxhash.xxh3_64(file.read(EDGE))
        file.seek(max(0, path.stat().st_size - EDGE))
        found.update(file.read(EDGE))
    return found.hexdigest()
