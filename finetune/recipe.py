"""What does a fine-tuning recipe say?"""

from dataclasses import dataclass, field
from typing import Any, Literal

from engine.optimizer import Optimizer
from engine.plan import Plan
from engine.recipe import check_name, how
from engine.schedule import Schedule
from finetune.task import DataSource


@dataclass(frozen=True)
class Passes:
    """The recipe's `plan:` section: passes over the training rows, and rows a step on however many processes."""

    epochs: float
    global_batch: int
    device_batch: int = how()
    log_every: int = how(20)
    save_every: int = how(0)  # steps; 0: only when stopped
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        if not self.epochs > 0:
            raise ValueError(f"epochs is {self.epochs}; it must be above 0")

    def plan(self, steps_per_epoch: int) -> Plan:
        """The same in optimizer steps."""
        steps = max(1, round(self.epochs * steps_per_epoch))
        return Plan(
            self.global_batch, self.device_batch, steps, log_every=self.log_every, save_every=self.save_every,
            max_grad_norm=self.max_grad_norm,
        )  # fmt: skip


@dataclass(frozen=True)
class FinetuneRecipe:
    """Every task x seed is one job. `name`, `model` and `task` are usually given on the command line."""

    name: str  # the jobs' folders are runs/NAME/TASK/seed-N
    model: str  # a run's model/, a Hub id, or any folder that AutoModel opens
    task: tuple[str, ...]
    data: DataSource
    plan: Passes
    optimizer: Optimizer
    schedule: Schedule
    max_length: int = 128  # tokens; longer texts are truncated, longer contexts strided
    seeds: tuple[int, ...] = (0,)
    init: Literal["pretrained", "random"] = "pretrained"  # random: the model's architecture with fresh weights
    label: str = ""  # what the table calls the model; empty: the model's name
    config: dict[str, Any] = field(default_factory=dict)  # changes to the model's config, such as a dropout rate
    predict_test: bool = False  # also write predictions for the test splits
    save_model: bool = True  # keep each job's fine-tuned model
    overwrite: bool = how(False)  # delete what the run's folder holds

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.task or not self.seeds:
            raise ValueError("task and seeds must name one each, or more, such as task: [glue/rte], seeds: [0]")
