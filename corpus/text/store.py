"""Where do token ids live?  In memory-mapped files, in a folder keyed by corpus and tokenizer, whole or not at all.

FOLDER/KEY/train/      ids-00000.bin …  (N,)   uint16, or uint32 for a vocabulary over 65,536; in one file or several
                       sentences.bin    (S+1,) int64: sentence s is ids[sentences[s] : sentences[s + 1]]
                       documents.bin    (D+1,) int64: document d is sentences documents[d] up to documents[d + 1]
                       manifest.json    what is inside, what it was made of, what was left out, and the checksums of
                                        the files' blocks (corpus.manifest)
FOLDER/KEY/held_out/   the same, of documents that training never sees
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy
from numpy.typing import NDArray
from tokenizers import Tokenizer

from corpus.files import digest, locked
from corpus.manifest import AROUND, RESIDENT, Mapped, Memory, read_manifest, refuse, write_manifest
from corpus.text.document import Document, Tally
from corpus.text.encoding import Encoded, encode_all
from corpus.text.held_out import Division, division
from corpus.text.readers import documents
from corpus.text.sentences import SPLITTER
from corpus.text.source import Source, fingerprint, pinned
from engine.run.disk import whole_folder
from engine.run.system import available_cores

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast  # a quarter of a second in every process that only writes

Ints = NDArray[numpy.int64]
Filter = Literal["gopher_quality", "gopher_repetition", "c4_quality", "fineweb_quality"]
Deduplicate = Literal["minhash"]

LAYOUT = 3  # of the files: a store of another one is built again, under another key
SPLITS = ("train", "held_out")
FILES = ("sentences.bin", "documents.bin", "ids-00000.bin")
LETTERS = ("unknown tokens", "characters", "unknown characters")  # blanks are not counted
COUNTED = ("documents", "sentences", "tokens", "bytes", *LETTERS)  # of what is in a split
BATCH_CHARACTERS = 1 << 20  # of text a worker is handed at a time


class Store:
    """Token ids of one split; `len` is the number of documents. Memory does not grow with it: all is memory-mapped.

    What is read is what was written: a block is checked when it is first read, and all blocks at once in a store that
    fits in memory. Raises FileNotFoundError if there is no store, ValueError naming a file that is damaged, or that
    holds ids of `vocabulary` or above; so may every method.
    """

    def __init__(self, folder: Path, vocabulary: int | None = None) -> None:
        self.folder, self.vocabulary = folder, vocabulary
        self.manifest: dict[str, Any] = read_manifest(folder, FILES)
        files, dtype = self.manifest["files"], self.manifest["dtype"]
        ids = sorted(name for name in files if name.startswith("ids-"))
        self._ids = [Mapped(folder / name, dtype, files[name], vocabulary) for name in ids]
        self._sentences, self._documents = (
            Mapped(folder / name, "int64", files[name]) for name in ("sentences.bin", "documents.bin")
        )
        self._ids_memory = Memory(self._ids)
        self._tables_memory = Memory([self._sentences, self._documents])
        self._starts = numpy.cumsum([0, *(len(file.array) for file in self._ids)])  # token at which each file begins
        self._is_large = sum(about["bytes"] for about in files.values()) > RESIDENT
        if not self._is_large:
            for file in (*self._ids, self._sentences, self._documents):
                file.check()
        self.num_tokens, self.num_sentences = int(self._starts[-1]), len(self._sentences.array) - 1

    def __len__(self) -> int:
        return len(self._documents.array) - 1

    def tokens(self, index: Ints) -> Ints:
        """The ids at the token offsets `index`, in its shape."""
        if self._is_large:
            jumps = numpy.count_nonzero(numpy.abs(numpy.diff(index.ravel())) > AROUND // 4)
            self._ids_memory.take(int(jumps))
        if len(self._ids) == 1:
            return self._ids[0].at(index).astype(numpy.int64)
        return self._from_many_files(index.ravel()).reshape(index.shape)

    def offsets(self, documents: Ints) -> tuple[Ints, Ints]:
        """Where the sentences of `documents` (K,) begin, in tokens: flat (sum of s + 1,) and first (K+1,).

        `flat[first[k] : first[k + 1]]` are the offsets of document k's sentences, and its end.
        """
        flat, counts = [numpy.zeros(0, numpy.int64)], [numpy.zeros(1, numpy.int64)]
        at_a_time = RESIDENT // (2 * AROUND) if self._is_large else max(1, len(documents))
        for start in range(0, len(documents), at_a_time):
            some = documents[start : start + at_a_time]
            begin, end = self._documents.at(some), self._documents.at(some + 1)
            after = numpy.cumsum(end - begin + 1)
            place = numpy.arange(after[-1]) + numpy.repeat(end + 1 - after, end - begin + 1)
            flat.append(self._sentences.at(place))
            counts.append(end - begin + 1)
            if self._is_large:
                self._tables_memory.take(2 * len(some))
        return numpy.concatenate(flat), numpy.cumsum(numpy.concatenate(counts))

    def __reduce__(self) -> tuple[type["Store"], tuple[Path, int | None]]:
        return Store, (
            self.folder,
            self.vocabulary,
        )  # a DataLoader worker maps the files anew instead of being sent the ids

    def _from_many_files(self, index: Ints) -> Ints:
        file = numpy.searchsorted(self._starts, index, side="right") - 1
        order = numpy.argsort(file.astype(numpy.uint16), kind="stable")  # 16 bits are sorted by their digits
        ends = numpy.searchsorted(file[order], numpy.arange(len(self._ids) + 1))
        found = numpy.empty(len(index), numpy.int64)
        for number in numpy.flatnonzero(numpy.diff(ends)):
            here = order[ends[number] : ends[number + 1]]
            found[here] = self._ids[number].at(index[here] - self._starts[number])
        return found


def prepare(
    sources: Sequence[Source],
    tokenizer: "PreTrainedTokenizerFast",
    tokenizer_hash: str,
    folder: Path,
    held_out: float = 0.01,
    processes: int | None = None,
    filters: Sequence[Filter] = (),
    deduplicate: Deduplicate | None = None,
) -> tuple[Store, Store]:
    """The (train, held-out) stores of these sources under this tokenizer; built if they are not there yet.

    The share `held_out` of the documents is held out as corpus.held_out says: a document keeps its split as the corpus
    grows.
    What is built does not depend on `processes` (default: one a core). Two builders of one store wait for each other.
    Raises what `documents` raises, and ValueError if no document is left to train on, if an existing store is damaged,
    or if there is none and `filters` or `deduplicate` ask for what only `cloze prepare` does.
    """
    origin = origin_of(sources, tokenizer, tokenizer_hash, held_out, filters, deduplicate)
    home = home_of(origin, folder)
    with locked(home):
        if not home.exists():
            if "cleaning" in origin:
                raise ValueError(
                    f"the corpus is to be cleaned ({', '.join([*filters, deduplicate or 'no deduplication'])}), and is "
                    "not prepared: say  cloze prepare RECIPE  first"
                )
            if (old := home_of({**origin, "layout": LAYOUT - 1}, folder)).exists():
                print(
                    f"{old} is an earlier version's, without checksums: {home} is made in its place; delete the old one"
                )
            with whole_folder(home) as aside:
                build(origin, tokenizer.backend_tokenizer, aside, processes or available_cores())
    train, held = (Store(home / split, vocabulary_size(tokenizer)) for split in SPLITS)
    for store in (train, held):
        if home_of({key: store.manifest.get(key) for key in origin}, folder) != home:
            refuse(store.folder / "manifest.json", "it was made of other text, or by another tokenizer")
    return train, held


def is_prepared(
    sources: Sequence[Source],
    tokenizer: "PreTrainedTokenizerFast",
    tokenizer_hash: str,
    folder: Path,
    held_out: float = 0.01,
    filters: Sequence[Filter] = (),
    deduplicate: Deduplicate | None = None,
) -> bool:
    """Whether `prepare` would find the store instead of building it."""
    return home_of(origin_of(sources, tokenizer, tokenizer_hash, held_out, filters, deduplicate), folder).exists()


def origin_of(
    sources: Sequence[Source],
    tokenizer: "PreTrainedTokenizerFast",
    tokenizer_hash: str,
    held_out: float,
    filters: Sequence[Filter],
    deduplicate: Deduplicate | None,
) -> dict[str, Any]:
    """All that decides what is in a store, as plain JSON."""
    sources = [pinned(source) for source in sources]
    origin = {
        "layout": LAYOUT,
        "sources": [asdict(source) for source in sources],
        "fingerprint": digest([fingerprint(source) for source in sources]),
        "tokenizer": tokenizer_hash,
        "held_out": held_out,
        "splitter": SPLITTER,
        "dtype": "uint16" if vocabulary_size(tokenizer) <= 1 << 16 else "uint32",
    }
    cleaning = {"filters": list(filters), "deduplicate": deduplicate}
    return {**origin, "cleaning": cleaning} if filters or deduplicate else origin


def vocabulary_size(tokenizer: "PreTrainedTokenizerFast") -> int:
    """The tokenizer's largest id, and one."""
    return max(tokenizer.get_vocab().values()) + 1


def home_of(origin: dict[str, Any], folder: Path) -> Path:
    return folder / digest({**origin, "sources": None})[:16]


def build(origin: dict[str, Any], tokenizer: Tokenizer, folder: Path, processes: int) -> None:
    tally = Tally()
    writers = {split: Writer(folder / split, origin["dtype"]) for split in SPLITS}
    divided = division(all_documents(origin, Tally()), origin["held_out"])
    for split, encoded in encode_all(batches(all_documents(origin, tally), divided), tokenizer, processes):
        writers[split].append(encoded)
        tally.update(encoded.skipped)
    for split, writer in writers.items():
        check_something_is_left(split, writer.counts, origin, tally)
        writer.close({**origin, "division": asdict(divided), "skipped": dict(sorted((+tally).items()))})


def all_documents(origin: dict[str, Any], tally: Tally) -> Iterator[Document]:
    return chain.from_iterable(documents(Source(**source), tally) for source in origin["sources"])


def check_something_is_left(split: str, counts: dict[str, int], origin: dict[str, Any], tally: Tally) -> None:
    if counts["documents"] == 0 and (split == "train" or origin["held_out"]):
        what = {"train": "train on", "held_out": "evaluate on, which is held out"}[split]
        raise ValueError(
            f"no document left to {what}: corpus.held_out is {origin['held_out']}, left out: {dict(+tally)}; give more "
            "text, or change the share"
        )


# From documents to disk


def batches(read: Iterable[Document], divided: Division) -> Iterator[tuple[str, list[Document]]]:
    """(split, documents of about BATCH_CHARACTERS together), every document in its split's order."""
    waiting: dict[str, list[Document]] = {split: [] for split in SPLITS}
    size = dict.fromkeys(SPLITS, 0)
    for split, document in chain.from_iterable(map(divided.parts, read)):
        waiting[split].append(document)
        size[split] += sum(map(len, document.paragraphs))
        if size[split] >= BATCH_CHARACTERS:
            yield split, waiting[split]
            waiting[split], size[split] = [], 0
    yield from ((split, rest) for split, rest in waiting.items() if rest)


class Writer:
    """Appends batches to a split's three files, then closes them with a manifest."""

    def __init__(self, folder: Path, dtype: str) -> None:
        folder.mkdir(parents=True)
        self.folder, self.dtype = folder, dtype
        self.files = {name: (folder / f"{name}.bin").open("wb") for name in ("ids-00000", "sentences", "documents")}
        self.counts = dict.fromkeys(COUNTED, 0)
        self.write("sentences", numpy.zeros(1, numpy.int64))
        self.write("documents", numpy.zeros(1, numpy.int64))

    def append(self, encoded: Encoded) -> None:
        self.write("ids-00000", encoded.ids.astype(self.dtype))
        self.write("sentences", self.counts["tokens"] + numpy.cumsum(encoded.sentences))
        self.write("documents", self.counts["sentences"] + numpy.cumsum(encoded.documents))
        self.counts["tokens"] += len(encoded.ids)
        self.counts["sentences"] += len(encoded.sentences)
        self.counts["documents"] += len(encoded.documents)
        self.counts["bytes"] += encoded.num_bytes
        for name, count in zip(LETTERS, encoded.letters, strict=True):
            self.counts[name] += count

    def write(self, name: str, array: NDArray[Any]) -> None:
        self.files[name].write(array.tobytes())

    def close(self, about: dict[str, Any]) -> None:
        for file in self.files.values():
            file.close()
        write_manifest(self.folder, {"dtype": self.dtype, **about, "counts": self.counts})
