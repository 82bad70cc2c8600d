"""In which stages is a corpus prepared on many machines?  datatrove's tasks read, clean, encode and join.

    read, filter, hash          only where near duplicates are to go: MinHash signatures (Broder 1997), task by task
    match, cluster              the same: who resembles whom, and who stays
    read, filter, encode        each task writes its shard, whole or not at all
    join                        the shards become a store

Task k of N reads a run of parts, so the documents' order is the sources' own, whatever N is. Filters and MinHash are
datatrove's, with its settings.
"""

import gc
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from datatrove.data import Document as Passed
from datatrove.pipeline import filters as datatrove_filters
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.utils.hashing import HashConfig

from corpus.text.document import Document, Tally
from corpus.text.encoding import Encoder
from corpus.text.held_out import Division, division
from corpus.text.joining import join
from corpus.text.readers import cleaned, read
from corpus.text.source import Part, Source, parts
from corpus.text.store import SPLITS, Writer, all_documents, batches
from engine.run.disk import whole_file, whole_folder

FILTERS = {
    "gopher_quality": datatrove_filters.GopherQualityFilter,
    "gopher_repetition": datatrove_filters.GopherRepetitionFilter,
    "c4_quality": datatrove_filters.C4QualityFilter,
    "fineweb_quality": datatrove_filters.FineWebQualityFilter,
}


@dataclass(frozen=True)
class Stage:
    """What `num_tasks` tasks do independently of each other; the next stage needs all of them."""

    name: str
    steps: list[PipelineStep]
    num_tasks: int


def stages(origin: dict[str, Any], tokenizer_json: str, num_tasks: int, stores: Path, work: Path) -> list[Stage]:
    """All that has to be done for the store of `origin` (corpus.text.store.origin_of) in `stores`; shards go to
    `work`."""
    shares = shared_out([found for source in origin["sources"] for found in anywhere(Source(**source))], num_tasks)
    cleaning = origin.get("cleaning", {"filters": [], "deduplicate": None})

    reader = Read(origin["sources"], shares, work / "errors")
    cleaners = {name: FILTERS[name]() for name in cleaning["filters"]}
    before = []
    if cleaning["deduplicate"]:
        before = minhash([reader, *cleaners.values()], num_tasks, work)
        cleaners["minhash"] = MinhashDedupFilter(str(work / "removed"))
    divided = division(all_documents(origin, Tally()), origin["held_out"])
    writer = WriteShard(tokenizer_json, origin, divided, work / "shards", reader, cleaners)
    shards = [work / "shards" / shard_name(task) for task in range(num_tasks)]
    return [
        *before,
        Stage("encode", [reader, *cleaners.values(), writer], num_tasks),
        Stage("join", [Join(shards, origin, stores)], 1),
    ]


def minhash(read_and_filter: list[PipelineStep], num_tasks: int, work: Path) -> list[Stage]:
    config = MinhashConfig(hash_config=HashConfig(hash_fc="sha1"))  # xxhash 4 refuses what datatrove gives it
    signatures, matches, removed = (str(work / name) for name in ("signatures", "matches", "removed"))
    return [
        Stage("hash", [*read_and_filter, MinhashDedupSignature(signatures, config)], num_tasks),
        Stage("match", [MinhashDedupBuckets(signatures, matches, config=config)], config.num_buckets),
        Stage("cluster", [MinhashDedupCluster(matches, removed, config)], 1),
    ]


def anywhere(source: Source) -> list[Part]:
    """The parts of a source, to be read from any working folder."""
    return [replace(part, path=part.path.absolute()) if part.path else part for part in parts(source)]


def shared_out(all_parts: list[Part], num_tasks: int) -> list[list[Part]]:
    """The parts in `num_tasks` runs of about as many bytes each, in their order; a run may be empty."""
    sizes = [max(1, part.num_bytes) for part in all_parts]
    shares: list[list[Part]] = [[] for _ in range(num_tasks)]
    before = 0
    for part, size in zip(all_parts, sizes, strict=True):
        shares[(2 * before + size) * num_tasks // (2 * sum(sizes))].append(part)
        before += size
    return shares


def shard_name(task: int) -> str:
    return f"{task:05}"


class Read(PipelineStep):
    """Documents of a task's parts."""

    name, type = "cloze", "read"

    def __init__(self, sources: list[dict[str, Any]], shares: list[list[Part]], errors: Path) -> None:
        super().__init__()
        self.sources, self.shares, self.errors = [Source(**source) for source in sources], shares, errors
        self.tally, self.counts = Tally(), Counter[int]()

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Passed]:
        try:
            for part in self.shares[rank]:
                source = self.sources.index(part.source)
                for document in read(part, self.tally):
                    self.counts[source] += 1
                    yield Passed("\n".join(document.paragraphs), document.id, metadata={"form": document.form})
        except (ValueError, OSError) as error:  # not every executor hands on what went wrong
            whole_file(self.errors / shard_name(rank), str(error).encode())
            raise


class WriteShard(PipelineStep):
    """Sentences and tokens of the documents that are left, as a store of its own for each split."""

    name, type = "cloze", "write"

    def __init__(
        self, tokenizer_json: str, origin: dict[str, Any], divided: Division, folder: Path, reader: Read,
        cleaners: dict[str, PipelineStep],
    ) -> None:  # fmt: skip
        super().__init__()
        self.tokenizer_json, self.origin, self.divided, self.folder = tokenizer_json, origin, divided, folder
        self.reader, self.cleaners = reader, cleaners  # a task's own copies, which know what they left out

    def run(self, data: Iterator[Passed], rank: int = 0, world_size: int = 1) -> None:
        shard = self.folder / shard_name(rank)
        if shard.exists():
            return
        gc.freeze()  # what is there stays: nothing is gained by looking through it again and again
        encoder, tally = Encoder(self.tokenizer_json), self.reader.tally
        with whole_folder(shard) as aside:
            writers = {split: Writer(aside / split, self.origin["dtype"]) for split in SPLITS}
            for split, batch in batches(received(data, tally), self.divided):
                encoded = encoder.encode(batch)
                writers[split].append(encoded)
                tally.update(encoded.skipped)
            for name, cleaner in self.cleaners.items():
                tally[f"documents left out by {name}"] += int(cleaner.stats["dropped"].total)
            for writer in writers.values():
                about = {"dtype": self.origin["dtype"], "division": asdict(self.divided)}
                writer.close({**about, "skipped": +tally, "read": self.reader.counts})


def received(data: Iterator[Passed], tally: Tally) -> Iterator[Document]:
    """Documents as they come out of filters, which may have taken lines from them."""
    for passed in data:
        form = passed.metadata["form"]
        paragraphs = (passed.text,) if form == "whole" else tuple(passed.text.split("\n"))
        document = cleaned(Document(passed.id, paragraphs, form), tally)
        if document.paragraphs:
            yield document
        else:
            tally["empty documents"] += 1


class Join(PipelineStep):
    """The shards become the store."""

    name, type = "cloze", "join"

    def __init__(self, shards: list[Path], origin: dict[str, Any], stores: Path) -> None:
        super().__init__()
        self.shards, self.origin, self.stores = shards, origin, stores

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> None:
        join(self.shards, self.origin, self.stores)


def forget_lost_work(work: Path, num_tasks: int) -> None:
    """Unmark the tasks whose shard is not there after all, and those whose result is only there when all is done."""
    shutil.rmtree(work / "errors", ignore_errors=True)
    shutil.rmtree(work / "logs" / "join", ignore_errors=True)
    for task in range(num_tasks):
        if not (work / "shards" / shard_name(task)).exists():
            (work / "logs" / "encode" / "completions" / f"{task:05}").unlink(missing_ok=True)
