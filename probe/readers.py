"""Which states does a model have for a text?  A run, a folder, a Hub id or a file of word vectors is opened to read."""

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from engine.run.architecture import count_positions
from engine.run.recipe import data_path
from engine.run.runtime import seed_weights
from engine.run.saved import located, opened
from networks.elmo import ElmoModel
from networks.states import StateReader
from networks.word_vectors import WordVectors, WordVectorsConfig
from probe.vectors import WordTable, is_file, read_vectors, untrained_like
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
