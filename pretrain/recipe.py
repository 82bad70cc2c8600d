"""What does a pretraining recipe say?"""

from dataclasses import dataclass
from typing import Any

from corpus.text import Source
from engine.optimizer import Optimizer, Schedule
from engine.plan import Plan
from engine.recipe import check_name
from pretrain.objective import Objective


@dataclass(frozen=True)
class Corpus:
    """Where the text is, which share of its documents is held out for evaluation, and where prepared ids are kept."""

    sources: tuple[Source, ...]
    held_out: float = 0.01
    stores: str = "runs/stores"

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources is empty; name one source or more")
        if not 0 < self.held_out < 1:
            raise ValueError(
                f"held_out is {self.held_out}; it is a share of the documents between 0 and 1, such as 0.01"
            )


@dataclass(frozen=True)
class PretrainRecipe:
    """A whole experiment. `model` goes to transformers' `AutoConfig.for_model` unchanged."""

    name: str  # the run's folder is runs/NAME
    corpus: Corpus
    tokenizer: str  # a folder or a Hub id
    model: dict[str, Any]
    objective: Objective
    length: int  # tokens in an example, special ones included
    optimizer: Optimizer
    schedule: Schedule
    plan: Plan
    seed: int = 0
    evaluation_examples: int = 2048  # held-out examples, always the same ones
    overwrite: bool = False  # delete what the run's folder holds

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.evaluation_examples < 1:
            raise ValueError(f"evaluation_examples is {self.evaluation_examples}; it must be 1 or more")
        positions = int(self.model.get("max_position_embeddings", 512))
        if self.length > positions:
            raise ValueError(
                f"length is {self.length}, but the model has {positions} positions; lower length or raise "
                "model.max_position_embeddings"
            )
        if self.length < 8:
            raise ValueError(f"length is {self.length}; examples need 8 tokens or more")
