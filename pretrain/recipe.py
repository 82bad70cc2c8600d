"""What does a pretraining recipe say?"""

from dataclasses import dataclass, replace
from typing import Any

from corpus.text.opening import Corpus
from engine.publish.hub import NOWHERE, Hub
from engine.run.architecture import check_sizes
from engine.run.recipe import check_least, check_name, check_seed, how
from engine.run.tracking import TrackerName
from engine.train.optimizer import Optimizer
from engine.train.plan import Phase, Plan
from engine.train.schedule import Schedule
from pretrain.objective import Objective

POSITIONS = {"gpt2": 1024, "lstm": 10**9}  # of a model whose recipe names none, where it is not BERT's 512


@dataclass(frozen=True)
class LastPhase:
    """The last part of the steps, in longer examples: BERT's are 512 tokens for a tenth of its steps."""

    share: float
    length: int
    device_batch: int = how()

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share is {self.share}; it is a share of the steps between 0 and 1, such as 0.1")
        if self.device_batch < 1:
            raise ValueError(f"device_batch is {self.device_batch}; it must be 1 or more")


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
    last_phase: LastPhase | None = None
    seed: int = 0
    evaluation_examples: int = 2048  # held-out examples, always the same ones
    overwrite: bool = how(False)  # delete what the run's folder holds
    state: str | None = how(None)  # the state to go on from, such as step-200; the newest one else
    hub: Hub = how(NOWHERE)  # noqa: RUF009, it is frozen; where the model is published, if anywhere
    trackers: tuple[TrackerName, ...] = how(())  # told beside metrics.jsonl, which `make dashboard` reads
    profile: bool = how(False)  # trace a few steps into the run's folder

    def __post_init__(self) -> None:
        check_name(self.name)
        check_seed(self.seed)
        check_sizes(self.model, "model")
        check_least(self, 1, "evaluation_examples")
        sources = tuple(source.wanting(self.objective.whitespace) for source in self.corpus.sources)
        object.__setattr__(self, "corpus", replace(self.corpus, sources=sources))  # a run's recipe says what was chosen
        if self.objective.needs_sentences and any(source.whitespace == "keep" for source in sources):
            raise ValueError(
                "a source says whitespace: keep, where no sentences are looked for, but sentence pairs are made of "
                "them: leave it out, or say objective.next_sentence: false"
            )
        positions = int(self.model.get("n_positions") or self.model.get("max_position_embeddings") or 0)
        positions = positions or POSITIONS.get(self.model.get("model_type", ""), 512)
        for length in [phase.length for phase in self.phases]:
            if length > positions:
                raise ValueError(
                    f"length is {length}, but the model has {positions} positions; lower length or raise "
                    "model.max_position_embeddings (GPT-2: model.n_positions)"
                )
            if length < 8:
                raise ValueError(f"length is {length}; examples need 8 tokens or more")
        if self.last_phase and self.plan.minutes:
            raise ValueError("last_phase begins at a share of the steps, which are unknown where plan.minutes ends the "
                             "run: give plan.steps or plan.flops")  # fmt: skip

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What is trained on, in order."""
        if self.last_phase is None:
            return (Phase(1.0, self.plan.device_batch, self.length),)
        last = self.last_phase
        first = Phase(1 - last.share, self.plan.device_batch, self.length)
        return first, Phase(last.share, last.device_batch, last.length)
