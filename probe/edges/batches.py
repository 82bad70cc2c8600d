"""How are examples laid out for the probes?  Sentences of like length become one table; lost examples are counted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probe.edges.examples import Asked, Labels
from probe.edges.layers import Layers
from probe.edges.network import Batch

AT_ONCE = 16  # batches whose sentences are sorted by length
MOST_BLOCKS = 64  # groups of documents whose counts are kept apart


@dataclass(frozen=True)
class Row:
    """A sentence with one example or more; U spans a side."""

    place: int  # the first of its pieces in the layers
    pieces: int
    spans: list[list[tuple[int, int]]]  # of each side, the different ones, in pieces
    uses: list[tuple[int, ...]]  # of each example, the number of its span in each side
    labels: npt.NDArray[np.float32]  # (2, M, K)
    block: int


@dataclass(frozen=True)
class Rows:
    """The sentences of a split; `lost` (2, blocks) are labels of examples that the model cannot see, of the task and of
    its control, by group of documents: they count as missed."""

    rows: list[Row]
    lost: npt.NDArray[np.int64]
    num_lost: int  # examples
    num_examples: int  # with those that are lost

    @property
    def sides(self) -> int:
        """How many spans an example has."""
        return len(self.rows[0].spans)

    def batches(self, layers: Layers, size: int, device: str, drawn: torch.Generator | None = None) -> Iterator[Batch]:
        """All rows once, in a random order if `drawn` is given."""
        rows = self.rows
        order = torch.randperm(len(rows), generator=drawn).tolist() if drawn else list(range(len(rows)))
        group = AT_ONCE * size
        order = [
            n
            for at in range(0, len(order), group)
            for n in sorted(order[at : at + group], key=lambda n: rows[n].pieces)
        ]
        groups = [order[at : at + size] for at in range(0, len(order), size)]
        for number in torch.randperm(len(groups), generator=drawn).tolist() if drawn else range(len(groups)):
            yield lay_out([rows[n] for n in groups[number]], layers, device)


def make_rows(asked: Asked, control: Sequence[Labels], labels: Sequence[str], layers: Layers, first: int) -> Rows:
    """Lay out the examples of sentences, which are those of `layers` from `first` on. `control` has the labels that each
    example has in the control task."""
    documents = {name: number for number, name in enumerate(dict.fromkeys(one.document for one in asked.sentences))}
    blocks = min(MOST_BLOCKS, len(documents))
    lost, num_lost, rows = np.zeros((2, blocks), np.int64), 0, []
    of_control = iter(control)
    for number, (sentence, examples) in enumerate(zip(asked.sentences, asked.examples, strict=True), start=first):
        block = documents[sentence.document] * blocks // len(documents)
        kept, numbers = [], [dict[tuple[int, int], int]() for _ in (examples[0].spans if examples else ())]
        uses = []
        for one in examples:
            pair = (one.labels, next(of_control))
            spans = [layers.pieces[number].find(sentence, span) for span in one.spans]
            if None in spans:
                lost[:, block] += list(map(len, pair))
                num_lost += 1
                continue
            kept.append(pair)
            uses.append(
                tuple(known.setdefault(span, len(known)) for known, span in zip(numbers, spans, strict=True) if span)
            )
        if kept:
            table = np.array(
                [[[name in pair[kind] for name in labels] for pair in kept] for kind in (0, 1)], np.float32
            )
            start = int(layers.starts[number])
            rows.append(
                Row(start, int(layers.starts[number + 1]) - start, list(map(list, numbers)), uses, table, block)
            )
    return Rows(rows, lost, num_lost, sum(map(len, asked.examples)))


def lay_out(rows: Sequence[Row], layers: Layers, device: str) -> Batch:
    width = max(row.pieces for row in rows)
    states = np.zeros((layers.num_layers, len(rows), width, layers.size), np.float32)
    for number, row in enumerate(rows):
        states[:, number, : row.pieces] = layers.values[row.place : row.place + row.pieces].swapaxes(0, 1)
    spans, places = [], []
    for side in range(len(rows[0].spans)):
        most = max(len(row.spans[side]) for row in rows)
        table = np.zeros((len(rows), most, 2), np.int64)
        for number, row in enumerate(rows):
            table[number, : len(row.spans[side])] = row.spans[side]
        spans.append(torch.from_numpy(table).to(device))
        places.append([number * most + use[side] for number, row in enumerate(rows) for use in row.uses])
    counts = [len(row.uses) for row in rows]

    def repeat(values: Sequence[int]) -> Tensor:
        return torch.tensor(values).repeat_interleave(torch.tensor(counts)).to(device)

    return Batch(
        torch.from_numpy(states).flatten(1, 2).to(device), spans, torch.tensor(places, device=device),
        torch.from_numpy(np.concatenate([row.labels for row in rows], 1)).to(device), repeat([row.block for row in rows]),
    )  # fmt: skip
