"""How much text has a pretraining read?  In characters, since a token is longer in one vocabulary than in another."""

from dataclasses import dataclass
from pathlib import Path

from compare.recipe import Arm, CompareRecipe, System
from engine.run.disk import read_json
from engine.run.folders import read_finished
from engine.run.recipe import load
from engine.run.tracking import read_lines
from pretrain.recipe import PretrainRecipe


@dataclass(frozen=True)
class Amount:
    """What a finished pretraining has read."""

    steps: int
    tokens: float
    characters: float


def read_amount(recipe: CompareRecipe, system: System, arm: Arm) -> Amount:
    """What a finished run has read. Errors: ValueError if it is not finished, or damaged."""
    run = recipe.pretrained(system, arm)
    finished = read_finished(run)
    if not finished:
        raise ValueError(f"{run} is not finished")
    tokens = finished["steps"] * tokens_per_step(system, run)
    return Amount(finished["steps"], tokens, tokens * characters_per_token(recipe, system))


def find_slowest(recipe: CompareRecipe) -> System | None:
    """The system that has read the least text in its minutes; None as long as one has not finished them."""
    if not all(read_finished(recipe.pretrained(system, "minutes")) for system in recipe.systems):
        return None
    return min(recipe.systems, key=lambda system: read_amount(recipe, system, "minutes").characters)


def count_steps(recipe: CompareRecipe, system: System) -> int:
    """How many steps a system takes to read what the slowest has read in its minutes; at least one."""
    slowest = find_slowest(recipe)
    assert slowest is not None, "all have had their minutes"
    characters = read_amount(recipe, slowest, "minutes").characters
    per_step = tokens_per_step(system, recipe.pretrained(system, "minutes")) * characters_per_token(recipe, system)
    return max(1, round(characters / per_step))


def tokens_per_step(system: System, run: Path) -> float:
    """Without padding, whose share is taken from the run's log."""
    recipe = load(PretrainRecipe, Path(system.pretrain))
    rates = [line["padding_rate"] for line in read_lines(run / "metrics.jsonl") if "padding_rate" in line]
    padding = sum(rates) / len(rates) if rates else 0.0
    return recipe.plan.global_batch_size * recipe.objective.size * (1 - padding)


def characters_per_token(recipe: CompareRecipe, system: System) -> float:
    """By the tokenizer's report, on documents that it was not learnt from. Errors: ValueError if there are none."""
    folder = recipe.vocabulary(system)
    report = read_json(folder / "report.json", "measures", advice=f"delete {folder}, and it is learnt again")
    measured = report["measures"][0]
    if "characters_a_token" not in measured:
        raise ValueError(
            f"the vocabulary in {folder} was not measured, since {system.tokenizer} held no document out, and then "
            f"nobody knows how much text a token is: give it `held_out: 0.2`, delete {folder}, and repeat"
        )
    return float(measured["characters_a_token"])
