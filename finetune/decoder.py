"""How is a decoder, such as GPT, fine-tuned?  Its texts are framed, and it keeps learning the language meanwhile.

The auxiliary language-modelling objective of Radford et al. 2018, "Improving Language Understanding by Generative
Pre-Training", sections 3.2 and 3.3: a start token, a delimiter between two texts, an extract token at the end, whose
embeddings are new, and whose last state is read; the loss is that of the task plus a language model's, weighted 0.5.
Their similarity tasks are read in both orders of the pair; here in the given one, so that the saved folder answers as
it was evaluated.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from tokenizers import processors
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from engine.train.batch import Batch
from engine.train.cross_entropy import projected_cross_entropy
from finetune.questions.question import Question

START, DELIMITER, EXTRACT = FRAME = ("<|start|>", "<|delimiter|>", "<|extract|>")


def add_frame(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer itself if it puts special tokens around texts, else one that frames them as Radford et al. do.

    Either can pad, see `add_padding_token`.
    """
    if tokenizer.num_special_tokens_to_add() or tokenizer.eos_token is None:
        return add_padding_token(tokenizer)
    own = copy.deepcopy(tokenizer)
    own.add_special_tokens({"bos_token": START, "sep_token": DELIMITER, "cls_token": EXTRACT})
    frame = processors.TemplateProcessing(
        single=f"{START} $A {EXTRACT}",
        pair=f"{START} $A {DELIMITER} $B {EXTRACT}",
        special_tokens=[(token, own.convert_tokens_to_ids(token)) for token in FRAME],
    )
    before = own.backend_tokenizer.post_processor
    own.backend_tokenizer.post_processor = processors.Sequence([before, frame]) if before else frame
    return add_padding_token(own)


def add_padding_token(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer itself if it has a padding token, else one that pads with another special token.

    A decoder's label is read at the last token that is no padding, so what ends every text, or may, is not taken if
    there is another one. Errors: ValueError if it has no special token at all.
    """
    if tokenizer.pad_token is not None:
        return tokenizer
    ends = tokenizer("")["input_ids"][-1:]
    usual = [token for token in (tokenizer.eos_token, tokenizer.bos_token, tokenizer.unk_token) if token is not None]
    if not usual:
        raise ValueError(
            "the tokenizer has no padding token, and no other special token that could serve as one: give it one "
            "(tokenizer.add_special_tokens) and save it anew"
        )
    own = copy.deepcopy(tokenizer)
    own.pad_token = next((token for token in usual if own.convert_tokens_to_ids(token) not in ends), usual[0])
    return own


def count_new_tokens(tokenizer: PreTrainedTokenizerFast, vocab_size: int) -> int:
    """How many of the frame's tokens a model of `vocab_size` embeddings has not met."""
    known = tokenizer.get_vocab()
    return sum(known.get(token, 0) >= vocab_size for token in FRAME)


class WithLanguageModel:
    """A question whose model learns to predict its own input beside it; the same forward pass serves both."""

    def __init__(self, question: Question, weight: float):
        self.question, self.weight, self.target = question, weight, question.target

    def counts(self, x: dict[str, Tensor], y: dict[str, Tensor]) -> dict[str, int]:
        return self.question.counts(x, y) | {"language_model": int(x["attention_mask"][:, 1:].sum())}

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The task's sums, and "language_model": the weighted sum over all tokens but the first of each text."""
        with record_last_states(model) as states:
            sums = self.question.loss(model, batch)
        is_asked = batch.x["attention_mask"][:, 1:].bool()  # (B, T - 1)
        embeddings = model.get_input_embeddings().weight  # type: ignore[operator]
        seen, next_ids = states[0][:, :-1][is_asked], batch.x["input_ids"][:, 1:][is_asked]  # (M, H) (M,)
        total, _ = projected_cross_entropy(seen, embeddings, None, next_ids)
        return sums | {"language_model": self.weight * total}


@contextmanager
def record_last_states(model: nn.Module) -> Iterator[list[Tensor]]:
    """A list that holds, after a forward pass of `model`, the last layer's states (B, T, H)."""
    states: list[Tensor] = []
    encoder: nn.Module = model.base_model  # type: ignore[assignment]
    handle = encoder.register_forward_hook(lambda module, given, result: states.append(result[0]))
    try:
        yield states
    finally:
        handle.remove()


def refuse_encoder(model: PreTrainedModel) -> None:
    """Refuse a model whose states know what comes after them: it would have nothing to predict. Errors: ValueError."""
    ids = torch.tensor([[1, 2, 3], [1, 2, 4]], device=model.device)
    training = model.training
    model.eval()
    with torch.no_grad():
        first, second = model.base_model(input_ids=ids)[0][:, 0]  # (H,) each
    model.train(training)
    if not torch.equal(first, second):
        raise ValueError(
            f"auxiliary_lm is for decoders, which read from left to right; {type(model).__name__} sees the words that "
            "it would have to predict: say auxiliary_lm: 0"
        )
