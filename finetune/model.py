"""Which network answers, and which of its weights are not learnt yet?  Any AutoModel folder or Hub id, with a head."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from engine.recipe import data_path
from finetune.heads import Head
from finetune.task import Task


def located(model: str) -> str:
    """Return the folder that `model` names (in $CLOZE_DATA or the working folder), or else itself: a Hub id.

    Errors: FileNotFoundError if it looks like a path and nothing is there.
    """
    try:
        return str(data_path(model))
    except FileNotFoundError:
        if model.count("/") > 1 or model.startswith((".", "/", "~")) or Path(model.split("/")[0]).is_dir():
            raise
        return model


def open_model(
    folder: str, head: Head, task: Task, tokenizer: PreTrainedTokenizerFast, changes: dict[str, Any], fresh: bool
) -> tuple[PreTrainedModel, list[str]]:
    """Open a network with a new head for `task`; `fresh`: the same architecture with random weights.

    Return it with the names of the weights that start random. Errors: ValueError if a weight of the encoder is missing,
    if the tokenizer has more entries than the embeddings, or if `changes` names a key that the config has not.
    """
    config = AutoConfig.from_pretrained(folder)
    _change(config, changes, folder)
    config.update(head.config(task))
    if len(tokenizer) > config.vocab_size:
        raise ValueError(
            f"{folder}: the tokenizer has {len(tokenizer)} entries, the model's embeddings only {config.vocab_size}; "
            "they do not belong together"
        )
    if fresh:
        model = head.auto_class.from_config(config)
        return model, ["all"]
    model, info = _loaded(head, folder, config)
    _refuse_damage(model, info, folder)
    return model, sorted(info["missing_keys"])


def _loaded(head: Head, folder: str, config: PreTrainedConfig) -> tuple[PreTrainedModel, dict[str, Any]]:
    try:
        return head.auto_class.from_pretrained(folder, config=config, dtype=torch.float32, output_loading_info=True)
    except OSError as error:
        raise FileNotFoundError(f"{folder}: no model here that transformers opens ({error})") from None


def _change(config: PreTrainedConfig, changes: dict[str, Any], folder: str) -> None:
    for name, value in changes.items():
        if not hasattr(config, name):
            raise ValueError(f"config.{name}: the model in {folder} has no such setting ({type(config).__name__})")
        setattr(config, name, value)


def _refuse_damage(model: PreTrainedModel, info: dict[str, Any], folder: str) -> None:
    """Only a head may start random: a weight that is missing in the encoder, or has another shape, is damage."""
    base = f"{model.base_model_prefix}."
    missing = [name for name in info["missing_keys"] if name.startswith(base) and ".pooler." not in name]
    if missing:
        raise ValueError(f"{folder} lacks weights of the encoder, such as {missing[0]} ({len(missing)} in all)")
    if info["mismatched_keys"]:
        name = next(iter(info["mismatched_keys"]))
        raise ValueError(f"{folder}: weights whose shape is not the config's: {name}")
