"""Which ids mean what?  The special ids of a vocabulary, read off a tokenizer once."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Vocabulary:
    """Its size V, the ids of its special tokens, and all ids that are ordinary ones.

    A special token that is not there is asked for in vain: ValueError.
    """

    size: int
    special: dict[str, int]  # of pad, cls, sep, mask, eos: those there are
    ordinary: npt.NDArray[np.int64]
    continues: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))  # (V,) ids such as ##ing

    @staticmethod
    def of(tokenizer: PreTrainedTokenizerFast) -> "Vocabulary":
        named = {name: getattr(tokenizer, f"{name}_token_id") for name in ("pad", "cls", "sep", "mask", "eos")}
        special = {name: number for name, number in named.items() if number is not None}
        tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        continues = np.array([str(token).startswith("##") for token in tokens])
        ordinary = np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)
        return Vocabulary(len(tokenizer), special, ordinary, continues)

    def require(self, names: tuple[str, ...]) -> None:
        """Errors: ValueError that names the special tokens which are missing."""
        if missing := [name for name in names if name not in self.special]:
            there = ", ".join(self.special) or "none"
            raise ValueError(
                f"the tokenizer has no {', '.join(missing)} token (it has {there}), which this objective needs: a "
                "masked language model a WordPiece tokenizer, a causal one byte-level BPE (recipes/tokenizer/)"
            )

    @property
    def pad(self) -> int:
        return self._id("pad")

    @property
    def cls(self) -> int:
        return self._id("cls")

    @property
    def sep(self) -> int:
        return self._id("sep")

    @property
    def mask(self) -> int:
        return self._id("mask")

    @property
    def eos(self) -> int:
        return self._id("eos")

    def _id(self, name: str) -> int:
        self.require((name,))
        return self.special[name]
