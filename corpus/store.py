"""Where do token ids live?  In a memory-mapped folder, keyed by corpus and tokenizer, there whole or not at all.

FOLDER/KEY/train/      ids.bin        (N,)   uint16, or uint32 for a vocabulary over 65,536
                       sentences.bin  (S+1,) int64: sentence s is ids[sentences[s] : sentences[s + 1]]
                       documents.bin  (D+1,) int64: document d is sentences documents[d] up to documents[d + 1]
                       manifest.json  what is inside, what it was made of, what was left out, and the files' sizes
FOLDER/KEY/held_out/   the same, of documents that training never sees
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from corpus.document import Document, Tally, draw
from corpus.encoding import Encoded, encode_all
from corpus.text import Source, documents, fingerprint, pinned
from engine.disk import whole_folder

SPLITS = ("train", "held_out")
BATCH_CHARACTERS = 1 << 20  # of text a worker is handed at a time


class Store:
    """Token ids of one split, as three memory-mapped arrays; `len` is the number of documents.

    Raises FileNotFoundError if there is no store, ValueError naming a file that is not as long as the manifest says.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = checked_manifest(folder)
        self.ids = mapped(folder / "ids.bin", self.manifest["dtype"])  # (N,)
        self.sentences = mapped(folder / "sentences.bin", "int64")  # (S+1,) token offsets
        self.documents = mapped(folder / "documents.bin", "int64")  # (D+1,) sentence indices

    def __len__(self) -> int:
        return len(self.documents) - 1

    def __reduce__(self) -> tuple[type["Store"], tuple[Path]]:
        return Store, (self.folder,)  # a DataLoader worker maps the files anew instead of being sent the ids


def prepare(
    sources: Sequence[Source],
    tokenizer: PreTrainedTokenizerFast,
    tokenizer_hash: str,
    folder: Path,
    held_out: float = 0.01,
    processes: int | None = None,
) -> tuple[Store, Store]:
    """The (train, held-out) stores of these sources under this tokenizer; built if they are not there yet.

    A document is held out if the draw of its id is below the rate `held_out`: it keeps its split as the corpus grows.
    What is built does not depend on `processes` (default: one a core). Two builders of one store wait for each other.
    Raises what `documents` raises, and ValueError if no document is left to train on or an existing store is damaged.
    """
    sources = [pinned(source) for source in sources]
    origin = {
        "sources": [asdict(source) for source in sources],
        "fingerprint": digest([fingerprint(source) for source in sources]),
        "tokenizer": tokenizer_hash,
        "held_out": held_out,
        "splitter": f"nupunkt {version('nupunkt')}",
        "dtype": "uint16" if max(tokenizer.get_vocab().values()) < 1 << 16 else "uint32",
    }
    home = folder / digest({**origin, "sources": None})[:16]
    with locked(home.with_suffix(".lock")):
        if not home.exists():
            with whole_folder(home) as aside:
                build(sources, tokenizer.backend_tokenizer, origin, aside, processes or len(os.sched_getaffinity(0)))
    train, held = (Store(home / split) for split in SPLITS)
    return train, held


def build(
    sources: Sequence[Source], tokenizer: Tokenizer, origin: dict[str, Any], folder: Path, processes: int
) -> None:
    tally = Tally()
    writers = {split: Writer(folder / split, origin["dtype"]) for split in SPLITS}
    read = chain.from_iterable(documents(source, tally) for source in sources)
    for split, encoded in encode_all(batches(read, origin["held_out"]), tokenizer, processes):
        writers[split].append(encoded)
        tally.update(encoded.skipped)
    if writers["train"].counts["documents"] == 0:
        raise ValueError(f"no document left to train on: held_out is {origin['held_out']}, left out: {dict(+tally)}")
    for writer in writers.values():
        writer.close({**origin, "skipped": +tally})


# From documents to disk


def batches(read: Iterable[Document], held_out: float) -> Iterator[tuple[str, list[Document]]]:
    """(split, documents of about BATCH_CHARACTERS together), every document in its split's order."""
    waiting: dict[str, list[Document]] = {split: [] for split in SPLITS}
    size = dict.fromkeys(SPLITS, 0)
    for document in read:
        split = "held_out" if draw(document.id) < held_out else "train"
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
        self.files = {name: (folder / f"{name}.bin").open("wb") for name in ("ids", "sentences", "documents")}
        self.counts = {"documents": 0, "sentences": 0, "tokens": 0, "bytes": 0}
        self.write("sentences", numpy.zeros(1, numpy.int64))
        self.write("documents", numpy.zeros(1, numpy.int64))

    def append(self, encoded: Encoded) -> None:
        self.write("ids", encoded.ids.astype(self.dtype))
        self.write("sentences", self.counts["tokens"] + numpy.cumsum(encoded.sentences))
        self.write("documents", self.counts["sentences"] + numpy.cumsum(encoded.documents))
        self.counts["tokens"] += len(encoded.ids)
        self.counts["sentences"] += len(encoded.sentences)
        self.counts["documents"] += len(encoded.documents)
        self.counts["bytes"] += encoded.num_bytes

    def write(self, name: str, array: NDArray[Any]) -> None:
        self.files[name].write(array.tobytes())

    def close(self, about: dict[str, Any]) -> None:
        for file in self.files.values():
            file.close()
        sizes = {path.name: path.stat().st_size for path in sorted(self.folder.glob("*.bin"))}
        manifest = {**about, "counts": self.counts, "files": sizes}
        (self.folder / "manifest.json").write_text(json.dumps(manifest, indent=2))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# From disk to memory


def checked_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no store here: manifest.json is missing")
    try:
        manifest = json.loads(path.read_text())
        sizes = manifest["files"]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: damaged ({error!r}); remove {folder.parent} to have it built again") from error
    for name, size in sizes.items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else 0
        if found != size:
            damage = f"{folder / name}: damaged, {found} bytes where its manifest says {size}"
            raise ValueError(f"{damage}; remove {folder.parent} to have it built again")
    return manifest


def mapped(path: Path, dtype: str) -> NDArray[Any]:
    if path.stat().st_size == 0:
        return numpy.empty(0, dtype)  # mmap refuses an empty file
    return numpy.memmap(path, dtype, mode="r")


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
