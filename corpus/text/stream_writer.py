"""Write chapter after chapter of a stream, a few ahead of training, or its held-out documents.

    python -m corpus.text.stream_writer < JOB.json        (corpus.text.stream starts it, corpus.text.stream_job says
    what a job is)

It deletes the job's folder and ends when the process that started it is no more.
"""

import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy
from tokenizers import Tokenizer

from corpus.text.document import Document, Tally
from corpus.text.encoding import Encoded, encode_all
from corpus.text.held_out import Division, Split, division
from corpus.text.interleaving import Reading, num_characters
from corpus.text.source import files_left_out, parts
from corpus.text.store import Writer
from corpus.text.stream_job import Job, at_work, chapter_name, chapters_in, tell, wanted_path
from corpus.workers import until_gone
from engine.run.disk import whole_folder

AHEAD = 2  # chapters that are there beside the one in training
BATCH_CHARACTERS = 1 << 20  # of text a worker is handed at a time
BYTES_PER_ID = 1.3  # on disk, for each byte of an id: the tables of sentences and documents are the rest
FEWEST_DOCUMENTS = 8  # of a batch, so of a chapter: a random next sentence has several to come from
LOOK_EVERY = 0.05  # seconds
RAMP = 4  # the first chapters double in size this often, so that training can begin soon


@dataclass(frozen=True)
class Batch:
    """Documents that are encoded together."""

    documents: list[Document]
    cursor: dict[str, Any]  # where the reading stands behind them
    left_out: Tally  # while they were read
    is_last: bool = False  # of its epoch


def main() -> None:
    job = Job.from_json(sys.stdin.read())
    threading.Thread(target=end_with, args=(job,), daemon=True).start()
    with at_work(job.folder, job.name):
        try:
            write_held_out(job) if job.name == "held_out" else write_chapters(job)
        except Exception as error:
            tell(error, job.folder, job.name, traceback.format_exc())
            sys.exit(1)


def end_with(job: Job) -> None:
    until_gone(job.parent)
    subprocess.Popen(["rm", "-rf", job.folder], start_new_session=True)  # once this process writes no more
    os._exit(1)


def write_chapters(job: Job) -> None:
    """Write chapters from the job's place on, epoch after epoch, until the process is ended."""
    epoch, number, cursor = job.epoch, job.number, job.cursor
    work = ((batch, batch.documents) for batch in batches_from(job))
    encoded = encode_all(work, Tokenizer.from_str(job.tokenizer), job.processes)
    while True:
        wait_for_room(job.folder, job.folder / chapter_name(epoch, number))
        end = write_chapter(encoded, job, epoch, number, cursor)
        epoch, number, cursor = (epoch + 1, 0, {}) if end.is_last else (epoch, number + 1, end.cursor)


def wait_for_room(folder: Path, chapter: Path) -> None:
    while len(chapters_in(folder)) > AHEAD and not wanted_path(chapter).exists():
        time.sleep(LOOK_EVERY)


def write_chapter(
    encoded: Iterator[tuple[Batch, Encoded]], job: Job, epoch: int, number: int, cursor: dict[str, Any]
) -> Batch:
    """Write one chapter, and return the last batch that went into it."""
    size = num_tokens(job.chapter_tokens, epoch, number)
    with whole_folder(job.folder / chapter_name(epoch, number), num_bytes(size, job.dtype)) as aside:
        writer, left_out = Writer(aside / "train", job.dtype), Tally()
        for batch, ids in encoded:
            writer.append(ids)
            left_out += batch.left_out + ids.skipped
            if batch.is_last or writer.counts["tokens"] >= size:
                break
        place = {"epoch": epoch, "number": number, "is_last": batch.is_last}
        cursors = {"cursor": cursor, "next_cursor": {} if batch.is_last else batch.cursor}
        writer.close({"dtype": job.dtype, "skipped": left_out, **place, **cursors})
    return batch


def write_held_out(job: Job) -> None:
    """Write the held-out documents of epoch 0 from its beginning on, until they have enough tokens or it ends."""
    reading, divided = from_the_beginning(job), division(from_the_beginning(job), job.held_out)
    held_out = on_side("held_out", reading, divided)
    work = (
        (batch, batch.documents)
        for batch in in_batches(held_out, reading, min(BATCH_CHARACTERS // 16, job.held_out_tokens))
    )
    with whole_folder(job.target, num_bytes(job.held_out_tokens, job.dtype)) as aside:
        writer, left_out = Writer(aside / "held_out", job.dtype), sum(map(files_left_out, job.sources), Tally())
        for batch, ids in encode_all(work, Tokenizer.from_str(job.tokenizer), processes=1):
            writer.append(ids)
            left_out += batch.left_out + ids.skipped
            if writer.counts["tokens"] >= job.held_out_tokens:
                break
        if job.held_out and not writer.counts["documents"]:
            raise ValueError(f"no document left to evaluate on: corpus.held_out is {job.held_out}; give more text")
        writer.close({"dtype": job.dtype, "division": asdict(divided), "skipped": left_out})


def from_the_beginning(job: Job) -> Reading:
    return Reading([parts(source) for source in job.sources], job.seed, 0, {})


def on_side(side: Split, reading: Reading, divided: Division) -> Iterator[Document]:
    return (document for split, document in chain.from_iterable(map(divided.parts, reading)) if split == side)


# From documents to batches of them


def batches_from(job: Job) -> Iterator[Batch]:
    """All text to train on, from the job's place on, epoch after epoch. Errors: ValueError if there is none."""
    sources = [parts(source) for source in job.sources]
    epoch, cursor = job.epoch, job.cursor
    divided = division(from_the_beginning(job), job.held_out)
    while True:
        reading = Reading(sources, job.seed, epoch, cursor)
        to_train_on = on_side("train", reading, divided)
        nothing = True
        for batch in in_batches(to_train_on, reading, min(BATCH_CHARACTERS, job.chapter_tokens)):
            nothing = False
            yield batch
        if nothing:
            left_out = dict(reading.left_out())
            raise ValueError(f"no document left to train on: held_out is {job.held_out}, left out: {left_out}")
        epoch, cursor = epoch + 1, {}


def in_batches(documents: Iterator[Document], reading: Reading, size: int) -> Iterator[Batch]:
    """Batches of `size` characters and several documents; what remains at the end is joined to the last of them.

    A chapter ends only where a batch ends, so where it ends does not depend on how many processes encode.
    """
    full: Batch | None = None
    waiting: list[Document] = []
    characters = 0
    for document in documents:
        waiting.append(document)
        characters += num_characters(document)
        if characters >= size and len(waiting) >= FEWEST_DOCUMENTS:
            if full:
                yield full
            full = Batch(waiting, reading.cursor(), reading.left_out())
            waiting, characters = [], 0
    before = full or Batch([], {}, Tally())
    if rest := before.documents + waiting:
        yield Batch(rest, reading.cursor(), before.left_out + reading.left_out(), is_last=True)


def num_tokens(chapter_tokens: int, epoch: int, number: int) -> int:
    """How many tokens make a chapter full."""
    return chapter_tokens >> max(0, RAMP - number) if epoch == 0 else chapter_tokens


def num_bytes(tokens: int, dtype: str) -> int:
    return int(tokens * numpy.dtype(dtype).itemsize * BYTES_PER_ID)


if __name__ == "__main__":
    main()
