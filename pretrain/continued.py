"""What is learnt already?  Training that continues from a checkpoint: `model: {from: FOLDER_OR_HUB_ID}`.

Continued, domain-adaptive pretraining (Gururangan et al. 2020, arXiv 2004.10964). The checkpoint brings its config, its
weights and its tokenizer. What the recipe's `model:` section says beside `from` changes the config: dropout, or more
rows of a table (`vocab_size`, `max_position_embeddings`), which start random. So does what the checkpoint does not
have, such as the head of a model that was saved without one.

A model of pictures takes the trunk of any other. Its head is new, but for a model of the same objective whose head has
the same sizes and the same meaning.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from engine.run.finite import not_finite, not_finite_in
from engine.run.saved import config_of, load_weights, located, opened, saved_class
from networks.pictures import PretextModel
from tokenizer.load import load_tokenizer

NAMED = 6  # weights that a message names
GROW = ("vocab_size", "max_position_embeddings")  # of a config: rows of a table


@dataclass(frozen=True)
class Origin:
    """Where the weights come from, and which do not: these start random. Empty: all of them."""

    source: str = ""
    random: tuple[str, ...] = ()
    left: tuple[str, ...] = ()  # weights of the checkpoint that this model has no place for

    @property
    def in_short(self) -> str:
        """For the model card."""
        if not self.source:
            return "pretrained from random weights"
        new = f", with random weights for {in_words(self.random)}" if self.random else ""
        return f"pretrained further, from the weights of {self.source}{new}"

    def lines(self) -> list[str]:
        """For the log."""
        if not self.source:
            return []
        found = [
            f"the weights of {self.source}: {f'random are {in_words(self.random)}' if self.random else 'all of them'}"
        ]
        return found + ([f"it has more, which is left out: {in_words(self.left)}"] if self.left else [])


FRESH = Origin()


def in_words(names: Iterable[str]) -> str:
    """Some of the names, and how many more there are."""
    known = list(names)
    more = len(known) - NAMED
    return ", ".join(known[:NAMED]) + (f" and {more} more" if more > 0 else "")


def changed_configuration(source: str, changes: dict[str, Any], revision: str = "") -> PreTrainedConfig:
    """The config of a checkpoint with the recipe's changes, which it knows.

    `revision` is the Hub's branch, tag or commit. Errors: ValueError for a value that does not do, for a smaller table,
    and for a revision of a folder.
    """
    if revision and Path(located(source)).is_dir():
        raise ValueError(f"model.revision is {revision!r}, and {source} is a folder, which has none: leave it out")
    config = config_of(located(source), revision)
    grows = {config.attribute_map.get(name, name) for name in GROW}
    for name, value in changes.items():
        if name == "attn_implementation":
            config._attn_implementation = value
            continue
        before = getattr(config, name)
        if name == "model_type" and value != before:
            raise ValueError(f"model.model_type is {value!r}, and {source} is a {before}; leave it out")
        if config.attribute_map.get(name, name) in grows and value < before:
            raise ValueError(
                f"model.{name} is {value}, and {source} has {before}; it can grow, not shrink: leave it out"
            )
        try:
            setattr(config, name, value)
        except Exception as error:  # transformers' checks of its settings raise kinds of their own
            raise ValueError(f"model.{name}: {' '.join(str(error).split())}") from None
    return config


def check_vocabulary(config: PreTrainedConfig, source: str, needed: int) -> None:
    """Refuse a config with less rows of the vocabulary than the tokenizer needs. Errors: ValueError."""
    if config.vocab_size < needed:
        raise ValueError(
            f"the tokenizer has {needed} entries, and {source} has embeddings for {config.vocab_size}: say "
            f"model.vocab_size: {needed}, and the new ones start random, or take its own tokenizer"
        )


@torch.no_grad()
def take_weights(model: PreTrainedModel, source: str, revision: str = "") -> Origin:
    """Put the weights of a checkpoint into `model`, which was built from its config; `source` "" is none.

    `revision` is the Hub's branch, tag or commit. Errors: ValueError if the encoder is not there whole, if a weight has
    another shape than by more rows of a table, or if one is not finite.
    """
    if not source:
        return FRESH
    saved, info = load_checkpoint(type(model), source, revision)
    missing = set(info["missing_keys"]) | {name for name, *_ in info["mismatched_keys"]}
    base = f"{model.base_model_prefix}."
    if lost := sorted(name for name in missing if name.startswith(base) and ".pooler." not in name):
        raise ValueError(f"{source} lacks weights of the encoder, such as {lost[0]} ({len(lost)} in all)")
    theirs, ours = saved.state_dict(), model.state_dict()
    random = sorted(missing)
    for name in sorted(theirs.keys() | ours.keys()):
        if name not in theirs or name not in ours or not is_grown(theirs[name].shape, ours[name].shape):
            raise ValueError(
                f"model.from: {source} has another {name} than the recipe's model; of its sizes only "
                f"{' and '.join(GROW)} may be changed"
            )
        before, after = torch.atleast_1d(theirs[name]), torch.atleast_1d(ours[name])
        after[: len(before)].copy_(before)
        if len(after) > len(before) and name not in missing:
            random.append(f"the last {len(after) - len(before):,} rows of {name}")
    return Origin(named(source, revision), tuple(random), tuple(sorted(info["unexpected_keys"])))


def take_trunk(model: PretextModel, source: str, revision: str = "") -> Origin:
    """Put the weights of a checkpoint into the trunk of `model`, and those of its head, where it was saved from a model
    of the same class, with a head of the same sizes and meaning; `source` "" is none.

    Errors: ValueError if the trunk is not there whole, has other sizes, or if a weight is not finite.
    """
    if not source:
        return FRESH
    saved, info = load_checkpoint(type(model.trunk), source, revision)
    if lost := sorted({*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}):
        raise ValueError(f"{source} lacks weights of its trunk, such as {lost[0]} ({len(lost)} in all)")
    theirs, ours = shapes_of(saved.state_dict()), shapes_of(model.trunk.state_dict())
    if other := sorted(name for name in theirs | ours if theirs.get(name) != ours.get(name)):
        raise ValueError(
            f"model.from: {source} has another {other[0]} than the recipe's model: leave the sizes of its trunk out "
            "of the recipe"
        )
    model.trunk.load_state_dict(saved.state_dict())
    head = read_head(model, source, revision)
    model.load_state_dict(head, strict=False)
    random = () if head else tuple(sorted(head_of(model)))
    return Origin(named(source, revision), random, () if head else tuple(sorted(info["unexpected_keys"])))


def read_head(model: PretextModel, source: str, revision: str = "") -> dict[str, Tensor]:
    """The weights of a checkpoint's head; none where `model` has another."""
    place = located(source)
    if saved_class(config_of(place, revision)) is not type(model):
        return {}
    saved: Any = opened(place, revision)
    head = head_of(saved)
    if not saved.asks_as(model) or shapes_of(head) != shapes_of(head_of(model)):
        return {}
    refuse_not_finite(head, source)
    return head


def head_of(model: PretextModel) -> dict[str, Tensor]:
    """All weights but those of the trunk."""
    prefix = f"{model.base_model_prefix}."
    return {name: values for name, values in model.state_dict().items() if not name.startswith(prefix)}


def shapes_of(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: values.shape for name, values in weights.items()}


def load_checkpoint(made: type[PreTrainedModel], source: str, revision: str) -> tuple[PreTrainedModel, dict[str, Any]]:
    """`made` with the weights of a checkpoint, and transformers' account of them. Errors: ValueError if one is not
    finite."""
    place = located(source)
    saved, info = load_weights(made, place, config_of(place, revision), revision)
    refuse_not_finite(saved.state_dict(), source)
    return saved, info


def refuse_not_finite(weights: dict[str, Tensor], source: str) -> None:
    if found := not_finite(weights.items()):
        where = not_finite_in(Path(located(source))) or f"{source}: {found}"
        raise ValueError(f"{where}: take another model, or train it again")


def named(source: str, revision: str) -> str:
    return f"{source} at {revision}" if revision else source


def is_grown(before: torch.Size, after: torch.Size) -> bool:
    """Whether a table has only become longer."""
    return before[1:] == after[1:] and (before == after or (len(before) > 0 and before[0] < after[0]))


def check_tokenizer(tokenizer: PreTrainedTokenizerFast, source: str, revision: str = "") -> None:
    """Refuse a tokenizer under which the checkpoint's embeddings would be those of other tokens. Errors: ValueError."""
    try:
        own = load_tokenizer(located(source), revision or None)
    except FileNotFoundError:
        return
    ids = tokenizer.get_vocab()
    for token, number in sorted(own.get_vocab().items(), key=lambda pair: pair[1]):
        if ids.get(token) != number:
            other = f"as {ids[token]}" if token in ids else "not at all"
            raise ValueError(
                f"the recipe's tokenizer has {token!r} {other}, and that of {source} as {number}: the embeddings would "
                "be those of other tokens; leave `tokenizer` out to take the model's own, or extend that one"
            )
