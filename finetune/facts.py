"""What was done, on which rows, and with what?  The part of a results line that is known before there is a result."""

import os
import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from engine.run.recipe import resolved
from engine.run.runtime import commit, hardware
from finetune.ask.predict_split import Encodings
from finetune.jobs import Job
from finetune.recipe import FinetuneRecipe
from finetune.tasks.metrics import score_baseline
from finetune.tasks.task import checksums, provenance

if TYPE_CHECKING:
    from accelerate import Accelerator


def job_facts(job: Job, encodings: Encodings, accelerator: "Accelerator") -> dict[str, Any]:
    """A results line before there is a result: what is done, on which rows, and all that it takes to do it again."""
    recipe, task, rows, all_rows = job.recipe, encodings.task, encodings.rows, encodings.all_training_rows
    drawn = {"drawn_from": len(all_rows)} if len(all_rows) > len(rows[task.train_split]) else {}
    return {
        "task": task.name,
        "model": recipe.model,
        "label": name_system(recipe),
        "init": recipe.init,
        "seed": job.seed,
        "setting": job.setting,
        "majority": {split: score_baseline(task, all_rows, rows[split]) for split in task.dev_splits},
        "held_out": recipe.data.hold_out,
        "sizes": {split: len(rows[split]) for split in (task.train_split, *task.dev_splits)},
        "rows": checksums({split: rows[split] for split in task.dev_splits}),
        "hyperparameters": hyperparameters(recipe),
        "commit": commit(),
        "hardware": hardware(),
        "processes": accelerator.num_processes,
        "worker": f"{platform.node()}:{os.getpid()}",  # of several that share the jobs
        "precision": accelerator.mixed_precision,
        "data": provenance(rows),
        **drawn,
    }


def name_system(recipe: FinetuneRecipe) -> str:
    """What the table calls the model, and what of it was not trained."""
    name = recipe.label or recipe.model.rstrip("/").removesuffix("/model").rsplit("/", 1)[-1]
    if recipe.lora_rank:
        return f"{name}, LoRA {recipe.lora_rank}"
    return f"{name}, frozen encoder" if recipe.freeze_encoder else name


def hyperparameters(recipe: FinetuneRecipe) -> dict[str, Any]:
    """What was chosen, as against what was given."""
    plan = asdict(recipe.plan)
    chosen = {name: plan[name] for name in ("num_train_epochs", "global_batch_size", "max_grad_norm")}
    settings = resolved(recipe)
    names = ["optimizer", "schedule", "max_seq_length", "config"]
    sometimes = ("auxiliary_lm", "freeze_encoder", "lora_rank", "start_from", "max_train_samples")
    names += [name for name in sometimes if settings[name]]
    names += ["class_weight"] if recipe.class_weight != "equal" else []
    if recipe.plan.load_best_model_at_end:
        how = ("eval_steps", "load_best_model_at_end", "metric_for_best_model", "early_stopping_patience")
        chosen |= {name: plan[name] for name in how}
    return chosen | {name: settings[name] for name in names}
