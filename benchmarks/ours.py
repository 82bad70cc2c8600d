"""What does `pretrain.run` train with?  Its parts, put together as it does, for a setting instead of a recipe."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator
from torch import nn

from benchmarks import sample
from benchmarks.settings import Setting
from corpus.text.medium import Text
from corpus.text.opening import Corpus, open_corpus
from corpus.text.source import Source
from engine.train.loop import Hooks
from engine.train.optimizer import Optimizer
from engine.train.plan import Plan
from engine.train.schedule import Schedule
from pretrain.assembly import Assembly, assemble, build_model
from pretrain.objective import Objective
from pretrain.recipe import PretrainRecipe
from tokenizer.load import tokenizer_hash

HELD_OUT = 0.05  # share of the documents
WARMUP = 0.05  # share of the steps


class AtEvaluations(Hooks):
    """Hooks that only call `look(model, step)` where the loop would evaluate."""

    def __init__(self, look: Callable[[nn.Module, int], None]):
        self.look = look

    def evaluate(self, model: nn.Module, step: int) -> dict[str, float]:
        self.look(model, step)
        return {}

    def publish(self, step: int) -> None:
        pass


@contextmanager
def assembled(
    setting: Setting, source: Source, folder: Path, plan: Plan, evaluated: int, accelerator: Accelerator
) -> Iterator[tuple[PretrainRecipe, Text, Assembly]]:
    """Prepare `source` in `folder` and put a run together, as `pretrain.run` does; `evaluated` held-out examples."""
    _, tokenizer = sample.vocabulary(setting.family)
    text = Text.of(tokenizer, tokenizer_hash(tokenizer))
    section: dict[str, Any] = setting.objective
    recipe = PretrainRecipe(
        "benchmark", setting.model, Objective.from_section(section["name"])(**section),
        Optimizer(learning_rate=setting.lr, eps=1e-8), Schedule(WARMUP), plan,
        Corpus((source,), held_out=HELD_OUT, stores=str(folder / "stores")), tokenizer="sample",
        max_eval_samples=evaluated,
    )  # fmt: skip
    with open_corpus(recipe.text_corpus, text, recipe.seed, folder, accelerator) as corpus:
        yield recipe, text, assemble(recipe, text, corpus, build_model(recipe, text), accelerator)


def write_recipe(name: str, setting: Setting, plan: dict[str, int], examples: int, folder: Path) -> Path:
    """Write FOLDER/recipe.yaml, which trains on FOLDER/text.jsonl and is evaluated on `examples` examples."""
    vocabulary, _ = sample.vocabulary(setting.family)
    recipe = {
        "name": name,
        "corpus": {"sources": [{"kind": "jsonl", "path": str(folder / "text.jsonl")}], "held_out": HELD_OUT},
        "tokenizer": str(vocabulary), "model": setting.model, "objective": setting.objective,
        "optimizer": {"learning_rate": setting.lr}, "schedule": {"warmup_ratio": WARMUP}, "plan": plan,
        "max_eval_samples": examples,
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path
