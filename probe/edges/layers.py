"""What do the layers of a frozen encoder say of these sentences?  Hidden states, computed once and kept on disk.

Each piece of a text (a token of the model's tokenizer) has a vector of every layer, 0 being the embeddings. A word is
all the pieces that have a character of it. A text that is longer than the model reads is cut.
"""

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.run.architecture import count_positions
from engine.run.disk import alone, whole_folder
from engine.run.saved import located, opened
from networks.padding import make_batches
from networks.states import StateReader
from probe.edges.conllu import Sentence
from probe.edges.examples import Span
from probe.probe import stamp_of
from tokenizer.load import load_tokenizer, refuse_strange_ids

STORES = Path("runs/stores/edges")
PIECES_AT_ONCE = 4096

Floats = npt.NDArray[Any]


@dataclass(frozen=True)
class Pieces:
    """A text as the model reads it."""

    ids: list[int]  # with those that frame it
    first: int  # the first that is of the text
    offsets: npt.NDArray[np.int64]  # (n, 2) characters of those of the text

    def find(self, sentence: Sentence, span: Span) -> tuple[int, int] | None:
        """The first piece of a span of words, and the one after its last; None if the text was cut before its end, or
        the tokenizer has nothing for it."""
        places = sentence.places[span[0] : span[1]]
        begin, end = places[0][0], max(end for _, end in places)
        first = int(self.offsets[:, 1].searchsorted(begin, "right"))  # that ends after the beginning
        behind = int(self.offsets[:, 0].searchsorted(end, "left"))
        return (first, behind) if first < behind and self.offsets[behind - 1, 1] >= end else None


@dataclass(frozen=True)
class Layers:
    """The frozen layers of S sentences."""

    pieces: list[Pieces]
    starts: npt.NDArray[np.int64]  # (S + 1,) the row of `values` that each begins with
    values: Floats  # (N, L + 1, D) of the N pieces, those that frame texts left out; a file that is read as it is used

    @property
    def num_layers(self) -> int:
        """With the embeddings."""
        return int(self.values.shape[1])

    @property
    def size(self) -> int:
        return int(self.values.shape[2])


def read_layers(model: str, untrained: bool, seed: int, sentences: Sequence[Sentence]) -> Layers:
    """The layers of a model, or of the same network with random weights of `seed`: from disk, if they are there.

    Errors: FileNotFoundError; ValueError for a model without layers, and OSError where they have no room.
    """
    source = located(model)
    tokenizer = load_tokenizer(source)
    network = open_network(source, untrained, seed)
    refuse_strange_ids(tokenizer, network.config.vocab_size, source)
    reader = StateReader(network, tokenizer, count_positions(network))
    pieces = [read_pieces(reader, one.text) for one in sentences]
    starts = np.cumsum([0, *(len(one.offsets) for one in pieces)])
    about = [stamp_of(model), str(Path(source).absolute()), seed if untrained else None, [one.ids for one in pieces]]
    folder = STORES / hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
    with alone(folder, "reading layers into"):
        if not folder.exists():
            try:
                compute(reader, pieces, starts, folder)
            except ValueError as error:
                raise ValueError(f"{model}: {error}") from None
    return Layers(pieces, starts, np.load(folder / "layers.npy", mmap_mode="r"))


def open_network(source: str, untrained: bool, seed: int) -> Any:
    """The encoder, without a head; `untrained`: with other weights, and all else that it was saved with, such as the
    characters of tokens."""
    network: Any = opened(source).base_model
    if network.config.is_encoder_decoder:
        network = network.get_encoder()
        network.config = copy.copy(network.config)
        network.config.is_encoder_decoder = False  # by itself it reads, and writes nothing
    if untrained:
        torch.manual_seed(seed)
        fresh = type(network)(network.config)
        buffers = dict(network.named_buffers())
        fresh.load_state_dict({name: buffers.get(name, value) for name, value in fresh.state_dict().items()})
        network = fresh.eval()
    return network.requires_grad_(False)


def read_pieces(reader: StateReader, text: str) -> Pieces:
    """Cut a text into pieces, as many as the model reads."""
    encoded = reader.encode(text)
    ordinary = [place for place, (_, end) in enumerate(encoded.spans) if end]
    if not ordinary:
        return Pieces(encoded.ids, len(encoded.ids), np.zeros((0, 2), np.int64))
    first, behind = ordinary[0], ordinary[-1] + 1
    return Pieces(encoded.ids, first, np.array(encoded.spans[first:behind], np.int64))


def compute(reader: StateReader, pieces: Sequence[Pieces], starts: Any, folder: Path) -> None:
    """Write the layers of all pieces as fp16, or, where a number is too large for that, as fp32."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cast(Any, reader.model).to(device)
    shortest = min((one for one in pieces if len(one.offsets)), key=lambda one: len(one.ids))
    shape = (int(starts[-1]), *read(reader, [shortest], device).shape[2:])
    for kind in (np.float16, np.float32):
        with whole_folder(folder, int(np.prod(shape)) * np.dtype(kind).itemsize) as aside:
            values = np.lib.format.open_memmap(aside / "layers.npy", "w+", kind, shape)
            if fill(values, reader, pieces, starts, device):
                values.flush()
                return
            if kind is np.float32:
                raise ValueError("hidden states of this model are not finite")


def fill(values: Floats, reader: StateReader, pieces: Sequence[Pieces], starts: Any, device: str) -> bool:
    """Fill `values`; stop and return False at a number that they cannot hold."""
    kept = [number for number, one in enumerate(pieces) if len(one.offsets)]
    for batch in make_batches([len(pieces[number].ids) for number in kept], PIECES_AT_ONCE, reader.pads):
        states = read(reader, [pieces[kept[place]] for place in batch], device).cpu().numpy()
        for row, number in enumerate(kept[place] for place in batch):
            first, count = pieces[number].first, len(pieces[number].offsets)
            with np.errstate(over="ignore"):
                values[starts[number] : starts[number + 1]] = states[row, first : first + count]
            if not np.isfinite(values[starts[number] : starts[number + 1]]).all():
                return False
    return True


def read(reader: StateReader, batch: Sequence[Pieces], device: str) -> Tensor:
    """The layers (B, T, L + 1, D) of B texts. Errors: ValueError for a network that has none."""
    width = max(len(one.ids) for one in batch)
    ids = torch.tensor([[*one.ids, *[0] * (width - len(one.ids))] for one in batch], device=device)
    mask = torch.tensor([[1] * len(one.ids) + [0] * (width - len(one.ids)) for one in batch], device=device)
    states = reader.layers(ids, mask)
    if len(states) < 2 or len({one.shape for one in states}) > 1:
        raise ValueError(
            f"{type(reader.model).__name__} gives no hidden states of one size, so its layers cannot be mixed"
        )
    return torch.stack(list(states), 2).float()
