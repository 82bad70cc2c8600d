"""Which token comes next?  The causal language model (CLM) of GPT-2, Llama and their like, or of an LSTM.

Radford et al. 2019, section 2. Any decoder that transformers has a causal LM of is trained so. Documents stand one
behind the other, each ended by `<|endoftext|>`, and are cut into blocks of equal length: nothing is padded. Every token
is asked once, from those before it in its block; the end of a document is asked like a token, and the first token of
the next one is asked from it. So text can be made from nothing but `<|endoftext|>`. An LSTM's state begins at zero in
each block, and continues through its documents.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AttentionInterface,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from corpus.text.chapters import Chapter
from corpus.text.medium import Text
from corpus.text.units import Block, Blocks
from engine.publish.exhibits import Exhibit
from engine.train.batch import Batch
from networks import heads
from networks.lstm import LSTMConfig
from pretrain.network import configuration, fresh, kind_of
from pretrain.objective import Objective, vocabulary_sums
from pretrain.terms import Term

PROMPTS = ("", "", "In the year", "She opened the door and")  # the empty one: from `<|endoftext|>`
SAMPLE_TOKENS = 48
KINDS = (*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, LSTMConfig.model_type)  # model types

# transformers gives its own `sdpa` a mask when it is compiled, and looks on the GPU whether one is needed when it is
# not. Under a name of ours no mask is made: the kernel knows what causal means, and its fastest forms take no mask.
AttentionInterface.register("causal_sdpa", sdpa_attention_forward)

# What these compute with where the recipe does not say it. The tanh form of GELU is GPT-2's own; under this name it is
# one kernel instead of eight.
KERNELS: dict[str, dict[str, Any]] = {
    "gpt2": {"activation_function": "gelu_pytorch_tanh", "attn_implementation": "causal_sdpa"},
    **{kind: {"attn_implementation": "causal_sdpa"} for kind in ("gpt_neox", "llama", "qwen2", "qwen3", "olmo2")},
}
# transformers keeps their attention within a document where positions begin again, and no mask is given.
APART = ("gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "olmo2", "smollm3")


@dataclass(frozen=True, kw_only=True)
class CausalLM(Objective[Text]):
    """Next-token prediction over packed documents."""

    block_size: int = 1024  # tokens in an example
    across_documents: bool = True  # a token sees the documents before its own in the block, as in GPT-2

    medium = Text
    size_key = "block_size"
    whitespace = "keep"  # code and verse are nothing without it
    pipeline = "text-generation"
    legend = "Tokens, with | between them. Each but the first is guessed from those before it. ⏎ is a line break."
    model_type = "gpt2"

    @property
    def terms(self) -> tuple[Term, ...]:
        return (Term("next_token", "Next token", "tokens", perplexity=True),)

    @property
    def in_short(self) -> str:
        return "causal language model, the next token of packed documents (Radford et al. 2019)"

    def check(self, text: Text) -> None:
        text.vocabulary.require(("eos",))

    def units(self, chapter: Chapter, size: int, text: Text, key: int) -> Blocks:
        # The last token of a block is asked, not shown.
        return Blocks(chapter, size + 1, text.vocabulary.eos, overlap=1)

    def split(self, t: Block, text: Text, key: int) -> Batch:
        asked = t.document[:, 1:] >= 0  # (B, T) all but padding
        x = {"input_ids": torch.from_numpy(t.ids[:, :-1].copy())}  # (B, T)
        if not self.across_documents:
            x["position_ids"] = torch.from_numpy(restarting(t.document))  # (B, T)
        y = {
            "positions": torch.from_numpy(np.flatnonzero(asked)),  # (M,) places in the flattened (B * T)
            "tokens": torch.from_numpy(t.ids[:, 1:][asked]),  # (M,)
        }
        rows, width = asked.shape
        return Batch(x, y, {"next_token": len(y["tokens"])}, (width,) * rows, rows * width)

    def build(self, model: dict[str, Any], text: Text) -> PreTrainedModel:
        """transformers starts GPT-2 as its paper does: N(0, 0.02), and 0.02 / sqrt(2 layers) into the residual."""
        words, kind = text.vocabulary, kind_of(model, self.model_type)
        end = {"bos_token_id": words.eos, "eos_token_id": words.eos}
        # A table of embeddings learns nothing at its padding, which must not be a token of the text.
        padding = {"pad_token_id": None if words.special.get("pad") == words.eos else words.special.get("pad")}
        kernels = dict(KERNELS.get(kind, {}))
        if not self.across_documents:  # positions that begin again need a mask
            kernels.pop("attn_implementation", None)
        if "from" in model:  # has its own ends and functions
            end, kernels = {}, {name: value for name, value in kernels.items() if name == "attn_implementation"}
        settings = {**end, **kernels, **model}
        config = configuration(settings, self.name, KINDS, heads.CAUSAL, words, padding)
        self._check_fit(config)
        made = fresh(config, MODEL_FOR_CAUSAL_LM_MAPPING)
        if not heads.is_known(kind):
            refuse_future(made)
        return made

    def _check_fit(self, config: PreTrainedConfig) -> None:
        """Errors: ValueError for an architecture that cannot be trained so."""
        kind = config.model_type
        if type(config) in MODEL_FOR_MASKED_LM_MAPPING or config.is_encoder_decoder:
            raise ValueError(
                f"model.model_type {kind} is an encoder, whose tokens see those behind them; the {self.name} objective "
                "trains decoders, such as gpt2, llama or qwen3"
            )
        if self.across_documents or kind in APART:
            return
        if not hasattr(config, "max_position_embeddings"):
            raise ValueError(
                f"objective.across_documents is false, but model_type {kind} has no positions that could "
                "begin again with each document: its state is kept through a block; leave across_documents out"
            )
        raise ValueError(
            f"objective.across_documents is false, which is known to keep documents apart for {', '.join(APART)}, and "
            f"not for model_type {kind}; leave across_documents out"
        )

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        # Without attention mask and cache, positions that begin again keep attention within their document.
        states = heads.encode(model, batch.x)[0]  # (B, T, H)
        asked = states.flatten(0, 1).index_select(0, batch.y["positions"])  # (M, H)
        total, correct = vocabulary_sums(model, asked, batch.y["tokens"])
        return {"next_token": total} if model.training else {"next_token": total, "next_token_correct": correct}

    def show(self, batch: Batch, text: Text) -> list[Exhibit]:
        """The tokens of each example, the first of which is only shown."""
        tokenizer, width = text.words, batch.width
        row = (batch.y["positions"] // width).numpy()
        lines: list[Exhibit] = []
        for number, shown in enumerate(batch.x["input_ids"][:, 0].tolist()):
            tokens = [shown, *batch.y["tokens"][row == number].tolist()]
            lines.append(f"- `{_line('|'.join(str(tokenizer.decode([token])) for token in tokens))}`")
        return lines

    def samples(self, model: Any, text: Text, seed: int, unseen: list[Batch]) -> list[Exhibit]:
        """Continue a few beginnings: a Markdown line each. Nucleus sampling, p = 0.95 (Holtzman et al. 2020).

        A function of (weights, seed); the generator that training draws from stays where it was.
        """
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.inference_mode():
            torch.manual_seed(seed)
            return [f"- {prompt or '…'} `{continued(model, text.words, prompt)}`" for prompt in PROMPTS]


def refuse_future(model: PreTrainedModel) -> None:
    """Refuse a model of which a token sees those behind it, where the model has numbers to try. Errors: ValueError."""
    weight = next(model.parameters())
    if weight.device.type != "meta" and not isinstance(weight, FakeTensor) and heads.sees_the_future(model):
        raise ValueError(
            f"model.model_type {model.config.model_type}, as it is set, lets a token see those behind it, which it is "
            "asked to guess; take a decoder, such as gpt2, llama or qwen3"
        )


def restarting(document: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Positions (B, T) of the shown tokens of blocks (B, T + 1) that begin again at each `<|endoftext|>`.

    It ends a document where it is asked, and begins the next one where it is shown: so the first token of a document is
    asked from it alone, in training as when text is made.
    """
    column = np.arange(document.shape[1] - 1)
    begins = document[:, 1:] != document[:, :-1]  # shown last of its document: the separator
    return column - np.maximum.accumulate(np.where(begins, column, 0), axis=1)


def continued(model: Any, tokenizer: PreTrainedTokenizerFast, prompt: str) -> str:
    """What `model` makes up after `<|endoftext|>` and `prompt`: up to SAMPLE_TOKENS, or until it ends the document."""
    given = torch.tensor([[tokenizer.eos_token_id, *tokenizer.encode(prompt)]], device=model.device)
    longest = getattr(model.config, "max_position_embeddings", math.inf)
    made = model.generate(
        given,
        attention_mask=torch.ones_like(given),
        max_length=min(given.shape[1] + SAMPLE_TOKENS, longest),
        do_sample=True,
        top_p=0.95,
        top_k=0,
        pad_token_id=tokenizer.eos_token_id,
    )
    return _line(str(tokenizer.decode(made[0, given.shape[1] :])))


def _line(text: str) -> str:
    """What fits between two ` of a Markdown line."""
    return "⏎".join(text.replace("`", "").splitlines())
