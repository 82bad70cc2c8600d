"""Where do a model's states meet its vocabulary?  The heads of masked and of causal language models.

A loss reads some positions only: of a masked LM one in seven. Where it is known how a kind of model goes from the
states of its encoder to logits, those positions are gathered *before* the projection onto the vocabulary, which is the
larger part of a small model's step. Any other kind makes the logits of all its positions, and these are gathered: the
same numbers, more slowly.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear
from transformers import GenerationMixin

Transform = Callable[[Any, Tensor], Tensor]  # of a model and the states (M, H) of its encoder; to (M, E)


def _predictions(model: Any, states: Tensor) -> Tensor:
    return model.cls.predictions.transform(states)


def _roberta(model: Any, states: Tensor) -> Tensor:
    head = model.lm_head
    return head.layer_norm(gelu(head.dense(states)))


def _distilbert(model: Any, states: Tensor) -> Tensor:
    return model.vocab_layer_norm(model.activation(model.vocab_transform(states)))


def _electra(model: Any, states: Tensor) -> Tensor:
    return model.generator_predictions(states)


def _albert(model: Any, states: Tensor) -> Tensor:
    head = model.predictions
    return head.LayerNorm(head.activation(head.dense(states)))


def _deberta(model: Any, states: Tensor) -> Tensor:
    if model.legacy:
        return _predictions(model, states)
    head = model.lm_predictions.lm_head
    return head.LayerNorm(head.transform_act_fn(head.dense(states)))


def _modernbert(model: Any, states: Tensor) -> Tensor:
    return model.head(states)


def _as_they_are(model: Any, states: Tensor) -> Tensor:
    return states


# What is done to the states of an encoder before they are projected, by the config's model_type.
MASKED: dict[str, Transform] = {
    **dict.fromkeys(("bert", "ernie", "megatron-bert"), _predictions),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert"), _roberta),
    "distilbert": _distilbert,
    "electra": _electra,
    "albert": _albert,
    "deberta-v2": _deberta,
    "modernbert": _modernbert,
}
CAUSAL: dict[str, Transform] = dict.fromkeys(
    ("gpt2", "openai-gpt", "lstm", "gpt_neox", "opt", "llama", "mistral", "qwen2", "qwen3", "olmo2", "smollm3"),
    _as_they_are,
)
TRANSFORMS = MASKED | CAUSAL
NEXT_SENTENCE = ("bert", "ernie", "megatron-bert")  # have a head for it, `cls.seq_relationship`, on a pooled state


def is_known(model_type: str) -> bool:
    """Whether positions are gathered before they meet the vocabulary."""
    return model_type in TRANSFORMS


def encode(model: Any, x: dict[str, Tensor], **options: Any) -> Any:
    """Read x. What is found begins with the states (B, T, H) of the encoder, or, where its head is not known, with the
    logits (B, T, V); segment ids go to models that have a table for them, `options` to the encoder."""
    inputs = dict(x)
    if (getattr(model.config, "type_vocab_size", 0) or 0) < 2:
        inputs.pop("token_type_ids", None)
    network = model.base_model if is_known(model.config.model_type) else model
    cache = {"use_cache": False} if isinstance(model, GenerationMixin) else {}
    return network(**inputs, **cache, **options)


def transform(model: Any, states: Tensor) -> Tensor:
    """What is projected onto the vocabulary (M, E), of gathered states (M, H); of a known kind of model."""
    return TRANSFORMS[model.config.model_type](model, states)


def projection(model: Any) -> tuple[Tensor, Tensor | None]:
    """The weight (V, E) and the bias (V,) of the projection onto the vocabulary; of a known kind of model."""
    if model.config.model_type == "deberta-v2" and not model.legacy:
        return model.get_input_embeddings().weight, model.lm_predictions.lm_head.bias
    head = model.get_output_embeddings()
    return head.weight, head.bias


def logits(model: Any, gathered: Tensor) -> Tensor:
    """Logits (M, V) of the M places that were gathered from what `encode` found."""
    if not is_known(model.config.model_type):
        return gathered
    return linear(transform(model, gathered), *projection(model))


def logits_at(model: Any, x: dict[str, Tensor], places: Tensor) -> Tensor:
    """Logits (M, V) at `places` (M,) of the flattened x (B * T)."""
    found = encode(model, {name: values.to(model.device) for name, values in x.items()})[0]
    return logits(model, found.flatten(0, 1).index_select(0, places.to(model.device)))


@torch.no_grad()
def sees_the_future(model: Any) -> bool:
    """Whether a token changes the logits of those before it: no causal language model does so."""
    ids = torch.arange(8, device=model.device)[None] % model.config.vocab_size
    other = ids.clone()
    other[:, 5:] = 0
    was_training = model.training
    model.eval()
    one, two = (logits_at(model, {"input_ids": x}, torch.arange(5)) for x in (ids, other))
    model.train(was_training)
    return not torch.allclose(one, two, rtol=1e-3, atol=1e-5)
