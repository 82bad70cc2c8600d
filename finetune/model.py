"""Which network answers, and which of its weights are not learnt yet?  Any AutoModel folder or Hub id, with a head."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils.hub import resolve_revision

from engine.saved import config_of
from finetune.decoder import num_new
from finetune.head import Head
from finetune.task import Task

UNLIMITED = 10**9  # tokens, of models without a table of positions


def commit_of(model: str, revision: str) -> str:
    """The commit (40 hex digits) of a Hub model's branch or tag; empty for a folder, or if it cannot be told."""
    found = resolve_revision(model, revision or None)
    return str(getattr(found, "resolved", found) or "") if not Path(model).is_dir() else ""


def open_model(
    folder: str,
    head: Head,
    task: Task,
    tokenizer: PreTrainedTokenizerFast,
    changes: dict[str, Any],
    fresh: bool,
    revision: str = "",
) -> tuple[PreTrainedModel, list[str]]:
    """Open a network with a head for `task`; `fresh`: the same architecture with random weights. `revision` is
    the Hub's branch, tag or commit.

    A head that the folder brings along stays if it was learnt for the same labels. Return the network with the names of
    the weights that start random. Errors: ValueError if a weight of the encoder is missing or of another shape, if the
    tokenizer has more entries than the embeddings, or if `changes` names a key that the config has not.
    """
    config = config_of(folder, revision or "main")
    _change(config, changes, folder)
    labels_before = config.id2label
    config.update(head.config(task))
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id  # GPT-2 reads the label before the padding
    new = num_new(tokenizer, config.vocab_size)
    if len(tokenizer) - new > config.vocab_size:
        raise ValueError(
            f"{folder}: the tokenizer has {len(tokenizer)} entries, the model's embeddings only {config.vocab_size}; "
            "they do not belong together"
        )
    if fresh:
        config.vocab_size += new
        return made(head, config, folder), ["all"]
    model, info = _loaded(head, folder, config, revision)
    _refuse_damage(model, info, folder)
    random = set(info["missing_keys"]) | {name for name, *_ in info["mismatched_keys"]}
    if config.id2label != labels_before:
        random |= _renew_head(model, head, random)
    if new:
        model.resize_token_embeddings(config.vocab_size + new, mean_resizing=False)
        random.add(f"the embeddings of {new} tokens that frame the texts")
    return model, sorted(random)


def made(head: Head, config: PreTrainedConfig, folder: str) -> PreTrainedModel:
    """The head's class for this architecture, with random weights. Errors: ValueError if there is none."""
    try:
        return head.auto_class.from_config(config)
    except ValueError as error:
        raise _no_such_head(head, config, folder) from error


def max_tokens(model: PreTrainedModel) -> int:
    """How many tokens the model has positions for. RoBERTa and its like keep the first ones for padding."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is None:
        return UNLIMITED
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return positions if padding is None else positions - padding - 1


def _loaded(head: Head, folder: str, config: PreTrainedConfig, revision: str) -> tuple[PreTrainedModel, dict[str, Any]]:
    try:
        return head.auto_class.from_pretrained(
            folder,
            revision=revision or "main",
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except ValueError as error:
        raise _no_such_head(head, config, folder) from error
    except OSError as error:
        raise FileNotFoundError(f"{folder}: no model here that transformers opens ({error})") from None
    except SafetensorError as error:
        raise ValueError(f"{folder}: the weights are damaged ({error})") from None


def _no_such_head(head: Head, config: PreTrainedConfig, folder: str) -> ValueError:
    wanted = head.auto_class.__name__.removeprefix("AutoModelFor")
    return ValueError(
        f"{folder}: transformers has no {wanted} class for a {config.model_type} model; take an encoder, such as BERT"
    )


def _renew_head(model: PreTrainedModel, head: Head, random: set[str]) -> set[str]:
    """Draw anew what was learnt for other labels: all beyond the encoder that is not `random`. Return its names."""
    base = f"{model.base_model_prefix}."
    learnt = {name for name in model.state_dict() if not name.startswith(base)} - random
    if learnt:
        new = head.auto_class.from_config(model.config).state_dict()
        model.load_state_dict({name: new[name] for name in learnt}, strict=False)
    return learnt


def _change(config: PreTrainedConfig, changes: dict[str, Any], folder: str) -> None:
    for name, value in changes.items():
        if not hasattr(config, name):
            raise ValueError(f"config.{name}: the model in {folder} has no such setting ({type(config).__name__})")
        try:
            setattr(config, name, value)
        except Exception as error:  # transformers' checks of its settings raise a kind of their own
            raise ValueError(f"config.{name}: {' '.join(str(error).split())}") from None


def _refuse_damage(model: PreTrainedModel, info: dict[str, Any], folder: str) -> None:
    """Only a head may start random: a weight that is missing in the encoder, or has another shape, is damage."""
    base = f"{model.base_model_prefix}."
    missing = sorted(name for name in info["missing_keys"] if name.startswith(base) and ".pooler." not in name)
    if missing:
        raise ValueError(f"{folder} lacks weights of the encoder, such as {missing[0]} ({len(missing)} in all)")
    misshapen = sorted(key for key in info["mismatched_keys"] if key[0].startswith(base))
    if misshapen:
        name, there, wanted = misshapen[0]
        raise ValueError(
            f"{folder}: {len(misshapen)} weights have not the shape that the config says, such as {name}: "
            f"{tuple(there)} there, {tuple(wanted)} by the config"
        )
