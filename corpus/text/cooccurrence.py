"""How often do two words stand near each other?  GloVe's co-occurrence table, on disk beside its store.

Pennington et al. 2014, section 4.2, and the authors' `cooccur.c`: two words that are d words apart in a document,
within the window, count 1/d. Words outside of the vocabulary are taken out first, so they take no place.

The table is counted in bounded memory: pairs are gathered until the memory is full, sorted, and written as a run; the
runs are merged. A count is a whole number of 2**-32, so no sum is rounded, and neither the memory nor the order in
which the text is read changes the table.

TABLE/low.bin    (N,) int32    the pair's smaller id: pairs are in rising order, each once
      high.bin   (N,) int32    and its larger one
      count.bin  (N,) float32  how often they meet
"""

import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corpus.files import digest, locked
from corpus.text.counting import read_in_portions
from corpus.text.store import Store
from engine.run.disk import whole_folder

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
WHOLE = 1 << 32  # a count of 1
MOST_APART = 255  # words: a distance takes 8 bits of a key
BYTES_A_PAIR = 48  # while it is gathered, sorted and summed
AT_ONCE = 1 << 17  # tokens, and pairs, that are computed together: what fits the processor's cache
FILES = {"low.bin": np.int32, "high.bin": np.int32, "count.bin": np.float32}


@dataclass(frozen=True)
class CoOccurrences:
    """Pairs of words and how often they meet: three arrays (N,)."""

    low: npt.NDArray[np.int32]
    high: npt.NDArray[np.int32]
    count: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.count)


def open_table(store: Store, words: Ints, window: int, memory_mb: int) -> CoOccurrences:
    """The table of a store's text, counted now if it is not there yet; of two processes one counts, the other waits.

    `words` are the ids that count, `window` says how far apart two of them may stand, and `memory_mb` how much memory
    counting may take. Errors: OSError if there is no room.
    """
    if not store.folder.is_dir():  # a made-up text
        runs = list(sorted_runs(store, words, window, memory_mb))
        return CoOccurrences(*unpacked(*add_up(*map(np.concatenate, zip(*runs, strict=True)))))
    origin = {"layout": 1, "window": window, "words": digest(words.tolist())}
    home = store.folder / f"cooccurrences-{digest(origin)[:16]}"
    with locked(home):
        if not home.exists():
            with whole_folder(home) as aside:
                count_pairs(store, words, window, memory_mb, aside)
                (aside / "manifest.json").write_text(json.dumps(origin))
    return CoOccurrences(*(mapped(home / name, kind) for name, kind in FILES.items()))


def mapped(path: Path, kind: Any) -> npt.NDArray[Any]:
    return np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, kind)


def count_pairs(store: Store, words: Ints, window: int, memory_mb: int, folder: Path) -> None:
    """Count all pairs, in `memory_mb` of memory, into the three files of a table."""
    runs = folder / "runs"
    runs.mkdir()
    paths: list[tuple[Path, Path]] = []
    for keys, sums in sorted_runs(store, words, window, memory_mb):
        paths.append((runs / f"{len(paths)}.keys", runs / f"{len(paths)}.sums"))
        for path, values in zip(paths[-1], (keys, sums), strict=True):
            values.tofile(path)
    files = [(folder / name).open("wb") for name in FILES]
    opened = [(mapped(keys, np.uint64), mapped(sums, np.int64)) for keys, sums in paths]
    for keys, sums in merged(opened, max(1, (memory_mb << 20) // BYTES_A_PAIR // max(1, len(opened)))):
        for file, column in zip(files, unpacked(keys, sums), strict=True):
            file.write(column.tobytes())
    for file in files:
        file.close()
    del opened
    shutil.rmtree(runs)


def sorted_runs(store: Store, words: Ints, window: int, memory_mb: int) -> Iterator[tuple[Keys, Ints]]:
    """The pairs of one part of the text after the other, each in rising order and once: keys and sums."""
    is_word = np.zeros(int(words.max()) + 1, bool)
    is_word[words] = True
    most = max(1, (memory_mb << 20) // BYTES_A_PAIR)
    waiting, size = np.empty(most, np.uint64), 0
    for ids, document in read_in_portions(store, np.arange(len(store))):
        kept = is_word[np.minimum(ids, len(is_word) - 1)] & (ids < len(is_word))
        counted, document = ids[kept].astype(np.uint64), document[kept]
        step = min(most, AT_ONCE)
        for start, apart in itertools.product(range(0, len(counted), step), range(1, window + 1)):
            keys = pair_keys(counted, document, apart, slice(start, start + step))
            if size + len(keys) > most:
                yield summed(waiting[:size])
                size = 0
            waiting[size : size + len(keys)] = keys
            size += len(keys)
    yield summed(waiting[:size])


def pair_keys(ids: Keys, document: Ints, apart: int, stretch: slice) -> Keys:
    """A key for each two tokens that stand `apart` in one document: smaller id, larger id, distance."""
    one, other = ids[:-apart][stretch], ids[apart:][stretch]
    keys = np.minimum(one, other)
    keys <<= np.uint64(28)
    keys |= np.maximum(one, other)
    keys <<= np.uint64(8)
    keys |= np.uint64(apart)
    apart_by_end = document[:-apart][stretch] != document[apart:][stretch]
    return keys[~apart_by_end] if apart_by_end.any() else keys


def summed(keys: Keys) -> tuple[Keys, Ints]:
    """Sort keys, in place, and sum up what the distances of each pair weigh: the pairs and their counts in units of
    1 / WHOLE."""
    keys.sort()
    weight = np.array([0, *(round(WHOLE / apart) for apart in range(1, MOST_APART + 1))], np.int64)
    found, start = [(np.zeros(0, np.uint64), np.zeros(0, np.int64))], 0
    while start < len(keys):
        last = keys[min(start + AT_ONCE, len(keys)) - 1] | np.uint64(255)  # no pair is divided
        end = int(np.searchsorted(keys, last, side="right"))
        part, start = keys[start:end], end
        found.append(sums_of(part >> np.uint64(8), weight[(part & np.uint64(255)).view(np.int64)]))
    pairs, counts = map(np.concatenate, zip(*found, strict=True))
    return pairs, counts


def sums_of(pairs: Keys, counts: Ints) -> tuple[Keys, Ints]:
    """Each of the sorted `pairs` once, with its counts summed up."""
    first = np.flatnonzero(np.concatenate([[True], pairs[1:] != pairs[:-1]])[: len(pairs)])
    return pairs[first], np.add.reduceat(counts, first) if len(first) else counts


def merged(runs: list[tuple[Keys, Ints]], at_a_time: int) -> Iterator[tuple[Keys, Ints]]:
    """Merge sorted runs, of each of which `at_a_time` pairs at most are looked at together."""
    places = [0] * len(runs)
    while True:
        ahead = [keys[place : place + at_a_time] for (keys, _), place in zip(runs, places, strict=True)]
        unfinished = [part[-1] for (keys, _), place, part in zip(runs, places, ahead, strict=True)
                      if place + at_a_time < len(keys)]  # fmt: skip
        if not any(map(len, ahead)):
            return
        # What is not greater than the least of the last ones looked at has been seen whole.
        sizes = [int(np.searchsorted(part, min(unfinished), side="right")) if unfinished else len(part)
                 for part in ahead]  # fmt: skip
        counts = [sums[place : place + size] for (_, sums), place, size in zip(runs, places, sizes, strict=True)]
        yield add_up(np.concatenate([part[:size] for part, size in zip(ahead, sizes, strict=True)]),
                     np.concatenate(counts))  # fmt: skip
        places = [place + size for place, size in zip(places, sizes, strict=True)]


def add_up(pairs: Keys, counts: Ints) -> tuple[Keys, Ints]:
    """Sorted runs one behind the other as one, each pair once."""
    order = np.argsort(pairs, kind="stable")  # a merge sort, which finds the runs that there are
    return sums_of(pairs[order], counts[order])


def unpacked(pairs: Keys, sums: Ints) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Smaller id, larger id and count of each pair."""
    low, high = pairs >> np.uint64(28), pairs & np.uint64((1 << 28) - 1)
    return low.astype(np.int32), high.astype(np.int32), (sums / WHOLE).astype(np.float32)
