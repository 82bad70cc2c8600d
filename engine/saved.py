"""Which saved model does a name mean, and with which head was it saved?"""

from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, PreTrainedModel

from engine.recipe import data_path


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
    return (AutoConfig.from_pretrained(source, revision=revision).architectures or [""])[0]


def opened(source: str, revision: str = "main") -> PreTrainedModel:
    """The model in fp32, with the head that its config names. Errors: ValueError if it names none that there is."""
    name = architecture(source, revision)
    made = getattr(transformers, name, None)
    if made is None:
        raise ValueError(f"{source}: config.json names the architecture {name!r}, which transformers has not")
    return made.from_pretrained(source, revision=revision, dtype=torch.float32).eval()
