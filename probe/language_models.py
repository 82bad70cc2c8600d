"""Which language model is asked, ours or not, and does it guess what comes next or what is hidden?"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import MODEL_FOR_MASKED_LM_MAPPING, GenerationMixin, PreTrainedModel, PreTrainedTokenizerFast

from corpus.text.vocabulary import Vocabulary
from engine.run.architecture import count_positions
from engine.run.saved import located, opened
from networks import heads
from tokenizer.load import load_tokenizer, refuse_strange_ids

MASKED = ("ForMaskedLM", "ForPreTraining")  # how the classes end that guess what is hidden
AT_ONCE = 2048  # places whose logits are made at a time


@dataclass(frozen=True)
class LanguageModel:
    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    is_masked: bool  # else it is causal

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.of(self.tokenizer)

    @property
    def most_tokens(self) -> int:
        """That it reads at once."""
        return count_positions(self.model)

    @property
    def start(self) -> list[int]:
        """The token that a text begins behind: of ours, the one that ends the text before it; of some, none."""
        found = self.tokenizer.bos_token_id if self.tokenizer.bos_token_id is not None else self.tokenizer.eos_token_id
        return [] if found is None else [found]

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without special ones."""
        return list(self.tokenizer.encode(text, add_special_tokens=False, verbose=False))

    @torch.inference_mode()
    def losses(self, x: dict[str, Tensor], places: Tensor, tokens: Tensor) -> Tensor:
        """-log p (M,) in nats of `tokens` (M,) at `places` (M,) of the flattened x (B * T)."""
        logits = heads.logits_at(self.model, x, places).float()
        return torch.nn.functional.cross_entropy(logits, tokens, reduction="none")


def open_language_model(name: str) -> LanguageModel:
    """Open a run, a folder or a Hub id. Errors: FileNotFoundError; ValueError for another kind of model."""
    source = located(name)
    model, tokenizer = opened(source), load_tokenizer(source)
    refuse_strange_ids(tokenizer, model.config.vocab_size, source)
    kind = type(model).__name__
    is_masked = kind.endswith(MASKED) and not isinstance(model, GenerationMixin)
    is_masked &= type(model.config) in MODEL_FOR_MASKED_LM_MAPPING  # ELMo's pretraining hides nothing
    if not is_masked and not (isinstance(model, GenerationMixin) and not model.config.is_encoder_decoder):
        raise ValueError(
            f"{name} was saved as {kind}, which is no masked and no causal language model: take one that is, as the "
            "objectives bert and causal_lm leave it"
        )
    if not is_masked and sees_ahead(model):
        raise ValueError(
            f"{name} was saved as {kind}, but its guesses change with the tokens that follow, so they are none: its "
            "config.json may lack is_decoder: true"
        )
    return LanguageModel(name, model, tokenizer, is_masked)


@torch.inference_mode()
def sees_ahead(model: PreTrainedModel) -> bool:
    """Whether another last token changes what the model guesses before it."""
    ids = torch.arange(8) % model.config.vocab_size
    other = torch.cat([ids[:-1], ids[:1]])
    one, two = (model(input_ids=x[None], use_cache=False).logits[0, :-1].float() for x in (ids, other))
    return (one - two).abs().max().item() > 1e-3 * one.std().item() + 1e-5
