"""What should one know of a model before one asks it?  A row of facts for each: what it is, how large, how good."""

import re
from collections.abc import Sequence
from pathlib import Path

from engine.publish.curves import read_metrics
from engine.report import standing, words
from engine.run.architecture import UNLIMITED
from engine.run.folders import read_finished
from finetune.ask.playground.models import LoadedModel

HEAD = ("", "what it is", "size", "reads", "its training")
MOST_LABELS = 6  # that are named
NUMBERED = re.compile(r"LABEL_\d+")  # what transformers calls labels without names


def describe(loaded: LoadedModel, titles: list[str]) -> list[str]:
    """The cells of a model's row under HEAD; `titles` are those of the tabs that it answers in."""
    return [
        loaded.name,
        describe_kind(loaded, titles),
        describe_size(loaded),
        describe_input(loaded),
        describe_training(loaded.run) if loaded.run else "–",
    ]


def describe_kind(loaded: LoadedModel, titles: list[str]) -> str:
    kind = f"{loaded.model.config.model_type}: {', '.join(titles).lower() or 'an encoder, without a head that answers'}"
    labels = name_labels(loaded.task.labels) if loaded.task else []
    more = f" and {len(labels) - MOST_LABELS} more" if len(labels) > MOST_LABELS else ""
    return f"{kind}; labels {', '.join(labels[:MOST_LABELS])}{more}" if len(labels) > 1 else kind


def name_labels(labels: Sequence[str]) -> list[str]:
    """The labels that have names; of tags (O, B-LOC, I-LOC), the types."""
    if "O" in labels:
        labels = [label.partition("-")[2] for label in labels if label.startswith(("B-", "I-"))]
    return [label for label in dict.fromkeys(labels) if not NUMBERED.fullmatch(label)]


def describe_size(loaded: LoadedModel) -> str:
    config = loaded.model.config
    heads = f", {loaded.num_heads} heads" if loaded.num_heads else ""
    width = f" of {config.hidden_size}" if hasattr(config, "hidden_size") else ""
    millions = loaded.model.num_parameters() / 1e6
    if not loaded.reads_texts:
        return f"{millions:,.1f} M parameters"
    return f"{millions:,.1f} M parameters: {loaded.num_layers} layers{width}{heads}"


def describe_input(loaded: LoadedModel) -> str:
    if not loaded.reads_texts:
        return "pictures"
    most = "texts of any length" if loaded.most_tokens >= UNLIMITED else f"{loaded.most_tokens:,} tokens"
    return f"{most}, of a vocabulary of {len(loaded.tokenizer):,}"


def describe_training(run: Path) -> str:
    """Steps, and where the evaluation stood beside its baseline; nothing if the folder tells none of it."""
    try:
        finished, points = read_finished(run) or {}, read_metrics(run / "metrics.jsonl")
    except ValueError:  # damaged: the model can be asked all the same
        return "–"
    steps = [f"{finished['steps']:,} steps"] if "steps" in finished else []
    rows = standing(points, finished)
    headline = words(finished.get("headline", {}).get("name", ""))
    rows = [row for row in rows if headline and row[0].endswith(headline)][:1] or rows[:2]
    return "; ".join([*steps, *(f"{what} {last} (baseline {base})" for what, _, last, base in rows)]) or "–"
