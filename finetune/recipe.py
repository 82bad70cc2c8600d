"""What does a fine-tuning recipe say?"""

from dataclasses import dataclass, field
from typing import Any, Literal

from engine.publish.hub import NOWHERE, Hub
from engine.run.architecture import check_sizes
from engine.run.precision import Matmul, MixedPrecision
from engine.run.recipe import check_each_once, check_least, check_name, check_seed, operational
from engine.run.tracking import TrackerName
from engine.train.optimizer import Optimizer
from engine.train.plan import Plan
from engine.train.schedule import Schedule
from finetune.lora import check_peft
from finetune.tasks.task import DataSource


@dataclass(frozen=True)
class Passes:
    """The recipe's `plan:` section: passes over the training rows, and rows a step on however many processes."""

    num_train_epochs: float  # passes over the training rows
    global_batch_size: int  # rows of a step, over all processes and accumulation
    per_device_train_batch_size: int = operational()  # rows a process takes at a time, at most
    logging_steps: int = operational(20)  # steps between lines of metrics.jsonl
    save_steps: int = operational(0)  # steps between saved states; 0: only when stopped
    eval_steps: int = 0  # steps between evaluations on the dev rows; 0: only at the end
    load_best_model_at_end: bool = False  # keep the best model of these evaluations, not the last
    metric_for_best_model: str = ""  # a score of the first dev split; empty: the task's headline
    early_stopping_patience: int = 0  # evaluations in a row without a better one, after which training ends; 0: never
    max_grad_norm: float = 1.0  # a longer gradient is shortened to it (clipping)

    def __post_init__(self) -> None:
        if not self.num_train_epochs > 0:
            raise ValueError(f"num_train_epochs is {self.num_train_epochs}; it must be above 0")
        check_least(self, 1, "global_batch_size", "per_device_train_batch_size", "logging_steps")
        check_least(self, 0, "save_steps", "eval_steps", "early_stopping_patience")
        if self.load_best_model_at_end and not self.eval_steps:
            raise ValueError("load_best_model_at_end chooses among evaluations, and there is only the last: say "
                             "eval_steps too, such as eval_steps: 100")  # fmt: skip
        for name in ("metric_for_best_model", "early_stopping_patience"):
            if getattr(self, name) and not self.load_best_model_at_end:
                raise ValueError(f"{name} is about the best model: say load_best_model_at_end: true too, or leave it "
                                 "out")  # fmt: skip
        if not self.max_grad_norm > 0:
            raise ValueError(f"max_grad_norm is {self.max_grad_norm}; it must be above 0")

    def plan(self, steps_per_epoch: int) -> Plan:
        """The same in optimizer steps."""
        steps = max(1, round(self.num_train_epochs * steps_per_epoch))
        return Plan(
            self.global_batch_size, self.per_device_train_batch_size, steps, logging_steps=self.logging_steps,
            save_steps=self.save_steps, max_grad_norm=self.max_grad_norm, eval_steps=self.eval_steps,
        )  # fmt: skip


@dataclass(frozen=True)
class FinetuneRecipe:
    """Every task x seed x point of the grid is one job. `name`, `model` and `task` are usually given on the command
    line."""

    name: str  # the jobs' folders are runs/NAME/TASK/seed-N
    model: str  # a run, a Hub id, or any folder that AutoModel opens
    task: tuple[str, ...]  # such as [glue/rte, glue/mrpc]
    data: DataSource
    plan: Passes
    optimizer: Optimizer
    schedule: Schedule
    max_seq_length: int = 128  # tokens; longer texts are truncated, longer contexts strided
    max_train_samples: int = 0  # train on so many rows at most, drawn by chance, the same for every seed; 0: on all
    class_weight: Literal["equal", "balanced"] = "equal"  # balanced: a row of a rare label counts for more in the loss
    seeds: tuple[int, ...] = (0,)  # of the head's weights, order and dropout: a job each
    grid: dict[str, Any] = field(default_factory=dict)  # what is tried: {optimizer.learning_rate: [5e-5, 3e-5]}
    settings: dict[str, Any] = field(
        default_factory=dict
    )  # where a task differs: {glue/sst2: {plan.num_train_epochs: 1}}
    start_from: dict[str, Any] = field(
        default_factory=dict
    )  # {glue/rte: glue/mnli}: begins with that task's best model
    init: Literal["pretrained", "random"] = "pretrained"  # random: the model's architecture with fresh weights
    revision: str = ""  # branch, tag or commit of a model on the Hub; empty: the newest
    label: str = ""  # what the table calls the model; empty: the model's name
    config: dict[str, Any] = field(default_factory=dict)  # changes to the model's config, such as a dropout rate
    freeze_encoder: bool = False  # train the head alone, on what the pretrained weights make of a text
    lora_rank: int = 0  # LoRA: train the head and, beside each linear layer, a change of this rank, such as 8; 0: none
    auxiliary_lm: float = 0.0  # weight of a language-model loss beside the task's, for decoders; Radford et al.: 0.5
    predict_test: bool = False  # also write predictions for the test splits
    save_model: bool = True  # keep each job's fine-tuned model
    mixed_precision: MixedPrecision = operational("auto")  # no: fp32; auto: the faster of both, or as the run began
    matmul: Matmul = operational("auto")  # a CPU's fp32 kernels; auto: the faster, or as the run began
    share: Literal["batches", "jobs"] = operational("batches")  # processes do each job together, or jobs of their own
    overwrite: bool = operational(False)  # delete what the run's folder holds
    hub: Hub = operational(NOWHERE)  # where a job's model is published, if anywhere
    report_to: tuple[TrackerName, ...] = operational(())  # trackers, beside metrics.jsonl, which `make dashboard` reads

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.task or not self.seeds:
            raise ValueError("task and seeds must name one each, or more, such as task: [glue/rte], seeds: [0]")
        check_each_once(self, "task")
        check_each_once(self, "seeds")
        for seed in self.seeds:
            check_seed(seed)
        check_sizes(self.config, "config")
        check_least(self, 1, "max_seq_length")
        check_least(self, 0, "auxiliary_lm", "lora_rank", "max_train_samples")
        if (self.freeze_encoder or self.lora_rank) and self.auxiliary_lm:
            raise ValueError("auxiliary_lm trains the encoder, and freeze_encoder and lora_rank keep it as it is: "
                             "leave it out, or them")  # fmt: skip
        if self.lora_rank:
            if self.freeze_encoder:
                raise ValueError("lora_rank freezes the encoder by itself: leave freeze_encoder out")
            check_peft()
        if self.share == "jobs" and self.overwrite:
            raise ValueError("overwrite deletes what other processes may be working at: with share: jobs, delete the "
                             "run's folder yourself")  # fmt: skip
        if self.hub.repo and len(self.task) * len(self.seeds) > 1:
            raise ValueError("hub.repo takes one model: name one task and one seed, or push a finished job's folder "
                             "with cloze push")  # fmt: skip
        if self.init == "random" and self.start_from:
            raise ValueError("start_from begins with a fine-tuned model, and init: random with none: drop one of them")
