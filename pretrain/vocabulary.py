"""Which ids mean what?  The special ids of a BERT vocabulary, read off a tokenizer once."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Vocabulary:
    """size V; the ids of [PAD], [CLS], [SEP] and [MASK]; and all ids that are ordinary tokens, not special ones."""

    size: int
    pad: int
    cls: int
    sep: int
    mask: int
    ordinary: npt.NDArray[np.int64]

    @staticmethod
    def of(tokenizer: PreTrainedTokenizerFast) -> "Vocabulary":
        """Errors: ValueError that names the special tokens which are missing."""
        specials = {name: getattr(tokenizer, f"{name}_token_id") for name in ("pad", "cls", "sep", "mask")}
        if missing := [name for name, number in specials.items() if number is None]:
            raise ValueError(
                f"the tokenizer {tokenizer.name_or_path!r} has no {', '.join(missing)} token; masked language models "
                "need [PAD] [CLS] [SEP] [MASK]: train a WordPiece tokenizer"
            )
        ordinary = np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)
        return Vocabulary(size=len(tokenizer), ordinary=ordinary, **specials)
