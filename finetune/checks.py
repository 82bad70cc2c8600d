"""How good is it on the dev rows, and when was it best?  Evaluation, during training too, and the best checkpoint.

    runs/NAME/TASK/seed-N/best/step-N/    the best model so far, until the job is finished

All processes score the same predictions, so all of them choose alike. What the evaluations found is part of each state,
and a best model stays on disk as long as a state could resume from before the next one: so a job that is stopped or
killed at any moment ends with the same best model.
"""

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from engine.run.checkpoint import Run
from engine.run.disk import remove
from engine.run.states import states, step_of
from engine.run.tracking import beside_baseline
from engine.train.loop import Hooks
from engine.train.sharding import shards_asked_for
from finetune.ask.predict_split import Encodings, predict_encoded
from finetune.jobs import Job
from finetune.lora import merge_adapters
from finetune.questions.encoding import Predictions
from finetune.tasks.metrics import score, score_baseline
from finetune.tasks.task import Task
from tokenizer.load import fit_tokenizer

if TYPE_CHECKING:
    from accelerate import Accelerator

Scores = dict[str, dict[str, float]]  # split → metric → value
BEST = "best"


def check_choices(job: Job, encodings: Encodings) -> None:
    """Refuse what the job's task has not, before any job is trained. Errors: ValueError."""
    task, rows = encodings.task, encodings.rows
    if job.recipe.plan.eval_steps and shards_asked_for():
        raise ValueError("plan.eval_steps: a model in shards is not evaluated during fine-tuning; set it to 0, or "
                         "launch with accelerate_configs/multi_gpu.yaml")  # fmt: skip
    if job.recipe.lora_rank and shards_asked_for():
        raise ValueError("lora_rank: a model in shards has no LoRA here; launch with accelerate_configs/multi_gpu.yaml")
    if job.recipe.class_weight == "balanced":
        task.question.weigh_labels(task, rows[task.train_split])
    if asked := job.recipe.plan.metric_for_best_model:
        baseline = score_baseline(task, encodings.all_training_rows, rows[task.dev_splits[0]])
        known = [name for name in baseline if name != "undefined"]
        if asked not in known:
            raise ValueError(
                f"plan.metric_for_best_model is {asked!r}, which is no score of {task.name}; choose one of "
                f"{', '.join(known)}, or leave it out: {task.headline}"
            )


def score_dev(
    job: Job, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, encodings: Encodings,
    accelerator: "Accelerator",
) -> tuple[dict[str, Predictions], Scores]:  # fmt: skip
    """Predict and score the dev splits. `model` must be in evaluation mode."""
    task, rows, question = encodings.task, encodings.rows, encodings.task.question
    found: dict[str, Predictions] = {}
    for split in task.dev_splits:
        encoded = encodings.of(split, tokenizer, job.recipe.max_seq_length)
        predictions = predict_encoded(model, task, encoded, tokenizer, accelerator)
        found[split] = question.choose_on_dev(task, model, predictions, rows[split])
    return found, {split: score(task, predictions.answers, rows[split]) for split, predictions in found.items()}


def by_split(scores: Scores, before: str = "") -> dict[str, float]:
    """Scores by their names in the log, such as `dev_accuracy`."""
    return {f"{before}{split}_{name}": value for split, names in scores.items() for name, value in names.items()}


def score_words(task: Task, values: dict[str, float], before: str = "") -> list[str]:
    """What the console says of an evaluation: the task's headline on each dev split, beside its baseline. The names in
    `values` are those of `by_split`, with `before` in front."""
    lines = []
    for split in task.dev_splits:
        is_undefined = values.get(f"{before}{split}_undefined")
        words = beside_baseline(f"{before}{split}_{task.headline}", values)
        lines.append(words + (" (undefined: all answers of the model are alike)" if is_undefined else ""))
    return lines


class Checks(Hooks):
    """Evaluations on the dev rows during training, and the best model of them."""

    def __init__(
        self, job: Job, tokenizer: PreTrainedTokenizerFast, encodings: Encodings, baselines: Scores, run: Run,
        accelerator: "Accelerator",
    ):  # fmt: skip
        self.job, self.tokenizer, self.encodings = job, tokenizer, encodings
        self.run, self.accelerator = run, accelerator
        self.plan, self.baselines = job.recipe.plan, by_split(baselines, "baseline_")
        self.metric = self.plan.metric_for_best_model or encodings.task.headline
        self.values: dict[int, float | None] = {}  # of the metric, by step; None: it was no number

    @property
    def best_step(self) -> int:
        """The step of the best evaluation, the first of equals."""
        return max(self.values, key=lambda step: -math.inf if (value := self.values[step]) is None else value)

    @property
    def best_folder(self) -> Path:
        return self.job.folder / BEST / f"step-{self.best_step}"

    @property
    def enough(self) -> bool:
        patience = self.plan.early_stopping_patience
        return bool(patience and self.values) and sum(step > self.best_step for step in self.values) >= patience

    def evaluate(self, model: nn.Module, step: int) -> dict[str, float]:
        assert isinstance(model, PreTrainedModel)
        _, scores = score_dev(self.job, model, self.tokenizer, self.encodings, self.accelerator)
        value = scores[self.encodings.task.dev_splits[0]].get(self.metric, math.nan)
        self.values[step] = value if math.isfinite(value) else None
        return by_split(scores, "eval_") | self.baselines

    def in_words(self, found: dict[str, float]) -> list[str]:
        return score_words(self.encodings.task, found, "eval_")

    def keep(self, model: nn.Module, step: int) -> None:
        assert isinstance(model, PreTrainedModel)
        if self.plan.load_best_model_at_end and self.best_step == step:
            whole = merge_adapters(model) if self.job.recipe.lora_rank else model
            self.run.export(whole, fit_tokenizer(self.tokenizer, whole), target=self.best_folder)
            if self.accelerator.is_main_process:
                drop_beaten(self.job.folder)

    def publish(self, step: int) -> None:
        """Only a finished job's model is published."""

    def carried(self) -> dict[str, Any]:
        return {"values": {str(step): value for step, value in self.values.items()}}

    def restore(self, step: int, carried: dict[str, Any]) -> None:
        """Errors: ValueError if the best model of the state is gone."""
        self.values = {int(name): value for name, value in carried.get("values", {}).items()}
        if self.plan.load_best_model_at_end and self.values and not self.best_folder.is_dir():
            raise ValueError(f"{self.best_folder}, the best model so far, is gone; restore it, or delete "
                             f"{self.job.folder / 'state'} to train the job from its first step")  # fmt: skip
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            for found in states(self.job.folder / BEST):
                if step_of(found) > step:  # of steps that will be taken again, perhaps otherwise
                    remove(found)

    def words(self, steps: int, planned: int) -> str:
        """What was chosen, and whether training ended before its plan, in words."""
        stopped = f"stopped early, at step {steps} of {planned}; " if steps < planned else ""
        value = self.values[self.best_step]
        shown = "undefined" if value is None else f"{value:.4g}"
        which = f"the best of {len(self.values)} evaluations ({self.metric} {shown})"
        return f"{stopped}the model is that of step {self.best_step}, {which}"

    def facts(self) -> dict[str, Any]:
        """What a results line says of the choice."""
        value = self.values[self.best_step]
        return {"step": self.best_step, "metric": self.metric, "value": value, "evaluations": len(self.values)}


def drop_beaten(folder: Path) -> None:
    """Delete a job's best models but for the last, and for those that were the best when a state was saved."""
    there = states(folder / BEST)
    kept = {there[-1]}
    for state in states(folder / "state"):
        kept |= set([best for best in there if step_of(best) <= step_of(state)][-1:])
    for best in there:
        if best not in kept:
            remove(best)


def drop_best(folder: Path) -> None:
    """Delete all of a job's best models: it is finished, and the best is its model."""
    shutil.rmtree(folder / BEST, ignore_errors=True)
