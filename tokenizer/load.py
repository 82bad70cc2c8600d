"""Which tokenizer does this name mean, and is it whole?  A folder or a Hub id becomes a fast tokenizer.

A folder is what `save_pretrained` writes, or a bare vocabulary as it is usually handed around: `vocab.txt` (BERT) or
`vocab.json` and `merges.txt` (GPT-2).
"""

import hashlib
import json
import re
from pathlib import Path

from transformers import (
    AutoTokenizer,
    BertTokenizer,
    GPT2Tokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from corpus.text.vocabulary import num_ids
from engine.run.architecture import count_positions
from engine.run.makers import advise
from engine.run.recipe import data_path
from engine.run.saved import OWN_CODE, first_line

BERT_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_BERT_LENGTH, _GPT2_LENGTH = 512, 1024  # positions of the published models, which a bare vocabulary does not tell
_VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def load_tokenizer(name: str | Path, revision: str | None = None) -> PreTrainedTokenizerFast:
    """Open the tokenizer in a folder (absolute, in $CLOZE_DATA or in the working folder) or of a Hub id.

    `revision` is the Hub's branch, tag or commit. Errors: FileNotFoundError where there is nothing of that name;
    ValueError for a vocabulary that is broken, with file and line, or that holds only special tokens.
    """
    try:
        folder = data_path(str(name))
    except FileNotFoundError as error:
        tokenizer = _from_hub(str(name), revision, missing=error)
    else:
        tokenizer = _from_folder(folder)
    _check(tokenizer, name)
    return tokenizer


def refuse_strange_ids(tokenizer: PreTrainedTokenizerFast, num_embeddings: int, model: str | Path) -> None:
    """Errors: ValueError if a text can become ids for which the model has no embedding."""
    if (needed := num_ids(tokenizer)) > num_embeddings:
        raise ValueError(
            f"{model}: the tokenizer's ids go up to {needed - 1}, the model has embeddings for {num_embeddings} (0 to "
            f"{num_embeddings - 1}); they do not belong together: put there the tokenizer of its training"
        )


def tokenizer_hash(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return the SHA-256 (hex) of all that decides which ids a text becomes: equal hashes, equal ids.

    Truncation and padding are left out, because every call to the tokenizer may set them anew.
    """
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content.pop("truncation")
    content.pop("padding")
    content["special"] = {role: str(token) for role, token in tokenizer.special_tokens_map.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def fit_tokenizer(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel) -> PreTrainedTokenizerFast:
    """The tokenizer as it is saved beside `model`: it takes as many tokens as the model has positions, and cuts nothing
    by itself."""
    tokenizer.model_max_length = min(tokenizer.model_max_length, count_positions(model))
    tokenizer.backend_tokenizer.no_truncation()  # an encoding's own, which is no property of the tokenizer
    return tokenizer


def _from_folder(folder: Path) -> PreTrainedTokenizerFast:
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; a tokenizer is the folder that holds its files")
    held = {path.name for path in folder.iterdir()}
    if "vocab.txt" in held and "tokenizer.json" not in held:
        _check_wordpiece_lines(folder / "vocab.txt")
    if held & {"tokenizer.json", "tokenizer_config.json", "config.json"}:
        return _automatic(folder)
    # `BertTokenizer(vocab_file=...)` ignores the file and knows five tokens: only `from_pretrained` reads it.
    if "vocab.txt" in held:
        lowercase = not _has_capitals(folder / "vocab.txt")
        return BertTokenizer.from_pretrained(
            folder, do_lower_case=lowercase, model_max_length=_BERT_LENGTH, trust_remote_code=False
        )
    if held >= {"vocab.json", "merges.txt"}:
        return GPT2Tokenizer.from_pretrained(folder, model_max_length=_GPT2_LENGTH, trust_remote_code=False)
    raise _no_tokenizer(folder)


def _automatic(folder: Path) -> PreTrainedTokenizerFast:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers lets through whatever its parsers raise
        if _asks_for_code(folder):
            raise ValueError(f"the tokenizer in {folder} is not opened: {OWN_CODE}") from error
        if not any((folder / name).is_file() for name in _VOCABULARIES):
            raise _no_tokenizer(folder) from error
        raise ValueError(f"the tokenizer in {folder} cannot be read: {first_line(error)}") from error
    return _fast(tokenizer, folder)


def _asks_for_code(folder: Path) -> bool:
    """Whether a config of the folder names code of its own (auto_map)."""
    paths = (folder / "config.json", folder / "tokenizer_config.json")
    return any("auto_map" in path.read_text(encoding="utf-8", errors="replace") for path in paths if path.is_file())


def _no_tokenizer(folder: Path) -> FileNotFoundError:
    if (folder / "preprocessor_config.json").is_file():
        return FileNotFoundError(
            f"no tokenizer in {folder}: its model looks at pictures or the like, and reads no text"
        )
    return FileNotFoundError(
        f"no tokenizer in {folder}: it needs tokenizer.json, or vocab.txt, or vocab.json and merges.txt"
    )


def _from_hub(name: str, revision: str | None, missing: FileNotFoundError) -> PreTrainedTokenizerFast:
    if not _HUB_ID.fullmatch(name) or name.startswith("runs/"):
        raise FileNotFoundError(f"no tokenizer {name}: {missing}{advise(name)}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision or "main", trust_remote_code=False)
    except Exception as error:  # as above
        raise FileNotFoundError(
            f"no tokenizer {name!r}: {missing}; and the Hub gives none: {first_line(error)}"
        ) from error
    return _fast(tokenizer, name)


def _fast(tokenizer: PreTrainedTokenizerBase, name: str | Path) -> PreTrainedTokenizerFast:
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ValueError(f"the tokenizer {name} is not a fast one; save it with its tokenizer.json")
    return tokenizer


def _check(tokenizer: PreTrainedTokenizerFast, name: str | Path) -> None:
    ordinary = len(tokenizer) - len(set(tokenizer.all_special_ids))
    if ordinary < 2:
        raise ValueError(
            f"the vocabulary of {name} has {len(tokenizer)} tokens, {ordinary} of them ordinary ones: it would read "
            "all text as unknown; check that its vocabulary file is there and whole"
        )
    if type(tokenizer.model_max_length) is not int or tokenizer.model_max_length < 1:
        raise ValueError(
            f"the tokenizer of {name} has the model_max_length {tokenizer.model_max_length!r}; in "
            "tokenizer_config.json that is a whole number of tokens, such as 512"
        )


def _check_wordpiece_lines(path: Path) -> None:
    first_line: dict[str, int] = {}
    for number, token in enumerate(_lines(path), start=1):
        if token in first_line:
            raise ValueError(
                f"{path}:{number}: {token!r} stands on line {first_line[token]} already; a token has one id, so every "
                "line must differ"
            )
        first_line[token] = number
    if absent := [token for token in BERT_SPECIAL_TOKENS if token not in first_line]:
        raise ValueError(f"{path} has {len(first_line)} lines and lacks {', '.join(absent)}; BERT needs each of them")


def _has_capitals(path: Path) -> bool:
    """Whether a WordPiece vocabulary is a cased one: the file itself does not say so."""
    return any(token != token.lower() for token in _lines(path) if not token.startswith("["))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
