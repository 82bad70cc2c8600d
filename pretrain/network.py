"""Which network is trained?  The recipe's `model:` section becomes a config of transformers, and a model of its class.

`model_type` names the architecture, and the other keys are those of its config; what is left out has transformers'
default. `from: FOLDER_OR_HUB_ID` takes the config, and then the weights, of a checkpoint (`pretrain.continued`), at the
`revision` of the Hub that is named beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

import networks  # noqa: F401, it makes its model types known to AutoConfig
from corpus.text.vocabulary import Vocabulary
from engine.run.nearest import suggest
from engine.run.saved import config_of, located
from networks.pictures import KINDS, check_trunk_keys, make_trunk, trunk_of
from pretrain.continued import changed_configuration, check_vocabulary

Classes = Mapping[Any, Any]  # transformers' mapping from a config's class to a model's


def configuration(
    settings: dict[str, Any], objective: str, kinds: Sequence[str], heads: Iterable[str], vocabulary: Vocabulary,
    special: dict[str, int | None],
) -> PreTrainedConfig:  # fmt: skip
    """The transformers config of the recipe's `model:` section; its `model_type` is one of `kinds`, and the first of
    `heads`, the better known ones, where it is left out. `special` are the ids of special tokens, in the place of those
    that a config names by itself, which are another vocabulary's.

    Errors: ValueError for another kind, a vocabulary that is too small, and a key that the config does not know:
    transformers itself keeps an unknown key and uses the default of the one that was meant.
    """
    kind = kind_of(settings, next(iter(heads)))
    check_kind(kind, objective, kinds, heads)
    plain = AutoConfig.for_model(kind)
    known = set(plain.to_dict()) | set(plain.attribute_map) | {"attn_implementation"}
    changes = changes_of(settings)
    check_keys(changes, known)
    if "from" in settings:
        config = changed_configuration(settings["from"], changes, settings.get("revision", ""))
        check_vocabulary(config, settings["from"], vocabulary.size)
        return config
    settings = {"model_type": kind, "vocab_size": vocabulary.size, **settings}
    if settings["vocab_size"] < vocabulary.size:
        raise ValueError(
            f"model.vocab_size is {settings['vocab_size']}, smaller than the tokenizer's {vocabulary.size} entries; "
            "leave it out to take the tokenizer's"
        )
    own = {name: number for name, number in special.items() if getattr(plain, name, None) is not None}
    try:
        return AutoConfig.for_model(**{**own, **settings})
    except Exception as error:  # transformers' checks of its settings raise kinds of their own
        raise ValueError(f"model: {' '.join(str(error).split())}") from error


def build_trunk(settings: dict[str, Any], image_size: int) -> tuple[PreTrainedConfig, PreTrainedModel]:
    """The trunk of the `model:` section of a recipe on pictures of image_size x image_size pixels, with random weights.

    Errors: as for `networks.pictures.make_trunk`; ValueError for a checkpoint of another kind.
    """
    if "from" not in settings:
        return make_trunk(settings, image_size)
    source, kind = settings["from"], kind_of(settings, KINDS[0])
    if kind not in KINDS:
        raise ValueError(f"model.from: {source} is a {kind} model; pictures are for {', '.join(KINDS)}")
    changes = changes_of(settings)
    check_trunk_keys(changes, kind)
    config = changed_configuration(source, changes, settings.get("revision", ""))
    for name in config.to_dict().keys() - AutoConfig.for_model(kind).to_dict().keys():
        vars(config).pop(name, None)  # what another objective's head has kept there
    return config, trunk_of(config, image_size)


def changes_of(settings: dict[str, Any]) -> dict[str, Any]:
    """What a `model:` section says beside the checkpoint that it names."""
    beside = ("from", "revision") if "from" in settings else ()
    return {name: value for name, value in settings.items() if name not in beside}


def kind_of(settings: dict[str, Any], default: str) -> str:
    """The model type of a `model:` section: the checkpoint's, or what it says."""
    if "from" in settings:
        return str(config_of(located(settings["from"]), settings.get("revision", "")).model_type)
    return str(settings.get("model_type", default))


def check_kind(kind: str, objective: str, kinds: Sequence[str], heads: Iterable[str]) -> None:
    """Errors: ValueError for a model type that is none of `kinds`."""
    if kind not in kinds:
        raise ValueError(
            f"model.model_type is {kind!r}; the {objective} objective trains {', '.join(heads)}, and others of "
            f"transformers' {len(kinds)}{suggest(kind, kinds)}"
        )


def check_keys(settings: dict[str, Any], known: set[str]) -> None:
    """Errors: ValueError for a key that a config does not have, with the nearest that it has."""
    for key in settings:
        if key not in known:
            raise ValueError(f"unknown key 'model.{key}'{suggest(key, known)} (keys: {', '.join(sorted(known))})")


def fresh(config: PreTrainedConfig, classes: Classes) -> PreTrainedModel:
    """The model of a config, with random weights."""
    made = classes[type(config)]
    model: PreTrainedModel = (made[0] if isinstance(made, tuple) else made)(config)
    return model


def declared_positions(settings: dict[str, Any], default: str) -> int | None:
    """How many positions a `model:` section asks for, padding included; None where there is no end, or it is not known
    before the model is built."""
    if "from" in settings:
        return None
    try:
        config = AutoConfig.for_model(settings.get("model_type", default))
    except (KeyError, ValueError):  # not transformers', or none at all: the objective will say so
        return None
    own = config.attribute_map.get("max_position_embeddings", "max_position_embeddings")
    said = settings.get(own) or settings.get("max_position_embeddings") or getattr(config, own, None)
    return int(said) if said else None
