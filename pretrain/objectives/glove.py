"""How often do these two words meet?  GloVe: weighted least squares on the logarithms of co-occurrence counts.

Pennington et al. 2014, and the authors' code: pairs within `window` words, each counting 1 / distance; a pair that
meets x times weighs min(1, (x / x_max) ** alpha); AdaGrad; a word's vector is the sum of its rows in both tables, W and
W~. The counts are made once, and kept beside the store (`corpus.text.cooccurrence`). An example is a sample of the
table's entries, `block_size` of them, evenly spread over the table, and the log counts an entry as a token.

Counts are given per million words of text, so that held-out text, which is shorter, can be compared. That adds the same
number to all logarithms, and the words' biases absorb it. A short text lacks most of the rare pairs, which are then not
asked; the rare pairs that it has are too frequent in it. So its logarithms are higher and closer together, and an
evaluation on held-out text reports the correlation of guesses and logarithms.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel

from corpus.text.chapters import Chapter
from corpus.text.cooccurrence import MOST_APART, CoOccurrences, open_table
from corpus.text.medium import Text
from engine.publish.exhibits import Exhibit
from engine.run.checkpoint import Processor
from engine.run.recipe import check_least, operational
from engine.train.batch import Batch
from networks.word_vectors import WordVectors, dot_rows, take_rows
from pretrain.objective import Objective
from pretrain.terms import Term, moments
from pretrain.word_vectors import (
    TokenizerAndVectors,
    build_vectors,
    check_words,
    find_rows,
    show_neighbours,
    show_words,
)

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """B examples of pairs of words, behind each other (P,)."""

    low: Ints  # the smaller id
    high: Ints
    count: npt.NDArray[np.float32]  # how often they meet
    sizes: Ints  # (B,) pairs of each example
    num_words: int  # of the text that they were counted in


class Entries:
    """A table's entries in examples of `size`: example e holds the entries e, e + E, e + 2 E ..., of E examples."""

    def __init__(self, table: CoOccurrences, size: int, num_words: int):
        self.table, self.num_words = table, max(1, num_words)
        self.number = max(1, -(-len(table) // size))

    def __len__(self) -> int:
        return self.number

    def report(self) -> list[str]:
        """Say, in Markdown lines, what the table came to."""
        pairs, met = len(self.table), float(self.table.count.sum(dtype=np.float64))
        return [f"Co-occurrence table: {pairs:,} pairs of words, of {self.num_words:,} tokens; they meet {met:,.0f} "
                "times, weighted by their distances."]  # fmt: skip

    def take(self, index: Ints) -> Pairs:
        rows = np.arange(-(-len(self.table) // self.number))
        place = index[:, None] + self.number * rows
        there = place < len(self.table)
        place = place[there]
        table = self.table
        return Pairs(
            table.low[place].astype(np.int64), table.high[place].astype(np.int64), table.count[place],
            there.sum(1), self.num_words,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Glove(Objective[Text]):
    """A pair of words predicts the logarithm of how often they stand near each other."""

    block_size: int = 256  # pairs in an example
    window: int = 15  # words to each side
    x_max: float = 100.0  # a pair that meets as often counts in full; for small texts lower, such as 10
    alpha: float = 0.75  # how the weight of a rarer pair falls
    memory_mb: int = operational(1024)  # that counting the pairs may take; the rest is sorted on disk

    medium = Text
    size_key = "block_size"
    asks_nothing = "words that are not in the vocabulary, or stand alone in their document"
    pipeline = "feature-extraction"
    model_type = "word_vectors"

    def __post_init__(self) -> None:
        check_least(self, 1, "window", "memory_mb")
        if self.window > MOST_APART:
            raise ValueError(f"window is {self.window}; {MOST_APART} words to each side are the most")
        if not (self.x_max > 0 and self.alpha > 0):
            raise ValueError(f"x_max is {self.x_max} and alpha {self.alpha}; both are above 0, such as 100 and 0.75")

    @property
    def terms(self) -> tuple[Term, ...]:
        return (Term("log_count", "Log of co-occurrence", "log_counts", kind="number", weights="weights"),)

    @property
    def in_short(self) -> str:
        return f"GloVe, co-occurrences within {self.window} words (Pennington et al. 2014)"

    def check(self, text: Text) -> None:
        check_words(text)

    def units(self, chapter: Chapter, size: int, text: Text, key: int) -> Entries:
        """The table of the whole store that a chapter is of."""
        table = open_table(chapter.store, text.vocabulary.ordinary, self.window, self.memory_mb)
        return Entries(table, size, chapter.store.num_tokens)

    def split(self, t: Pairs, text: Text, key: int) -> Batch:
        # A pair is asked both ways, its smaller id as the word and its larger one as the context, and the reverse; a
        # word beside itself once, for twice as much, as the authors' code has it.
        words, contexts = (np.stack(ids, 1).ravel() for ids in ((t.low, t.high), (t.high, t.low)))  # (2 P,)
        same = t.low == t.high
        count = np.repeat(np.where(same, 2 * t.count, t.count), 2)
        asked = np.stack([np.ones(len(same), bool), ~same], 1)
        sizes = np.add.reduceat(asked.sum(1), np.cumsum(t.sizes) - t.sizes) if len(same) else t.sizes
        asked = asked.ravel()
        words, contexts, count = words[asked], contexts[asked], count[asked]  # (M,)
        rows, (words, contexts) = find_rows(words, contexts, size=text.vocabulary.size)
        x = {"rows": rows, "words": words, "contexts": contexts}
        y = {
            "log_counts": np.log(count * (1e6 / t.num_words)).astype(np.float32),  # (M,)
            "weights": np.minimum(1, (count / self.x_max) ** self.alpha).astype(np.float32),  # (M,)
        }
        return Batch(
            {name: torch.from_numpy(values) for name, values in x.items()},
            {name: torch.from_numpy(values) for name, values in y.items()},
            {"log_count": len(count)}, tuple(sizes.tolist()), len(count),
        )  # fmt: skip

    def build(self, model: dict[str, Any], text: Text) -> PreTrainedModel:
        return build_vectors(model, self.name, text.vocabulary, summed=True)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        x, y = batch.x, batch.y
        with torch.autocast(x["rows"].device.type, enabled=False):
            words, contexts, word_biases, context_biases = (
                take_rows(table, x["rows"])
                for table in (model.words, model.contexts, model.word_biases, model.context_biases)
            )
            scores = dot_rows(words, contexts, x["words"], x["contexts"])  # (M,)
            biases = word_biases.index_select(0, x["words"]) + context_biases.index_select(0, x["contexts"])  # (M, 1)
            guess = scores + biases[:, 0]
            sums = {"log_count": (y["weights"] * (guess - y["log_counts"]) ** 2).sum()}
            return sums if model.training else sums | moments("log_count", guess, y["log_counts"], y["weights"])

    def show(self, batch: Batch, text: Text) -> list[Exhibit]:
        """The first pairs of each example, each with how often it meets in a million words."""
        x, lines, first = batch.x, list[Exhibit](), 0
        for size in batch.sizes:
            some = slice(first, first + min(8, size))
            words, contexts = (x["rows"][x[name][some]] for name in ("words", "contexts"))
            counts = batch.y["log_counts"][some].exp().tolist()
            pairs = zip(words, contexts, counts, strict=True)
            lines.append("- " + "; ".join(f"{show_words(text, torch.stack([one, other]))} {count:.3g}"
                                          for one, other, count in pairs))  # fmt: skip
            first += size
        return lines

    def samples(self, model: Any, text: Text, seed: int, unseen: list[Batch]) -> list[Exhibit]:
        return show_neighbours(model, text)

    def saved_beside(self, model: PreTrainedModel, text: Text) -> Processor:
        return cast(Processor, TokenizerAndVectors(text.words, cast(WordVectors, model)))
