"""How are examples laid out for the probes?  Sentences of like length become one table; lost examples are counted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from probe.edges.examples import Asked, Labels, Span
from probe.edges.layers import Layers
from probe.edges.network import Batch

AT_ONCE = 16  # batches whose sentences are sorted by length
MOST_BLOCKS = 64  # groups of documents whose counts are kept apart


@dataclass
class Row:
    """A sentence and its examples."""

    place: int  # the first of its pieces in the layers
    pieces: int
    spans: list[dict[Span, int]]  # of each side, the different spans in pieces, and their numbers
    uses: list[list[int]]  # of each example, the number of its span in each side
    labels: list[tuple[Labels, Labels]]  # of each example, in the task and in its control
    block: int

    def add(self, spans: Sequence[Span], labels: tuple[Labels, Labels]) -> None:
        self.spans = self.spans or [{} for _ in spans]
        self.uses.append([known.setdefault(span, len(known)) for known, span in zip(self.spans, spans, strict=True)])
        self.labels.append(labels)


@dataclass(frozen=True)
class Rows:
    """The sentences of a split; `lost` (2, blocks) are labels of examples that the model cannot see, of the task and of
    its control, by group of documents: they count as missed."""

    rows: list[Row]
    names: list[str]  # of the labels
    lost: npt.NDArray[np.int64]
    num_lost: int  # examples
    num_examples: int  # with those that are lost

    @property
    def sides(self) -> int:
        """How many spans an example has."""
        return len(self.rows[0].spans)

    def batches(self, layers: Layers, size: int, device: str, drawn: torch.Generator | None = None) -> Iterator[Batch]:
        """All rows once, in a random order if `drawn` is given; like lengths together."""
        rows = self.rows
        order = torch.randperm(len(rows), generator=drawn).tolist() if drawn else list(range(len(rows)))
        parts = [order[at : at + AT_ONCE * size] for at in range(0, len(order), AT_ONCE * size)]
        order = [number for part in parts for number in sorted(part, key=lambda number: rows[number].pieces)]
        groups = [order[at : at + size] for at in range(0, len(order), size)]
        for number in torch.randperm(len(groups), generator=drawn).tolist() if drawn else range(len(groups)):
            yield lay_out([rows[n] for n in groups[number]], self.names, layers, device)


def make_rows(asked: Asked, control: Sequence[Labels], labels: Sequence[str], layers: Layers, first: int) -> Rows:
    """Lay out the examples of sentences, which are those of `layers` from `first` on. `control` are the labels of each
    example in the control task."""
    documents = {name: number for number, name in enumerate(dict.fromkeys(one.document for one in asked.sentences))}
    blocks = min(MOST_BLOCKS, len(documents))
    lost, num_lost, rows, of_control = np.zeros((2, blocks), np.int64), 0, [], iter(control)
    for number, (sentence, examples) in enumerate(zip(asked.sentences, asked.examples, strict=True), start=first):
        block = documents[sentence.document] * blocks // len(documents)
        row = Row(int(layers.starts[number]), len(layers.pieces[number].offsets), [], [], [], block)
        for one in examples:
            both = (one.labels, next(of_control))
            spans = [layers.pieces[number].find(sentence, span) for span in one.spans]
            if None in spans:
                lost[:, block] += list(map(len, both))
                num_lost += 1
            else:
                row.add([span for span in spans if span], both)
        if row.uses:
            rows.append(row)
    return Rows(rows, list(labels), lost, num_lost, sum(map(len, asked.examples)))


def lay_out(rows: Sequence[Row], names: Sequence[str], layers: Layers, device: str) -> Batch:
    width = max(row.pieces for row in rows)
    states = np.zeros((layers.num_layers, len(rows), width, layers.size), np.float32)
    for number, row in enumerate(rows):
        states[:, number, : row.pieces] = layers.values[row.place : row.place + row.pieces].swapaxes(0, 1)
    spans, places = [], []
    for side in range(len(rows[0].spans)):
        most = max(len(row.spans[side]) for row in rows)
        table = np.zeros((len(rows), most, 2), np.int64)
        for number, row in enumerate(rows):
            table[number, : len(row.spans[side])] = list(row.spans[side])
        spans.append(torch.from_numpy(table).to(device))
        places.append([number * most + use[side] for number, row in enumerate(rows) for use in row.uses])
    both = [labels for row in rows for labels in row.labels]
    labels = torch.tensor([[[name in pair[kind] for name in names] for pair in both] for kind in (0, 1)])
    blocks = [row.block for row in rows for _ in row.uses]
    return Batch(
        torch.from_numpy(states).flatten(1, 2).to(device), spans, torch.tensor(places, device=device),
        labels.float().to(device), torch.tensor(blocks, device=device),
    )  # fmt: skip
