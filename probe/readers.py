"""Which states does a model have for a text?  A run, a folder, a Hub id or a file of word vectors is opened to read."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from engine.run.architecture import count_positions
from engine.run.recipe import data_path
from engine.run.runtime import seed_weights
from engine.run.saved import located, opened
from networks.elmo import ElmoModel
from networks.occurrences import read_words
from networks.states import StateReader
from networks.word_vectors import WordVectors, WordVectorsConfig
from probe.vectors import WordTable, has_word_vectors, is_file, open_words, read_vectors, untrained_like
from tokenizer.load import load_tokenizer, refuse_strange_ids
from tokenizer.spelling import spell

UNKNOWN = "[UNK]"
MOST_TOKENS = 512  # read at once, by models that have positions for more too


def open_reader(name: str, untrained: bool = False, seed: int = 0) -> StateReader:
    """Open a model to read texts; `untrained`: the same network with fresh weights of this seed.

    Errors: FileNotFoundError; ValueError for what is damaged, and for a model that cannot be asked.
    """
    if is_file(name):
        table = read_vectors(data_path(name))
        return table_reader(untrained_like(table, seed) if untrained else table)
    source = located(name)
    model, tokenizer = opened(source), load_tokenizer(source)
    refuse_strange_ids(tokenizer, model.config.vocab_size, source)
    if untrained:
        seed_weights(seed)
        model = type(model)(model.config).eval()
        if isinstance(model.base_model, ElmoModel):  # what characters a token has is not learnt
            model.base_model.spell(spell(tokenizer))
    try:
        return StateReader(model, tokenizer, min(count_positions(model), MOST_TOKENS))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def table_reader(table: WordTable) -> StateReader:
    """Word vectors of a file as a model that reads texts: words and punctuation marks, capitals being small letters."""
    rows: dict[str, int] = {}
    for row, word in enumerate(table.words):
        rows.setdefault(word.lower(), row)
    unknown = rows.setdefault(UNKNOWN, len(table.words))
    tokens = Tokenizer(models.WordLevel(rows, unk_token=UNKNOWN))
    tokens.normalizer, tokens.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    model = WordVectors(WordVectorsConfig(vocab_size=len(table.words) + 1, hidden_size=table.vectors.shape[1]))
    with torch.no_grad():
        model.words.weight[: len(table.words)] = table.vectors
    assert unknown == len(table.words)
    return StateReader(model.eval(), PreTrainedTokenizerFast(tokenizer_object=tokens, unk_token=UNKNOWN), MOST_TOKENS)


@dataclass(frozen=True)
class KnownWords:
    """Words that a model knows, W of them."""

    rows: dict[str, int]  # of each word
    layers: list[Tensor]  # of each layer the vectors (W, D); of word vectors there is one
    ranks: list[int]  # about the place of each among all words by how common they are, from 1


def look_up(name: str, words: Sequence[str], untrained: bool = False, seed: int = 0) -> KnownWords:
    """The vectors of those of some words that a model knows.

    Of word vectors the row of the table, capitals and small letters being one. Any other model reads each word alone,
    with nothing around it but what frames each text, and the vector is the mean of its pieces. The rank is the row of
    the table, or the largest id of the pieces: vocabularies are learnt from the commonest on. Errors: as for
    `open_reader`.
    """
    if has_word_vectors(name):
        table = open_words(name, untrained, seed)
        folded = table.folded()
        rows = {word: folded[word.upper()] for word in words if word.upper() in folded}
        vectors = table.vectors[list(rows.values())]
        return KnownWords(dict(zip(rows, range(len(rows)), strict=True)), [vectors], [row + 1 for row in rows.values()])
    reader = open_reader(name, untrained, seed)
    layers, known = read_words(reader, words)
    there = [word for word, is_known in zip(words, known, strict=True) if is_known]
    pieces = [reader.tokenizer.encode(word, add_special_tokens=False) for word in there]
    return KnownWords({word: row for row, word in enumerate(there)}, layers, [1 + max(ids) for ids in pieces])
