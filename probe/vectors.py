"""Which vector does a model have for a word?  Word vectors (static embeddings) of ours, or a file of anybody's.

A model folder of word2vec or GloVe, trained here, or a text file as word2vec, gensim (`save_word2vec_format`) and GloVe
write it: a word and its numbers in each line, with or without a first line that says how many.
"""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import AutoModel

from corpus.text.vocabulary import Vocabulary
from engine.run.recipe import data_path
from engine.run.saved import config_of, located, opened
from networks.word_vectors import WordVectors, WordVectorsConfig
from tokenizer.load import load_tokenizer

Ints = npt.NDArray[np.int64]
PACKED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")  # begin gzip, zip, bzip2, xz and 7z files


@dataclass(frozen=True)
class WordTable:
    """V words, the commonest first where it is known, and their vectors (V, D)."""

    words: Sequence[str]
    vectors: Tensor

    def folded(self, most: int = 0) -> dict[str, int]:
        """The row of each word, capitals and small letters being one: that of the first spelling counts. Only among the
        first `most` rows, if that is not 0."""
        rows: dict[str, int] = {}
        for row, word in enumerate(self.words[: most or None]):
            rows.setdefault(word.upper(), row)
        return rows


def open_words(name: str, untrained: bool = False, seed: int = 0) -> WordTable:
    """Open a run, a model folder or a file of vectors; `untrained`: the same network with fresh weights of this seed.

    Errors: FileNotFoundError; ValueError for a model that is none of words, and a file that is damaged, with its line.
    """
    if is_file(name):
        table = read_vectors(data_path(name))
        return untrained_like(table, seed) if untrained else table
    source = located(name)
    config = config_of(source)
    if not has_word_vectors(name):
        is_text = hasattr(config, "vocab_size")
        raise ValueError(
            f"{name} is a {config.model_type} model, "
            + ("whose vector of a word depends on the text around it" if is_text else "which reads no text")
            + "; this probe takes word vectors, such as recipes/pretrain/skip-gram.yaml trains, or a file of them"
        )
    tokenizer = load_tokenizer(source)
    if untrained:
        torch.manual_seed(seed)
    model: Any = AutoModel.from_config(config) if untrained else opened(source)
    assert isinstance(model, WordVectors)
    ids = Vocabulary.of(tokenizer).ordinary
    return WordTable(tokenizer.convert_ids_to_tokens(ids.tolist()), model.vectors()[torch.from_numpy(ids)])


def has_word_vectors(name: str) -> bool:
    """Whether a word has one vector in this model, or it is a file of vectors. Errors: FileNotFoundError."""
    return is_file(name) or isinstance(config_of(located(name)), WordVectorsConfig)


def is_file(name: str) -> bool:
    try:
        return data_path(name).is_file()
    except FileNotFoundError:
        return False


def untrained_like(table: WordTable, seed: int) -> WordTable:
    """The same words with random vectors."""
    drawn = torch.Generator().manual_seed(seed)
    return WordTable(table.words, torch.rand(table.vectors.shape, generator=drawn) - 0.5)


def read_vectors(path: Path) -> WordTable:
    """Read a text file of word vectors. Errors: ValueError that names the line, for what is damaged, cut off, packed or
    binary."""
    refuse_packed(path)
    words, rows, width = list[str](), list[npt.NDArray[np.float32]](), 0
    promised: int | None = None
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            parts = cut(line)
            if number == 1 and len(parts) == 2 and all(part.isdecimal() for part in parts):
                promised, width = map(int, parts)  # a line that says how many words and numbers there are
                continue
            if parts == [""]:
                continue
            width = width or len(parts) - 1
            place = max(1, len(parts) - width)  # some files have words with blanks: `. . .` of GloVe's 840B
            vector = to_vector(parts[place:])
            if not width or vector is None or len(vector) != width or to_vector(parts[1:place]) is not None:
                raise wrong_line(path, number, line)
            words.append(" ".join(parts[:place]))
            rows.append(vector)
    if not rows:
        raise ValueError(f"{path} holds no vectors")
    if promised is not None and promised != len(rows):
        raise ValueError(
            f"{path}, line 1: {promised:,} words are promised, but {len(rows):,} follow; if the file was cut off, "
            "fetch it again, and if it is as you want it, correct that number"
        )
    return WordTable(words, torch.from_numpy(np.stack(rows)))


def refuse_packed(path: Path) -> None:
    """Errors: ValueError for a file that is packed, or UTF-16."""
    with path.open("rb") as file:
        begin = file.read(max(map(len, PACKED)))
    if begin.startswith(PACKED):
        raise ValueError(f"{path} is packed; unpack it, and name the text file that was in it")
    if begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{path} is UTF-16; save it as UTF-8")


def cut(line: str) -> list[str]:
    """What stands between blanks or tabs: other spaces may be in a word. What is before the first may be empty."""
    first, *others = line.rstrip().replace("\t", " ").split(" ")
    return [first, *filter(None, others)]


def wrong_line(path: Path, number: int, line: str) -> ValueError:
    if "\ufffd" in line or "\0" in line:
        return ValueError(
            f"{path}, line {number}: this is no text in UTF-8; convert binary word vectors to text, as with gensim's "
            "KeyedVectors.load_word2vec_format(PATH, binary=True).save_word2vec_format(NEW_PATH)"
        )
    return ValueError(
        f"{path}, line {number}: a word and its numbers are expected, parted by blanks or tabs, as many as in the "
        f"lines before and finite; found {line[:40]!r}"
    )


def to_vector(parts: Sequence[str]) -> npt.NDArray[np.float32] | None:
    """The numbers that stand there, of which there is one at least; None where it is something else."""
    try:
        vector = np.array(parts, np.float32)
    except ValueError:
        return None
    return vector if len(vector) and np.isfinite(vector).all() else None
