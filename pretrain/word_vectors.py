"""What do skip-gram and GloVe share?  Words alone are trained, and their vectors stand beside the model as a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from corpus.text.medium import Text
from corpus.text.vocabulary import Vocabulary
from engine.publish.exhibits import Exhibit
from networks.word_vectors import WordVectors, WordVectorsConfig, check_written, nearest, write_vectors
from pretrain.network import check_keys, check_kind

Ints = npt.NDArray[np.int64]
VECTORS = "vectors.txt"
SHOWN = ("france", "king", "river", "guitar", "three", "good", "doctor", "bank")  # whose neighbours are told
NEIGHBOURS = 6


@dataclass(frozen=True)
class TokenizerAndVectors:
    """What is saved beside word vectors: the tokenizer, and the vectors in word2vec's format, which gensim opens."""

    tokenizer: PreTrainedTokenizerFast
    model: WordVectors

    def save_pretrained(self, save_directory: str) -> None:
        self.tokenizer.save_pretrained(save_directory)
        ids = Vocabulary.of(self.tokenizer).ordinary
        words = self.tokenizer.convert_ids_to_tokens(ids.tolist())
        write_vectors(Path(save_directory) / VECTORS, words, self.model.vectors()[torch.from_numpy(ids)].cpu().float())


def check_words(text: Text) -> None:
    """Errors: ValueError for a tokenizer without a token that ends a document, and for one with words that could not be
    written at the end."""
    if "eos" not in text.vocabulary.special:
        raise ValueError(
            "the tokenizer has no eos token, which ends a document; word vectors take a vocabulary of whole words: "
            "cloze tokenizer recipes/tokenizer/words.yaml, and then tokenizer: runs/words/tokenizer"
        )
    check_written(text.words.convert_ids_to_tokens(text.vocabulary.ordinary.tolist()), "the tokenizer")


def build_vectors(settings: dict[str, Any], objective: str, vocabulary: Vocabulary, summed: bool) -> PreTrainedModel:
    """Two tables with fresh weights, of the recipe's `model:` section. Errors: ValueError for a key that is unknown."""
    if "from" in settings:
        raise ValueError("model.from continues language models; word vectors are trained from fresh ones: leave it out")
    kind = WordVectorsConfig.model_type
    check_kind(settings.get("model_type", kind), objective, (kind,), (kind,))
    check_keys(settings, {"model_type", "hidden_size"})
    size = settings.get("hidden_size", WordVectorsConfig.hidden_size)
    special: dict[str, Any] = {"eos_token_id": vocabulary.eos, "pad_token_id": vocabulary.special.get("pad")}
    return WordVectors(WordVectorsConfig(vocab_size=vocabulary.size, hidden_size=size, summed=summed, **special))


def find_rows(*ids: Ints, size: int) -> tuple[Ints, list[Ints]]:
    """The rows (U,) of a table of `size` that arrays of ids use, rising, and for each array where its ids lie among
    them. As `np.unique` with `return_inverse`, but without its sorting of all ids."""
    used = np.zeros(size, bool)
    for each in ids:
        used[each] = True
    rows = np.flatnonzero(used)
    place = np.empty(size, np.int64)
    place[rows] = np.arange(len(rows))
    return rows, [place[each] for each in ids]


def is_word(vocabulary: Vocabulary) -> npt.NDArray[np.bool_]:
    """Which ids (V,) are words: the others are unknown words and the ends of documents."""
    found = np.zeros(vocabulary.size, bool)
    found[vocabulary.ordinary] = True
    return found


def show_neighbours(model: WordVectors, text: Text) -> list[Exhibit]:
    """The words nearest to a few, or to the commonest where a text has none of these: a Markdown line each."""
    known, ordinary = text.words.get_vocab(), text.vocabulary.ordinary
    asked = [known[word] for word in SHOWN if word in known] or ordinary[: len(SHOWN)].tolist()
    vectors = model.vectors()
    vectors = vectors[torch.from_numpy(ordinary).to(vectors.device)]
    places = torch.from_numpy(np.searchsorted(ordinary, asked)).to(vectors.device)
    cosines, rows = nearest(vectors, vectors[places], NEIGHBOURS + 1)
    lines: list[Exhibit] = []
    for number, place in enumerate(places.tolist()):
        found = zip(rows[number].tolist(), cosines[number].tolist(), strict=True)
        others = [(int(ordinary[row]), cosine) for row, cosine in found if row != place][:NEIGHBOURS]
        near = ", ".join(f"{_word(text, word)} {cosine:.2f}" for word, cosine in others)
        lines.append(f"- {_word(text, asked[number])} → {near}")
    return lines


def show_words(text: Text, ids: torch.Tensor) -> str:
    """Words behind each other, in Markdown that nothing in them can break."""
    return " ".join(_word(text, number) for number in ids.tolist())


def _word(text: Text, number: int) -> str:
    """A word in Markdown that nothing in it can break."""
    return f"`{str(text.words.convert_ids_to_tokens(number)).replace('`', '') or '…'}`"
