"""What does `pretrain.run` train with?  Its parts, put together as it does, for a setting instead of a recipe."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator

from benchmarks import sample
from benchmarks.settings import Setting
from corpus.text.source import Source
from engine.train.batch import Batch
from engine.train.batches import Batches, Position
from engine.train.plan import Phase, Plan
from pretrain.examples import ChapterExamples, fixed_batches, open_chapters
from pretrain.objective import Objective
from pretrain.recipe import Corpus
from pretrain.text import opened
from pretrain.vocabulary import Vocabulary

HELD_OUT = 0.05  # share of the documents
WARMUP = 0.05  # share of the steps


@dataclass(frozen=True)
class Parts:
    objective: Objective
    vocabulary: Vocabulary
    batches: Batches[ChapterExamples]
    judged: list[Batch]  # held-out examples with fixed masks


@contextmanager
def parts(
    setting: Setting, source: Source, folder: Path, plan: Plan, judged: int, accelerator: Accelerator
) -> Iterator[Parts]:
    """Prepare `source` in `folder` and open it; `judged` held-out examples."""
    _, tokenizer = sample.vocabulary(setting.family)
    vocabulary, objective = Vocabulary.of(tokenizer), objective_of(setting)
    corpus = Corpus((source,), held_out=HELD_OUT, stores=str(folder / "stores"))
    with opened(corpus, tokenizer, 0, folder, accelerator) as text:
        unseen = open_chapters(text.held_out, objective, vocabulary, 0)(Position(), setting.length)
        phases = (Phase(1.0, plan.device_batch, setting.length),)
        batches = Batches(open_chapters(text.text, objective, vocabulary, 0), plan, accelerator, phases)
        yield Parts(objective, vocabulary, batches, fixed_batches(unseen, judged, plan.device_batch))


def objective_of(setting: Setting) -> Objective:
    section: dict[str, Any] = setting.objective
    return Objective.from_section(section["name"])(**section)


def write_recipe(name: str, setting: Setting, plan: dict[str, int], examples: int, folder: Path) -> Path:
    """Write FOLDER/recipe.yaml, which trains on FOLDER/text.jsonl and is judged on `examples` examples."""
    vocabulary, _ = sample.vocabulary(setting.family)
    recipe = {
        "name": name,
        "corpus": {"sources": [{"kind": "jsonl", "path": str(folder / "text.jsonl")}], "held_out": HELD_OUT},
        "tokenizer": str(vocabulary), "model": setting.model, "objective": setting.objective, "length": setting.length,
        "optimizer": {"lr": setting.lr}, "schedule": {"warmup_rate": WARMUP}, "plan": plan,
        "evaluation_examples": examples,
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path
