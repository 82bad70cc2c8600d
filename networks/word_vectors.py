"""One vector for each word, wherever it stands: what word2vec and GloVe leave.

Mikolov et al. 2013, "Distributed Representations of Words and Phrases and their Compositionality" (arXiv 1310.4546);
Pennington et al. 2014, "GloVe: Global Vectors for Word Representation". Two tables are trained, one of the words and
one of the contexts that they stand in. The vectors of word2vec are the first; those of GloVe are the sum of both.

A step touches a few thousand rows of tables that have many more. On a CPU their gradient therefore holds these rows and
no others (`nn.Embedding.sparse`), and an optimizer that knows it (AdaGrad) changes no others.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput

PART = 2048  # pairs of rows of which a CPU multiplies the elements at a time


class WordVectorsConfig(PreTrainedConfig):
    """Sizes of two tables of word vectors. Errors: ValueError for impossible ones."""

    model_type = "word_vectors"

    vocab_size: int = 30_000
    hidden_size: int = 100
    summed: bool = False  # a word's vector is the sum of its rows in both tables, and words have biases: GloVe
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False
    # Of the network that reads them for a task (networks/word_vector_tasks.py)
    feature_dropout: float = 0.5
    encoder_size: int = 1500  # of the BiLSTM in each direction
    encoder_layers: int = 2
    classifier_size: int = 512
    classifier_dropout: float = 0.2
    text_columns: list[str] | None = None  # of the task: one text, or a pair; None: not known
    frame_token_ids: list[int] | None = None  # of tokens that stand before, between or behind texts

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        for name in ("vocab_size", "hidden_size", "encoder_size", "encoder_layers", "classifier_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        for name in ("feature_dropout", "classifier_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share from 0 to below 1, such as 0.1")


class WordVectors(PreTrainedModel):
    """Two tables (V, D) of vectors, and with `summed` a bias for each of their rows."""

    config: WordVectorsConfig
    config_class = WordVectorsConfig
    base_model_prefix = ""

    def __init__(self, config: WordVectorsConfig):
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.hidden_size, sparse=True)
        self.contexts = nn.Embedding(config.vocab_size, config.hidden_size, sparse=True)
        if config.summed:
            self.word_biases = nn.Embedding(config.vocab_size, 1, sparse=True)
            self.context_biases = nn.Embedding(config.vocab_size, 1, sparse=True)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As the authors' code begins: uniform within 1 / 2D; the contexts of word2vec at zero."""
        if not isinstance(module, nn.Embedding):
            return
        if module is self.contexts and not self.config.summed:
            init.zeros_(module.weight)
        else:
            bound = 0.5 / self.config.hidden_size
            init.uniform_(module.weight, -bound, bound)

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> BaseModelOutput:
        """The vectors (B, T, D) of `input_ids` (B, T): the same for a word wherever it stands."""
        found = nn.functional.embedding(input_ids, self.words.weight)
        if self.config.summed:
            found = found + nn.functional.embedding(input_ids, self.contexts.weight)
        return BaseModelOutput(last_hidden_state=found)

    @torch.no_grad()
    def vectors(self) -> Tensor:
        """The vector of each word (V, D)."""
        found = self.words.weight + self.contexts.weight if self.config.summed else self.words.weight
        return found.detach()


class _Rows(torch.autograd.Function):
    """Rows of a table, none of them twice; the table's gradient holds them and no others."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = table.shape
        return table.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return torch.sparse_coo_tensor(rows[None], gradient, ctx.shape, is_coalesced=True, check_invariants=False), None


def take_rows(table: nn.Embedding, rows: Tensor) -> Tensor:
    """Rows (U,) of a table, in rising order and none twice, as (U, D)."""
    if not table.sparse:
        return table.weight.index_select(0, rows)
    found: Tensor = _Rows.apply(table.weight, rows)
    return found


class _Dots(torch.autograd.Function):
    """Dot products of rows of two tables, a part of the pairs at a time: what a part gathers stays in the cache."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, left_rows: Tensor, right_rows: Tensor) -> Tensor:
        ctx.save_for_backward(left, right, left_rows, right_rows)
        return torch.cat([
            torch.linalg.vecdot(left.index_select(0, one), right.index_select(0, other))
            for one, other in _parts(left_rows, right_rows)
        ])  # fmt: skip

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        left, right, left_rows, right_rows = ctx.saved_tensors
        of_left, of_right = torch.zeros_like(left), torch.zeros_like(right)
        for one, other, share in _parts(left_rows, right_rows, gradient):
            of_left.index_add_(0, one, right.index_select(0, other).mul_(share[:, None]))
            of_right.index_add_(0, other, left.index_select(0, one).mul_(share[:, None]))
        return of_left, of_right, None, None


def _parts(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same parts of several tensors (M,), of PART elements on a CPU; a GPU takes all at once."""
    size = PART if tensors[0].device.type == "cpu" else max(1, len(tensors[0]))
    return zip(*(tensor.split(size) for tensor in tensors), strict=True)


def dot_rows(left: Tensor, right: Tensor, left_rows: Tensor, right_rows: Tensor) -> Tensor:
    """The dot products (M,) of rows (M,) of `left` (U, D) with rows (M,) of `right` (V, D)."""
    found: Tensor = _Dots.apply(left, right, left_rows, right_rows)
    return found


def nearest(vectors: Tensor, queries: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The rows of `vectors` (V, D) nearest to each of `queries` (Q, D) by cosine, nearest first: cosines and rows, both
    (Q, most). A vector of zeros is near to nothing."""
    unit = nn.functional.normalize(vectors, dim=1)
    found = nn.functional.normalize(queries, dim=1) @ unit.T
    best = found.topk(min(most, len(vectors)), dim=1)
    return best.values, best.indices


def check_written(words: Sequence[str], where: str) -> None:
    """Errors: ValueError for a word that a file cannot hold whose words end at blanks."""
    if strange := [word for word in words if not word or word.split() != [word]]:
        raise ValueError(
            f"{where}: the word {strange[0]!r} holds a blank or nothing, and in a file of vectors words end at blanks; "
            "join the words of a phrase by _"
        )


def write_vectors(path: Path, words: Sequence[str], vectors: Tensor) -> None:
    """Write word2vec's text format, which `gensim.models.KeyedVectors.load_word2vec_format` opens: a line with how many
    words and features there are, then a line a word. Each number is written in full, so what is read is what was.

    Errors: as for `check_written`.
    """
    check_written(words, str(path))
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{len(words)} {vectors.shape[1]}\n")
        for word, vector in zip(words, vectors.numpy(), strict=True):
            file.write(f"{word} {' '.join(map(str, vector))}\n")
