"""From a model folder to scores: fine-tune one model on tasks, each with several seeds.

    accelerate launch --config_file accelerate_configs/cpu.yaml -m finetune.run RECIPE.yaml --model M --task glue/rte

A job is a task with a seed. Finished jobs, the lines of runs/NAME/results.jsonl, are not run again; the same command
goes on where it was stopped.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from transformers import PreTrainedModel

from engine.batches import Batches
from engine.checkpoint import Run
from engine.loop import train
from engine.recipe import read, resolved
from engine.runtime import commit, hardware, make_accelerator, peak_rss_mb, program, seed_weights
from engine.tracking import Tracker
from finetune.answer import answer, encode, framed
from finetune.baselines import majority
from finetune.examples import epochs
from finetune.heads import HEADS
from finetune.model import located, open_model
from finetune.recipe import FinetuneRecipe
from finetune.results import read as read_results
from finetune.score import score
from finetune.task import Rows, Task, all_tasks, find_task, provenance
from tokenizer.load import load_tokenizer

if TYPE_CHECKING:
    from accelerate import Accelerator


@program
def main(argv: list[str]) -> None:
    recipe = read(FinetuneRecipe, argv)
    tasks = [trainable(find_task(name)) for name in recipe.task]
    accelerator = make_accelerator(seed=0)
    # Tasks and seeds may be added to a run; all else is what makes its results comparable.
    shared = {key: value for key, value in vars(recipe).items() if key not in ("task", "seeds")}
    run = Run(Path("runs") / recipe.name, shared, accelerator, recipe.overwrite)
    todo = {
        task: seeds
        for task in tasks
        if (seeds := [seed for seed in recipe.seeds if not is_finished(run.folder, task, seed)])
    }
    for task, rows in [(task, task.load(recipe.data)) for task in todo]:  # a bad row shows before anything is trained
        for seed in todo[task]:
            line = run_job(replace(recipe, task=(task.name,), seeds=(seed,), overwrite=False), task, rows, accelerator)
            if accelerator.is_main_process:
                with (run.folder / "results.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        print(f"results: {run.folder / 'results.jsonl'}")


def trainable(task: Task) -> Task:
    """Refuse a task without training rows."""
    if not task.train_split:
        raise ValueError(
            f"{task.name} has no training rows: run {task.trained_as} with --predict-test True, whose model predicts it"
        )
    return task


def is_finished(folder: Path, task: Task, seed: int) -> bool:
    """Whether results.jsonl has this job's line."""
    path = folder / "results.jsonl"
    results = read_results(path) if path.exists() else []
    return any((result.task, result.seed) == (task.name, seed) for result in results)


def run_job(recipe: FinetuneRecipe, task: Task, rows: Rows, accelerator: "Accelerator") -> dict[str, Any]:
    """Fine-tune and judge one job; return its results line."""
    seed, head = recipe.seeds[0], HEADS[task.head]
    folder = Path("runs") / recipe.name / task.name.replace("/", "-") / f"seed-{seed}"
    run = Run(folder, recipe, accelerator)
    tracker = Tracker(folder, accelerator)
    source = located(recipe.model)
    tokenizer = framed(load_tokenizer(source))
    tested = predicted(task, rows, recipe, tracker) if recipe.predict_test else []

    seed_weights(seed)
    model, fresh = open_model(source, head, task, tokenizer, recipe.config, recipe.init == "random")
    refuse_too_long(recipe.max_length, model)
    tracker.note(f"{task.name}, seed {seed}: starting random: {', '.join(fresh)}")
    encoded = encode(task, rows[task.train_split], tokenizer, recipe.max_length)
    if encoded.num_lost:
        tracker.note(f"{encoded.num_lost} words of the training rows lie beyond max_length {recipe.max_length}")
    columns = head.trained_on(encoded.columns)
    open_epoch = epochs(columns, head, tokenizer, recipe.plan.global_batch, seed)
    steps_per_epoch = -(-len(columns["input_ids"]) // recipe.plan.global_batch)
    plan = recipe.plan.plan(steps_per_epoch)
    batches = Batches(open_epoch, plan, accelerator)
    train(model, head.loss, batches, plan, recipe.optimizer, recipe.schedule, seed, run, tracker, accelerator)

    model.eval()
    metrics = {}
    for split in task.dev_splits:
        answers = answer(
            model, task, rows[split], tokenizer, recipe.max_length, 4 * recipe.plan.device_batch, accelerator
        ).answers
        metrics[split] = score(task, answers, rows[split])
        tracker.log(plan.steps, **{f"{split}_{name}": value for name, value in metrics[split].items()})
    for judged, split, split_rows in tested:
        answers = answer(
            model, judged, split_rows, tokenizer, recipe.max_length, 4 * recipe.plan.device_batch, accelerator
        ).answers
        if accelerator.is_main_process:
            path = folder / f"{judged.name.replace('/', '-')}-{split}.jsonl"
            write_predictions(path, judged, split_rows, answers)
    if recipe.save_model:
        tokenizer.backend_tokenizer.no_truncation()  # encoding has set its own
        run.export(model, tokenizer)
    run.finish(**metrics)
    accelerator.free_memory()
    return results_line(recipe, task, rows, metrics) | {
        "seconds": round(run.seconds, 1),
        "peak_rss_mb": round(peak_rss_mb()),
        "precision": accelerator.mixed_precision,
        "model_commit": getattr(model.config, "_commit_hash", None),  # of a Hub model
    }


def results_line(
    recipe: FinetuneRecipe, task: Task, rows: Rows, metrics: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """What a job found, on which rows, and all that it takes to find it again."""
    return {
        "task": task.name,
        "model": recipe.model,
        "label": recipe.label or recipe.model.rstrip("/").removesuffix("/model").rsplit("/", 1)[-1],
        "init": recipe.init,
        "seed": recipe.seeds[0],
        "metrics": metrics,
        "headline": {"name": task.headline, "value": metrics[task.dev_splits[0]][task.headline]},
        "majority": {split: majority(task, rows[task.train_split], rows[split]) for split in task.dev_splits},
        "sizes": {split: len(rows[split]) for split in (task.train_split, *task.dev_splits)},
        "hyperparameters": hyperparameters(recipe),
        "commit": commit(),
        "hardware": hardware(),
        "data": provenance(rows),
    }


def predicted(task: Task, rows: Rows, recipe: FinetuneRecipe, tracker: Tracker) -> list[tuple[Task, str, Dataset]]:
    """The test splits to predict: the task's own, and those of tasks that its model stands in for (AX)."""
    found = [(task, split, rows[split]) for split in task.test_splits if split in rows]
    for ward in all_tasks().values():
        if ward.trained_as == task.name:
            try:
                loaded = ward.load(recipe.data)
            except FileNotFoundError as error:  # as with every test file: only a submission needs it
                tracker.note(f"{ward.name} is not predicted: {error}")
                continue
            found += [(ward, split, loaded[split]) for split in ward.test_splits]
    if not any(judged is task for judged, *_ in found):
        tracker.note(f"{task.name} has no test rows to predict in {recipe.data.path or recipe.data.source}")
    return found


def write_predictions(path: Path, task: Task, rows: Dataset, answers: Any) -> None:
    """One JSON line a row, in order: its id and the answer, a label by its name."""
    with path.open("w", encoding="utf-8") as file:
        for number, row_id in enumerate(rows["id"]):
            answer = answers[row_id] if isinstance(answers, dict) else answers[number]
            file.write(json.dumps({"id": row_id, "prediction": named(task, answer)}, ensure_ascii=False) + "\n")


def named(task: Task, answer: Any) -> Any:
    """A label or tag by its name; a score or a text as it is."""
    if task.head == "tagging":
        return [task.labels[tag] for tag in answer]
    return task.labels[answer] if task.head == "classification" else answer


def hyperparameters(recipe: FinetuneRecipe) -> dict[str, Any]:
    """What was chosen, as against what was given."""
    plan = asdict(recipe.plan)
    chosen = {name: plan[name] for name in ("epochs", "global_batch", "max_grad_norm")}
    settings = resolved(recipe)
    return chosen | {name: settings[name] for name in ("optimizer", "schedule", "max_length", "config")}


def refuse_too_long(length: int, model: PreTrainedModel) -> None:
    """Refuse inputs that the model has no positions for, before the first step."""
    positions = model.config.max_position_embeddings
    if length > positions:
        raise ValueError(f"max_length is {length}, but the model has {positions} positions; lower max_length")


if __name__ == "__main__":
    main()
