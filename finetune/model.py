"""Which network answers, and which of its weights are not learnt yet?  The pretrained model (AutoModel) with a head."""

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils.hub import resolve_revision

from engine.run.architecture import count_padding
from engine.run.finite import not_finite, not_finite_in
from engine.run.saved import config_of, load_weights, saved_class
from finetune.decoder import count_new_tokens
from finetune.questions.question import Question
from finetune.tasks.task import Task
from networks.elmo import ElmoModel
from networks.word_vectors import WordVectorsConfig
from tokenizer.load import refuse_strange_ids
from tokenizer.spelling import list_frames, spell


def find_commit(model: str, revision: str) -> str:
    """The commit (40 hex digits) of a Hub model's branch or tag; empty for a folder, or if it is not known."""
    found = resolve_revision(model, revision or None)
    return str(getattr(found, "resolved", found) or "") if not Path(model).is_dir() else ""


def open_model(
    folder: str,
    question: Question,
    task: Task,
    tokenizer: PreTrainedTokenizerFast,
    changes: dict[str, Any],
    fresh: bool,
    revision: str = "",
) -> tuple[PreTrainedModel, list[str]]:
    """Open a network with a head for `task`; `fresh`: the same architecture with random weights. `revision` is
    the Hub's branch, tag or commit.

    What the folder brings along stays, but for the outputs of a head that was learnt for other labels. Return the
    network with the names of the weights that start random. Errors: ValueError if a weight of the encoder is missing or
    of another shape, if the tokenizer has ids beyond the embeddings, or if `changes` names a key that the config has
    not, or gives one a value that it refuses.
    """
    config = config_of(folder, revision)
    if changes:
        _change(config, changes, folder)
    before = copy.deepcopy(config)
    config.update(question.config(task))
    if isinstance(config, WordVectorsConfig):
        config.frame_token_ids = list_frames(tokenizer)
    if config.pad_token_id is None or config.pad_token_id < 0:
        config.pad_token_id = tokenizer.pad_token_id  # GPT-2 reads the label before the padding
    new = count_new_tokens(tokenizer, config.vocab_size)
    refuse_strange_ids(tokenizer, config.vocab_size + new, folder)
    if fresh:
        config.vocab_size += new
        return spelled(build(question, config, folder), tokenizer), ["all"]
    model, info = _load(question, folder, config, revision)
    _refuse_damage(model, info, folder)
    if found := not_finite(model.state_dict().items()):
        raise ValueError(
            f"{not_finite_in(Path(folder)) or f'{folder}: {found}'}: take another model, or train it again"
        )
    random = set(info["missing_keys"]) | {name for name, *_ in info["mismatched_keys"]}
    random |= _renew_outputs(model, question, before, random)
    if new:
        model.resize_token_embeddings(config.vocab_size + new, mean_resizing=False)
        random.add(f"the embeddings of {new} tokens that frame the texts")
    if tokenizer.pad_token_id is not None and not count_padding(model):
        model.config.pad_token_id = tokenizer.pad_token_id
    return model, sorted(random)


def freeze_encoder(model: PreTrainedModel, fresh: Sequence[str]) -> str:
    """Keep the encoder (`base_model`) as it is, but for LoRA's changes and for weights of it that are `fresh`, such as
    a pooler; of a model that is all fresh, but for its pooler. Return in words what is still trained."""
    base = f"{model.base_model_prefix}."
    for name, parameter in model.named_parameters():
        is_fresh = name in fresh or ".lora_" in name or (list(fresh) == ["all"] and ".pooler." in name)
        parameter.requires_grad_(not name.startswith(base) or is_fresh)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return f"the encoder is frozen: {trained:,} of {model.num_parameters():,} parameters are trained"


def build(question: Question, config: PreTrainedConfig, folder: str) -> PreTrainedModel:
    """The head's class for this architecture, with random weights. Errors: ValueError if there is none."""
    try:
        return question.auto_class.from_config(config, trust_remote_code=False)
    except ValueError as error:
        raise _no_such_head(question, config, folder) from error


def spelled(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """The model itself. One that reads characters is told those of each token: they are no weights, and not random."""
    if isinstance(model.base_model, ElmoModel):
        model.base_model.spell(spell(tokenizer))
    return model


def _load(
    question: Question, folder: str, config: PreTrainedConfig, revision: str
) -> tuple[PreTrainedModel, dict[str, Any]]:
    try:
        model, info = load_weights(question.auto_class, folder, config, revision)
    except ValueError as error:
        if "Unrecognized configuration class" in str(error):
            raise _no_such_head(question, config, folder) from error
        raise
    if other := _other_prefix(model, info):
        renamed = {rf"^{re.escape(other)}\.": f"{model.base_model_prefix}."}
        model, info = load_weights(question.auto_class, folder, config, revision, renamed)
        vars(model).pop("_weight_conversions", None)  # else it is saved under the names that it was opened from
    return model, info


def _other_prefix(model: PreTrainedModel, info: dict[str, Any]) -> str:
    """What the folder calls the encoder, if all that is missing of it is there by another name; else "".

    Of Llama and its like, which are `model` in the other classes, the class for questions calls it `transformer`.
    """
    base = f"{model.base_model_prefix}."
    missing = {name.removeprefix(base) for name in info["missing_keys"] if name.startswith(base)}
    there = set(info["unexpected_keys"])
    first = min(missing, default="")
    prefixes = {name.removesuffix(f".{first}") for name in there if first and name.endswith(f".{first}")}
    return next((other for other in sorted(prefixes) if all(f"{other}.{name}" in there for name in missing)), "")


def _no_such_head(question: Question, config: PreTrainedConfig, folder: str) -> ValueError:
    wanted = question.architecture.removeprefix("For")
    return ValueError(
        f"{folder}: transformers has no {wanted} class for a {config.model_type} model; take an encoder, such as BERT"
    )


def _renew_outputs(model: PreTrainedModel, question: Question, before: PreTrainedConfig, random: set[str]) -> set[str]:
    """Draw anew the outputs that were learnt for other labels or another kind of head. Return their names.

    What lies between the encoder and the outputs stays, as in transformers where the number of labels differs: it may
    be pretrained, as ModernBERT's prediction head is.
    """
    saved_from = saved_class(before)
    if saved_from is type(model) and before.id2label == model.config.id2label:
        return set()
    learnt = find_outputs(type(model), model.config)
    if saved_from is not None:
        learnt |= find_outputs(saved_from, before)
    learnt = {name for name in learnt if name in model.state_dict()} - random
    if learnt:
        new = build(question, model.config, "").state_dict()
        model.load_state_dict({name: new[name] for name in learnt}, strict=False)
    return learnt


def find_outputs(model_class: type[PreTrainedModel], config: PreTrainedConfig) -> set[str]:
    """The names of the weights whose shape depends on the number of labels."""
    more = copy.deepcopy(config)
    more.num_labels = (config.num_labels or 0) + 1
    try:
        with torch.device("meta"):  # shapes alone
            shapes, others = (
                {name: weight.shape for name, weight in model_class(own).state_dict().items()} for own in (config, more)
            )
    except ValueError:  # DistilBERT refuses any number but two for a question's answer
        return set()
    return {name for name, shape in shapes.items() if others[name] != shape}


def _change(config: PreTrainedConfig, changes: dict[str, Any], folder: str) -> None:
    for name, value in changes.items():
        if not hasattr(config, name):
            raise ValueError(f"config.{name}: the model in {folder} has no such setting ({type(config).__name__})")
        try:
            setattr(config, name, value)
        except Exception as error:  # transformers' checks of its settings raise a kind of their own
            raise ValueError(f"config.{name}: {' '.join(str(error).split())}") from None
    try:  # most settings are checked only when a config is built, so build one from the changed settings
        type(config).from_dict(config.to_dict())
    except Exception as error:
        named = ", ".join(f"config.{name}" for name in changes)
        raise ValueError(f"{named}: {' '.join(str(error).split())}") from None


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
