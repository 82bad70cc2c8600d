"""Which saved model does a name mean, and with which head was it saved?"""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING, AutoConfig, PreTrainedConfig, PreTrainedModel

from engine.recipe import data_path

# A package that makes further models known to transformers' Auto classes when it is imported. It is a plug-in: without
# it, or with another in its place, everything here works; what a model's folder says is never imported.
PLUG_IN = "networks"


def located(model: str) -> str:
    """The folder of `model`, a folder or a run in $CLOZE_DATA or the working folder; or else itself: a Hub id.

    Errors: FileNotFoundError if it looks like a path and nothing is there; ValueError if a folder holds no model.
    """
    try:
        folder = data_path(model)
    except FileNotFoundError:
        if model.count("/") > 1 or model.startswith((".", "/", "~")) or Path(model.split("/")[0]).is_dir():
            raise
        return model
    for place in (folder / "model", folder):
        if (place / "config.json").is_file():
            return str(place)
    raise ValueError(f"{folder} has no model: looked for config.json in it and in its model/")


def architecture(source: str, revision: str = "main") -> str:
    """The class that the model was saved from, such as BertForPreTraining; empty if its config names none."""
    return (config_of(source, revision).architectures or [""])[0]


def config_of(source: str, revision: str = "main") -> PreTrainedConfig:
    """The config, of one of transformers' models or of the plug-in's."""
    if importlib.util.find_spec(PLUG_IN):
        importlib.import_module(PLUG_IN)
    found: PreTrainedConfig = AutoConfig.from_pretrained(source, revision=revision)
    return found


def opened(source: str, revision: str = "main") -> PreTrainedModel:
    """The model in fp32, with the head that its config names. Errors: ValueError if it names none that there is."""
    name, kind = architecture(source, revision), type(config_of(source, revision))
    registered: list[Any] = [mapping.get(kind, None) for mapping in (MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING)]
    known = {made.__name__: made for made in registered if isinstance(made, type)}
    made: Any = getattr(transformers, name, None) or known.get(name)
    if made is None:
        raise ValueError(f"{source}: config.json names the architecture {name!r}, which transformers has not")
    return made.from_pretrained(source, revision=revision, dtype=torch.float32).eval()
