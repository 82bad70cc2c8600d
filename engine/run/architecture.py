"""Can a model have these sizes?  The numbers of a recipe's `model:` or `config:` section, which transformers reads."""

from typing import Any

from transformers import PreTrainedModel

COUNTS = ("_size", "_layers", "_heads", "_positions", "_embeddings", "n_embd", "n_layer", "n_head", "n_inner")
SHARES = ("dropout", "dropout_prob", "_pdrop")
POSITIVE = ("_eps", "_epsilon", "initializer_range", "rope_theta")


def check_sizes(settings: dict[str, Any], section: str) -> None:
    """Refuse a count below 1, a share that is none, and a number that must be above 0. Errors: ValueError.

    What the names do not tell is left to transformers.
    """
    for name, value in settings.items():
        if name.endswith((*COUNTS, *SHARES, *POSITIVE)) and isinstance(value, str | bool | list | dict):
            raise ValueError(f"{section}.{name} is {value!r}; it must be a number")
        if not isinstance(value, int | float):
            continue
        if name.endswith(COUNTS) and (value < 1 or value % 1 != 0):
            raise ValueError(f"{section}.{name} is {value}; it must be a whole number, 1 or more")
        if name.endswith(SHARES) and not 0 <= value <= 1:
            raise ValueError(f"{section}.{name} is {value}; it is a share, from 0 to 1")
        if name.endswith(POSITIVE) and not value > 0:
            raise ValueError(f"{section}.{name} is {value}; it must be above 0")


UNLIMITED = 10**9  # tokens, of models without a table of positions


def count_positions(model: PreTrainedModel) -> int:
    """How many tokens the model has positions for. RoBERTa and its like keep the first ones for padding."""
    positions = getattr(model.config, "max_position_embeddings", None)
    return UNLIMITED if positions is None else positions - count_padding(model)


def count_seen(model: PreTrainedModel) -> int:
    """How many tokens a token of the model sees at most, itself among them, where layers see a part of the text, as
    those of Mistral, Gemma and GPT-Neo do."""
    settings = model.config.get_text_config().to_dict()
    local = [
        value
        for name, value in settings.items()
        if ("window" in name or "attention_chunk" in name) and not name.endswith("_layers") and type(value) is int
    ]
    return min([value for value in local if value > 0], default=UNLIMITED)


def count_padding(model: PreTrainedModel) -> int:
    """How many of its positions are kept for padding."""
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else padding + 1
