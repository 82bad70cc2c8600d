"""Which words stand around this one?  word2vec: skip-gram with negative sampling (SGNS), and CBOW.

Mikolov et al. 2013 (arXiv 1301.3781 and 1310.4546), and the authors' `word2vec.c` where it says more. Common words are
left out by chance *before* the windows are laid, which widens these; a window reaches 1 to `window` words to each side,
drawn for each word; a word is told from `negative` others, drawn by their frequency to the power `ns_exponent`.

The negatives are drawn for GROUP words together, and count for each pair of a word and a neighbour as `negative` of
their own would. So a step consists of matrix products: GROUP words with the words around them, and with the negatives.
What is drawn is a function of (seed, epoch, chapter, block): vectors are the same on any number of workers.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import softplus
from transformers import PreTrainedModel

from corpus.text.chapters import Chapter
from corpus.text.counting import count_words
from corpus.text.medium import Text
from corpus.text.units import Block, Blocks
from engine.publish.exhibits import Exhibit
from engine.run.checkpoint import Processor
from engine.run.recipe import check_least
from engine.train import draws
from engine.train.batch import Batch
from networks.word_vectors import WordVectors, take_rows
from pretrain.objective import Objective
from pretrain.terms import Term
from pretrain.word_vectors import (
    TokenizerAndVectors,
    build_vectors,
    check_words,
    find_rows,
    is_word,
    show_neighbours,
    show_words,
)

Ints = npt.NDArray[np.int64]
GROUP = 32  # words that share their negatives


@dataclass(frozen=True)
class CountedBlock:
    """Blocks of text (B, T), and what the frequencies of their chapter's words come to."""

    block: Block
    kept: npt.NDArray[np.float64]  # (V,) with what probability a word is kept; 0 for what is no word
    noise: npt.NDArray[np.float64]  # (V,) the negatives' distribution, summed up


class CountedBlocks(Blocks):
    """A chapter's text in blocks of `length` tokens, with the frequencies of its words."""

    def __init__(self, chapter: Chapter, length: int, text: Text, sample: float, ns_exponent: float):
        super().__init__(chapter, length, text.vocabulary.eos)
        counts = np.where(is_word(text.vocabulary), count_words(chapter, text.vocabulary.size), 0)
        self.kept = keep_probability(counts, sample)
        power = np.where(counts > 0, counts.astype(np.float64) ** ns_exponent, 0)
        self.noise = np.cumsum(power) / max(power.sum(), 1e-300)

    def take(self, index: Ints) -> CountedBlock:  # type: ignore[override]
        return CountedBlock(super().take(index), self.kept, self.noise)


@dataclass(frozen=True, kw_only=True)
class SkipGram(Objective[Text]):
    """A word is told from noise by a word of its window; with `cbow: true`, by the mean of the words of its window."""

    block_size: int = 1024  # tokens of text in an example; no window reaches beyond it
    window: int = 5  # words to each side, at most
    negative: int = 5  # words of the noise for each pair
    ns_exponent: float = 0.75  # the noise is as the words' frequencies to this power
    sample: float = 1e-4  # frequency from which on a word is left out by chance; 0: none is
    shared_negatives: int = 32  # words of the noise that are drawn for 32 words of the text together
    cbow: bool = False  # continuous bag of words (CBOW) instead of skip-gram

    medium = Text
    size_key = "block_size"
    asks_nothing = (
        "words that are not in the vocabulary, that stand alone, or that objective.sample leaves out; 0 leaves none out"
    )
    pipeline = "feature-extraction"
    model_type = "word_vectors"

    def __post_init__(self) -> None:
        check_least(self, 1, "window", "negative", "shared_negatives")
        check_least(self, 0, "sample")
        if not -2 <= self.ns_exponent <= 2:
            raise ValueError(f"ns_exponent is {self.ns_exponent}; it is a power from -2 to 2, such as 0.75")

    @property
    def terms(self) -> tuple[Term, ...]:
        return (Term("context", "Word of the window", "tokens", kind="contrast", weights="weight"),)

    @property
    def in_short(self) -> str:
        kind = "CBOW" if self.cbow else "skip-gram"
        return f"{kind} with {self.negative} negative samples, a window of {self.window} words (Mikolov et al. 2013)"

    def check(self, text: Text) -> None:
        check_words(text)

    def units(self, chapter: Chapter, size: int, text: Text, key: int) -> CountedBlocks:
        return CountedBlocks(chapter, size, text, self.sample, self.ns_exponent)

    def split(self, t: CountedBlock, text: Text, key: int) -> Batch:
        groups = lay_out(t, self.window, key)
        inside = groups.windows(self.window)  # (N, GROUP, GROUP + 2 window)
        noise = groups.draw_noise(t.noise, self.shared_negatives, key)  # (N, S)
        centres = groups.ids[:, self.window : -self.window]  # (N, GROUP)
        weight = self._weigh_noise(inside, noise, groups.ids, centres)  # (N, GROUP, S)
        shown, asked = (groups.ids, centres) if self.cbow else (centres, groups.ids)
        asked = np.concatenate([asked, noise], 1)
        shown_rows, (shown_places,) = find_rows(shown, size=text.vocabulary.size)
        asked_rows, (asked_places,) = find_rows(asked, size=text.vocabulary.size)
        x = {
            "shown_rows": shown_rows,
            "shown": shown_places,
            "asked_rows": asked_rows,
            "asked": asked_places,  # (N, A + S) words of the text, then of the noise
            "weight": weight,
            "example": groups.example,
        }
        if self.cbow:
            neighbours = inside.sum(2)  # (N, GROUP); their mean is asked for its own word
            x["share"] = (inside / np.maximum(1, neighbours)[:, :, None]).astype(np.float32)
            inside = np.greater(neighbours, 0)[:, :, None] & np.eye(GROUP, dtype=bool)
        row, column = np.divmod(np.flatnonzero(inside), inside.shape[2])  # (P,) of the words of all groups
        places = row * asked_places.shape[1] + column
        tokens = asked[row // GROUP, column]
        y = {"positions": torch.from_numpy(places), "tokens": torch.from_numpy(tokens)}
        rows, width = t.block.ids.shape
        sizes = tuple((t.block.document >= 0).sum(1).tolist())
        arrays = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in x.items()}
        return Batch(arrays, y, {"context": len(tokens)}, sizes, rows * width)

    def _weigh_noise(
        self, inside: npt.NDArray[np.bool_], noise: Ints, around: Ints, centres: Ints
    ) -> npt.NDArray[np.float32]:
        """For how much each word of the noise counts beside each word of its group: together `negative` for each word
        that is asked there, and nothing beside one that is the same word."""
        share = self.negative / self.shared_negatives
        if self.cbow:
            asked = np.greater(inside.sum(2), 0)[:, :, None] & (noise[:, None, :] != centres[:, :, None])
            return (share * asked).astype(np.float32)
        weight: npt.NDArray[np.float32] = np.repeat(
            inside.sum(2, dtype=np.float32)[:, :, None], self.shared_negatives, 2
        )
        same = around[:, :, None] == noise[:, None, :]
        group, place, number = np.unravel_index(np.flatnonzero(same), same.shape)  # np.nonzero takes five times as long
        np.subtract.at(weight, (group, slice(None), number), inside[group, :, place].astype(np.float32))  # type: ignore[arg-type]
        return (share * weight).astype(np.float32, copy=False)

    def build(self, model: dict[str, Any], text: Text) -> PreTrainedModel:
        return build_vectors(model, self.name, text.vocabulary, summed=False)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        x, places = batch.x, batch.y["positions"]
        with torch.autocast(places.device.type, enabled=False):
            shown = _gathered(take_rows(model.words, x["shown_rows"]), x["shown"])
            asked = _gathered(take_rows(model.contexts, x["asked_rows"]), x["asked"])  # (N, A + S, D)
            if self.cbow:
                shown = x["share"] @ shown  # (N, GROUP, D) the means of the windows
            scores = shown @ asked.transpose(1, 2)  # (N, GROUP, A + S)
            right = softplus(-scores.flatten().index_select(0, places)).sum()
            wrong = (softplus(scores[:, :, -self.shared_negatives :]) * x["weight"]).sum()
        return {"context": right + wrong}

    def show(self, batch: Batch, text: Text) -> list[Exhibit]:
        """The first words that are kept of each example, and some of the noise that they are told from."""
        x, lines = batch.x, list[Exhibit]()
        for number in range(len(batch.sizes)):
            group = torch.nonzero(x["example"] == number)[:1, 0]
            ids = x["asked_rows"][x["asked"][group]]
            around, noise = ids[:, : -self.shared_negatives], ids[:, -self.shared_negatives :].flatten()[:10]
            words = around[torch.isin(around, torch.from_numpy(text.vocabulary.ordinary))]
            lines.append(f"- {show_words(text, words)}; noise: {show_words(text, noise)}")
        return lines

    def samples(self, model: Any, text: Text, seed: int, unseen: list[Batch]) -> list[Exhibit]:
        return show_neighbours(model, text)

    def saved_beside(self, model: PreTrainedModel, text: Text) -> Processor:
        return cast(Processor, TokenizerAndVectors(text.words, cast(WordVectors, model)))


def _gathered(rows: Tensor, places: Tensor) -> Tensor:
    """Rows (U, D) at `places` (N, K): (N, K, D). Differentiated in half the time of `rows[places]`."""
    return rows.index_select(0, places.flatten()).view(*places.shape, rows.shape[1])


def keep_probability(counts: Ints, sample: float) -> npt.NDArray[np.float64]:
    """With what probability each word (V,) is kept: min(1, sqrt(t/f) + t/f) for a word of frequency f, as word2vec.c
    has it, and not as the paper (1 - sqrt(t/f) is left out there); 0 for what never stands there."""
    frequency = counts / max(1, counts.sum())
    if not sample:
        return (counts > 0).astype(np.float64)
    ratio = np.divide(sample, frequency, out=np.zeros(len(counts)), where=counts > 0)
    return np.minimum(1.0, np.sqrt(ratio) + ratio)


@dataclass(frozen=True)
class Groups:
    """The words that are kept of some blocks, in N groups of GROUP; a group's words are of one block, and it knows the
    words that stand before and behind it."""

    ids: Ints  # (N, GROUP + 2 window)
    document: Ints  # (N, GROUP + 2 window) -1 where there is no word
    reach: Ints  # (N, GROUP) words to each side
    block: Ints  # (N,) which block of the chapter
    number: Ints  # (N,) which group of its block
    example: Ints  # (N,) which block of the batch

    def windows(self, window: int) -> npt.NDArray[np.bool_]:
        """Which words stand in the window of which: (N, GROUP, GROUP + 2 window)."""
        distance = np.abs(np.arange(GROUP + 2 * window) - window - np.arange(GROUP)[:, None]).astype(np.int32)
        document, reach = self.document.astype(np.int32), self.reach.astype(np.int32)  # half the bytes to compare
        one, other = document[:, window:-window, None], document[:, None, :]
        near: npt.NDArray[np.bool_] = (distance > 0) & (distance <= reach[:, :, None])
        return near & (one == other) & (one >= 0)

    def draw_noise(self, noise: npt.NDArray[np.float64], number: int, key: int) -> Ints:
        """Draw `number` words for each group: (N, number)."""
        place = self.number[:, None] * number + np.arange(number)
        lot = draws.uniform(draws.stream("noise", key), self.block[:, None], place)
        rising = np.argsort(lot, axis=None)  # neighbours then stand beside each other in the cache
        found = np.empty(lot.size, np.int64)
        found[rising] = np.searchsorted(noise, lot.ravel()[rising], side="right")
        return np.minimum(found, len(noise) - 1).reshape(lot.shape)


def lay_out(t: CountedBlock, window: int, key: int) -> Groups:
    """Leave words out by chance, and put what is kept of each block into groups, behind each other."""
    block = t.block
    rows, width = block.ids.shape
    lot = draws.uniform(draws.stream("subsampling", key), block.index[:, None], np.arange(width))
    row, column = np.nonzero((lot < t.kept[block.ids]) & (block.document >= 0))
    words = np.bincount(row, minlength=rows)
    groups = -(-words // GROUP)
    first = np.cumsum(groups) - groups  # group of each block
    place = window + GROUP * first[row] + np.arange(len(row)) - np.repeat(np.cumsum(words) - words, words)
    size = 2 * window + GROUP * int(groups.sum())
    ids, document, reach = np.zeros(size, np.int64), np.full(size, -1), np.zeros(size, np.int64)
    ids[place] = block.ids[row, column]
    document[place] = row * width + block.document[row, column]
    reach[place] = 1 + draws.integers(draws.stream("window", key), window, block.index[row], column)
    around = GROUP * np.arange(groups.sum())[:, None] + np.arange(GROUP + 2 * window)
    return Groups(
        ids[around], document[around], reach[around[:, window:-window]],
        np.repeat(block.index, groups), np.arange(len(around)) - np.repeat(first, groups),
        np.repeat(np.arange(rows), groups),
    )  # fmt: skip
