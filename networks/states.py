"""What does each layer of a model say of each token of a text?  Hidden states, of any model that reads text.

BERT, GPT, an LSTM, ELMo, word vectors. Layer 0 is what a token is before it has seen the others, its embedding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from networks.elmo import ElmoConfig
from networks.padding import make_batches, sees_padding
from networks.word_vectors import WordVectorsConfig

Context = Literal["both", "left", "none"]
NOTES: dict[Context, str] = {  # for a person who looks at states
    "left": "This model reads from the left: what stands behind a word changes nothing.",
    "none": "A word has one vector here, wherever it stands.",
    "both": "",
}
AT_ONCE = 4096  # tokens


@dataclass(frozen=True)
class Encoded:
    """A text as a model reads it, T tokens."""

    ids: list[int]
    spans: list[tuple[int, int]]  # of each token, where it stands in the text; (0, 0): it only frames the text
    counted: list[bool]  # of each, whether it belongs to a mean over the text
    is_cut: bool = False  # the text has more tokens, which the model does not read

    def places(self, start: int, end: int) -> list[int]:
        """Those of the tokens that a part of the text became."""
        return [place for place, (first, last) in enumerate(self.spans) if first < end and last > start and last]


@dataclass(frozen=True)
class StateReader:
    """A model, its tokenizer, and how a text stands before it: as in its training.

    BERT's text stands between its special tokens, ELMo's between separators, GPT's behind the token that ends the text
    before it; of word vectors there is no frame. Errors: ValueError for a model that reads and writes.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    most_tokens: int  # that it reads at once; what is longer is cut off

    def __post_init__(self) -> None:
        if self.model.config.is_encoder_decoder:
            raise ValueError(f"a {self.model.config.model_type} reads one text and writes another; models that only "
                             "read have states that can be compared here")  # fmt: skip

    @property
    def is_static(self) -> bool:
        """Whether a word has one vector, wherever it stands."""
        return isinstance(self.model.config, WordVectorsConfig)

    @cached_property
    def frame(self) -> tuple[list[int], list[int]]:
        """What stands before and behind a text, beside what the tokenizer itself puts there."""
        if self.is_static or self.adds_special_tokens:
            return [], []
        if isinstance(self.model.config, ElmoConfig):
            separator = self.model.config.separator_token_id
            return ([], []) if separator is None else ([separator], [separator])
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        start = eos if bos is None else bos
        return ([] if start is None else [start]), []

    @cached_property
    def adds_special_tokens(self) -> bool:
        """Whether the tokenizer frames a text itself. ELMo has never seen what its tokenizer would put there."""
        kinds = (WordVectorsConfig, ElmoConfig)
        return not isinstance(self.model.config, kinds) and bool(self.tokenizer.num_special_tokens_to_add())

    @cached_property
    @torch.inference_mode()
    def context(self) -> Context:
        """What a token's states depend on: the tokens on both sides, those on the left, or none but itself."""
        size = self.model.config.vocab_size
        ids = torch.tensor([[size // 2, size // 3, size // 4], [size // 2, size // 3, 1], [1, size // 3, size // 4]])
        last = self.layers(ids.to(self.model.device), torch.ones_like(ids).to(self.model.device))[-1][:, 1]
        sees_right, sees_left = (not torch.allclose(last[0], other, rtol=1e-3, atol=1e-6) for other in last[1:])
        return "both" if sees_right else "left" if sees_left else "none"

    @cached_property
    def pads(self) -> bool:
        """Whether texts of other lengths may be read together."""
        return not sees_padding(self.model)

    def encode(self, text: str) -> Encoded:
        before, behind = self.frame
        found = self.tokenizer(
            text, add_special_tokens=self.adds_special_tokens, return_offsets_mapping=True, truncation=True,
            max_length=self.most_tokens - len(before) - len(behind),
        )  # fmt: skip
        ids = [int(number) for number in found["input_ids"]]
        unknown = self.tokenizer.unk_token_id if self.is_static else None  # it has no vector that means anything
        return Encoded(
            [*before, *ids, *behind],
            [*[(0, 0)] * len(before), *map(tuple, found["offset_mapping"]), *[(0, 0)] * len(behind)],
            [*[False] * len(before), *(number != unknown for number in ids), *[False] * len(behind)],
            is_cut=bool(found.encodings[0].overflowing),
        )

    def read(self, texts: Sequence[str]) -> Iterator[tuple[int, Encoded, list[Tensor]]]:
        """The number of each text that has tokens, how it was read, and of each layer the states (T, D) of its tokens;
        texts of like lengths together, so not in order."""
        encoded = [(number, found) for number, text in enumerate(texts) if (found := self.encode(text)).ids]
        lengths = [len(one.ids) for _, one in encoded]
        for batch in make_batches(lengths, AT_ONCE, self.pads):
            ids, mask = torch.zeros(2, len(batch), lengths[batch[-1]], dtype=torch.int64, device=self.model.device)
            for row, place in enumerate(batch):
                own = torch.tensor(encoded[place][1].ids, device=ids.device)
                ids[row, : len(own)], mask[row, : len(own)] = own, 1
            layers = self.layers(ids, mask)
            for row, place in enumerate(batch):
                yield *encoded[place], [layer[row, : lengths[place]].float().cpu() for layer in layers]

    @torch.inference_mode()
    def layers(self, ids: Tensor, mask: Tensor) -> Sequence[Tensor]:
        """Of ids and their mask (B, T), the states (B, T, D) of each layer, the embeddings first."""
        found = self.model.base_model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        return found.get("hidden_states") or (found.last_hidden_state,)


def take_mean(states: Sequence[Tensor], places: Sequence[int]) -> list[Tensor]:
    """Of each layer's states (T, D), the mean (D,) of those at `places`."""
    return [layer[list(places)].mean(0) for layer in states]
