"""Which documents are the same, word for word?  Each has a number that stands for its ids."""

from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from corpus.text.store import Store

MOST_TOKENS = 1 << 28  # that are read: half a gigabyte, some seconds
AT_A_TIME = 1 << 12  # documents

Ints = npt.NDArray[np.int64]


def contents(store: Store, documents: Ints) -> npt.NDArray[np.uint64]:
    """A number for each of `documents` (K,): equal ids, equal numbers; other ids, other ones but for a chance of 1 in
    10^19 a pair."""
    found = np.zeros(len(documents), np.uint64)
    for start in range(0, len(documents), AT_A_TIME):
        sentences, first = store.offsets(documents[start : start + AT_A_TIME])
        for number, (begin, end) in enumerate(zip(sentences[first[:-1]], sentences[first[1:] - 1], strict=True), start):
            ids = store.tokens(np.arange(begin, end)).tobytes()
            found[number] = int.from_bytes(blake2b(ids, digest_size=8).digest())
    return found


def doubles_report(stores: dict[str, Store]) -> list[str]:
    """Say, in Markdown lines, how many documents of each store, by name, are the same as one before, in it or in a
    store before it. Of a store larger than MOST_TOKENS the first documents are read."""
    lines, read = [], {}
    for name, store in stores.items():
        share = min(1.0, MOST_TOKENS / max(1, store.num_tokens))
        read[name] = contents(store, np.arange(int(share * len(store))))
        which = "" if share == 1 else f"of the first {len(read[name]):,} "
        doubles = len(read[name]) - len(np.unique(read[name]))
        counts = [f"{which}{name} documents, {doubles:,} are the same as one before, word for word"]
        for other in list(read)[:-1]:
            counts.append(f"{int(np.isin(read[name], read[other]).sum()):,} are the same as a {other} document")
        lines.append("- Of the " + "; ".join(counts))
    return lines
