"""Which training rows are held out for dev, where there is no dev file?  A train/dev split by a hash of the text.

The same rows each time, and equal texts on one side. A label that only held-out rows have could not be learnt, so
every label keeps a text in train.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

Row = TypeVar("Row")


def hold_out(
    rows: Sequence[Row], texts: Sequence[Any], labels: Sequence[set[str]], share: float
) -> tuple[list[Row], list[Row], int]:
    """(train, dev, the number of rows that stay in train for their labels). texts, labels: those of each row.

    One text at least is held out. Errors: ValueError if that leaves a label without a text to train on.
    """
    keys = [json.dumps(text, ensure_ascii=False) for text in texts]
    labels_of: dict[str, set[str]] = {key: set() for key in keys}
    for key, own in zip(keys, labels, strict=True):
        labels_of[key] |= own
    left = Counter(label for own in labels_of.values() for label in own)  # texts in train
    held: set[str] = set()
    draws = {key: draw(key) for key in labels_of}
    for key in sorted(draws, key=lambda key: (draws[key], key)):
        if (held and draws[key] >= share) or len(held) + 1 == len(draws):
            break
        if all(left[label] > 1 for label in labels_of[key]):
            held.add(key)
            left.subtract(labels_of[key])
    if not held:
        why = "each text is the only one of its label to train on" if len(draws) > 1 else "all rows have the same text"
        raise ValueError(f"data.hold_out {share} leaves no row for dev: {why}; name a dev file in data.files instead")
    train = [row for row, key in zip(rows, keys, strict=True) if key not in held]
    dev = [row for row, key in zip(rows, keys, strict=True) if key in held]
    return train, dev, sum(draws[key] < share and key not in held for key in keys)


def draw(text: str) -> float:
    """A number from 0 to 1 for a text, always the same."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32
