"""What happens inside a model?  Attention weights, and what each layer would already guess (logit lens)."""

import torch
from torch import Tensor

from finetune.ask.playground.markup import heat, heat_tiles, percent, table, with_title
from finetune.ask.playground.models import LoadedModel
from finetune.ask.playground.views import predict_logits

MOST_TOKENS = 48  # shown; a larger square is not readable
GUESSES = 3  # of each layer


def attention(loaded: LoadedModel, text: str, pair: str, layer: float, head: float) -> str:
    """How much each token (a row) looks at each other (a column) in one layer, from 1; head 0: the mean of all.

    Errors: ValueError for a layer or head that the model has not, and for a text too long to show.
    """
    tokens, shares = read_attention(loaded, text, pair)
    layers, heads = shares.shape[0], shares.shape[1] - 1
    if not (1 <= layer <= layers and 0 <= head <= heads):
        raise ValueError(f"{loaded.name} has {layers} layers of {heads} heads")
    return with_title(name_head(int(layer), int(head)), heat(tokens, shares[int(layer) - 1, int(head)].tolist()))


def all_heads(loaded: LoadedModel, text: str, pair: str, layer: float, head: float) -> str:
    """A small picture of each head's attention, a row for each layer; the given one is marked. Errors: ValueError."""
    _, shares = read_attention(loaded, text, pair)
    names = ["mean", *(str(number) for number in range(1, shares.shape[1]))]
    rows = [
        (f"layer {number}", [(name_head(number, place), tile.tolist()) for place, tile in enumerate(tiles)])
        for number, tiles in enumerate(shares, start=1)
    ]
    return with_title("Every head: choose one", heat_tiles(names, rows, (int(layer) - 1, int(head))))


def name_head(layer: int, head: int) -> str:
    return f"Layer {layer}, head {head}" if head else f"Layer {layer}, the mean of its heads"


@torch.inference_mode()
def read_attention(loaded: LoadedModel, text: str, pair: str) -> tuple[list[str], Tensor]:
    """The tokens, and how much each looks at each other (L, 1 + H, T, T), the mean of each layer's heads first.

    Errors: ValueError for a text too long to show, and for a model that does not tell.
    """
    x = loaded.encode(text, pair if pair.strip() else None)
    ids = x["input_ids"][0].tolist()
    if len(ids) > MOST_TOKENS:
        raise ValueError(f"This is {len(ids)} tokens, and {MOST_TOKENS} can be shown: shorten the text")
    found = loaded.model.base_model(**x, output_attentions=True).get("attentions")  # a layer: (1, H, T, T)
    if not found:
        raise ValueError(f"{loaded.name} does not tell its attention")
    heads = torch.stack([layer[0].float() for layer in found])  # (L, H, T, T)
    return loaded.tokens(ids), torch.cat([heads.mean(1, keepdim=True), heads], dim=1)


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
