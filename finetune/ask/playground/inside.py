"""What goes on inside a model?  Attention weights, and what each layer would already guess (logit lens)."""

import torch

from finetune.ask.playground.markup import heat, percent, table
from finetune.ask.playground.models import LoadedModel
from finetune.ask.playground.views import predict_logits

MOST_TOKENS = 48  # shown; a larger square is not readable
GUESSES = 3  # of each layer


@torch.inference_mode()
def attention(loaded: LoadedModel, text: str, pair: str, layer: float, head: float) -> str:
    """How much each token (a row) looks at each other (a column) in one layer, from 1; head 0: the mean of all.

    Errors: ValueError for a layer or head that the model has not, and for a text too long to show.
    """
    x = loaded.encode(text, pair if pair.strip() else None)
    ids = x["input_ids"][0].tolist()
    if len(ids) > MOST_TOKENS:
        raise ValueError(f"This is {len(ids)} tokens, and {MOST_TOKENS} can be shown: shorten the text")
    found = loaded.model.base_model(**x, output_attentions=True).get("attentions")  # a layer: (1, H, T, T)
    if not found:
        raise ValueError(f"{loaded.name} does not tell its attention")
    if layer > len(found) or head > found[0].shape[1]:
        raise ValueError(f"{loaded.name} has {len(found)} layers of {found[0].shape[1]} heads")
    heads = found[int(layer) - 1][0].float()
    shares = heads[int(head) - 1] if head else heads.mean(0)
    return heat(loaded.tokens(ids), shares.tolist())


@torch.inference_mode()
def by_layer(loaded: LoadedModel, text: str) -> str:
    """What the output layer guesses from each layer's states: for each mask, or for the token that comes next.

    Of a language model only; the states of a layer in the middle go through the last norm, where there is one
    ("logit lens", nostalgebraist 2020). Errors: ValueError.
    """
    if not {"fill", "continue"} & set(loaded.abilities):
        raise ValueError(f"{loaded.name} is no language model: it has no guess of a word to show")
    x = loaded.encode(text)
    ids = x["input_ids"][0]
    places = [len(ids) - 1] if "continue" in loaded.abilities else loaded.find_gaps(ids)
    states = loaded.model.base_model(**x, output_hidden_states=True).hidden_states
    if odd := {state.shape[-1] for state in states} - {states[-1].shape[-1]}:
        raise ValueError(
            f"{loaded.name} has layers of {odd.pop()} features, and its output layer reads {states[-1].shape[-1]}: it "
            "has no guess from within"
        )
    rows = []
    for number, state in enumerate(states):
        shares = predict_from_layer(loaded, x, state, last=number == len(states) - 1)[places].softmax(-1).topk(GUESSES)
        cells = [
            ", ".join(f"{token} {percent(share)}" for token, share in zip(loaded.tokens(ids), values, strict=True))
            for ids, values in zip(shares.indices.tolist(), shares.values.tolist(), strict=True)
        ]
        rows.append([f"layer {number}" if number else "embeddings", *cells])
    masked = "fill" in loaded.abilities
    return table(["", *(f"gap {number}" if masked else "next token" for number in range(1, len(places) + 1))], rows)


def predict_from_layer(
    loaded: LoadedModel, x: dict[str, torch.Tensor], state: torch.Tensor, last: bool
) -> torch.Tensor:
    """The logits (T, V) that the model's head gives for a layer's states (1, T, D)."""
    norm = getattr(loaded.model.base_model, "ln_f", None)  # GPT-2's, which the last states have behind them already
    given = state if last or norm is None else norm(state)

    def instead(_module: object, _arguments: object, output: object) -> object:
        output.last_hidden_state = given  # type: ignore[attr-defined]
        return output

    hook = loaded.model.base_model.register_forward_hook(instead)
    try:
        return predict_logits(loaded, x)
    finally:
        hook.remove()
