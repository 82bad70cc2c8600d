"""From a model folder to scores: fine-tune one model on tasks, each with several seeds and settings.

    cloze finetune RECIPE.yaml --model M --task glue/rte
    accelerate launch --config_file accelerate_configs/multi_gpu.yaml -m finetune.run RECIPE.yaml --model M

A job is a task with a seed and a point of the grid. Finished jobs are not done again: the same command resumes where it
was stopped, within a job and between jobs. It ends in the table, runs/NAME/table.md, .html and .json.
"""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import field, fields, make_dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from engine.publish.hub import Publisher
from engine.run.agreement import Apart, agree, contents, surroundings, weights
from engine.run.architecture import count_positions
from engine.run.checkpoint import Run
from engine.run.disk import read_json, whole_file
from engine.run.finite import not_finite_in, strict_json
from engine.run.folders import JOB, Taken, check_folder
from engine.run.precision import Precision, precision_of
from engine.run.recipe import read
from engine.run.runtime import alone, forget_peak, make_accelerator, program, seed_weights
from engine.run.saved import located
from engine.run.states import drop_states
from engine.run.tracking import Tracker
from engine.train.batches import Batches
from engine.train.last_layer import read_first
from engine.train.loop import Training, train
from finetune.ask.predict_split import Encodings, find_test_splits, predict_rows
from finetune.batches import make_epochs
from finetune.card import make_card
from finetune.checks import Checks, Scores, by_split, check_choices, drop_best, score_dev, score_words
from finetune.decoder import WithLanguageModel, add_frame, refuse_encoder
from finetune.facts import job_facts
from finetune.jobs import RUNS, Job, find_start, is_ready, list_jobs, write_job_list, write_results
from finetune.lora import add_adapters, merge_adapters
from finetune.model import find_commit, freeze_encoder, open_model
from finetune.questions.encoding import Encoded
from finetune.recipe import FinetuneRecipe
from finetune.table.analysis import write_analysis
from finetune.table.pages import write_table
from finetune.table.predictions import write_predictions
from finetune.table.results import read_what_is_there
from finetune.tasks.task import Task, checksums, find_task, open_task
from tokenizer.load import fit_tokenizer, load_tokenizer, tokenizer_hash

if TYPE_CHECKING:
    from accelerate import Accelerator

Agree = Callable[..., None]  # compares facts with the other processes of the run, see engine.run.agreement
PATIENCE = 5  # seconds between two looks at a job that waits for another process's


@program
def main(argv: list[str]) -> None:
    example = "recipes/finetune/demo.yaml --name try/pair --model runs/try/bert --task docs/pair"
    finetune(read(FinetuneRecipe, argv, "python -m finetune.run", example))


def finetune(recipe: FinetuneRecipe) -> list[dict[str, Any]]:
    """Do every job of a recipe that is not done yet, and write the table. Return the lines of results.jsonl: one for
    each finished job of the run, with its `metrics` and its `headline` score; none but on the first process.

    Errors: ValueError and OSError for what is wrong with recipe, model, data or disk; `engine.run.processes.Stopped`
    once a signal came and the state is saved.
    """
    if recipe.share == "jobs":
        alone()
    folder = RUNS / recipe.name
    accelerator = make_accelerator(0, Precision.asked_by(recipe, folder))
    recipe = replace(recipe, **precision_of(accelerator))
    shared = shared_part(recipe)
    compare = check_agreement(recipe, shared, accelerator)
    found = list_jobs(recipe)
    if recipe.overwrite or not all(job.finished for job in found):
        located(recipe.model)  # what is not there is said before anything is read
    run = Run(folder, shared, accelerator, recipe.overwrite, shared=recipe.share == "jobs")
    if accelerator.is_main_process:
        write_job_list(run.folder, found)
    run_jobs(found, compare, accelerator)
    return report(run.folder, found) if accelerator.is_main_process else []


def shared_part(recipe: FinetuneRecipe) -> Any:
    """What makes the results of a run comparable, as a recipe of its own. Tasks, seeds and values to try may be added
    to a run, and what is operational stays so."""
    free = ("task", "seeds", "grid", "settings", "report_to")
    kept = [(each.name, each.type, field(metadata=each.metadata)) for each in fields(recipe) if each.name not in free]
    values = {name: getattr(recipe, name) for name, *_ in kept}
    return make_dataclass("SharedPart", kept, frozen=True)(**values)


def check_agreement(recipe: FinetuneRecipe, shared: Any, accelerator: "Accelerator") -> Agree:
    """Make sure that all processes at this run mean the same by it; what else has to be alike is asked by the result.

    Processes that do each job together also compare the weights that they have read; those that do jobs of their own
    compare the model's files.
    """
    if recipe.share == "batches":
        agree(accelerator, **vars(recipe), **surroundings(accelerator))
        return partial(agree, accelerator)
    folder = RUNS / recipe.name
    check_folder(folder, shared)
    company, source = Apart(folder), located(recipe.model)
    given = contents(Path(source)) if Path(source).is_dir() else find_commit(source, recipe.revision)
    company.agree(**{**vars(shared), "model": {recipe.model: given}}, **surroundings(accelerator))
    return company.agree


def run_jobs(found: list[Job], compare: Agree, accelerator: "Accelerator") -> None:
    """Run every job that is not finished. What other processes work at is left to them."""
    left = [job for job in found if not job.finished]
    if accelerator.is_main_process:
        for job in found:
            if job not in left:
                clear_up(job)
    recipes = {job.task: job.recipe for job in left}  # rows are opened first: a bad one shows before any training
    encodings = {
        name: Encodings(*open_task(find_task(name), recipe.data), recipe.max_train_samples)
        for name, recipe in recipes.items()
    }
    for job in left:
        check_choices(job, encodings[job.task])
    compare(rows={name: checksums(encoding.rows) for name, encoding in encodings.items()})
    while left:
        later, taken = [], []
        for job in left:
            if not is_ready(job, found):
                later.append(job)
            elif job.finished:  # another process was faster, perhaps with another recipe
                check_folder(job.folder, job.recipe, JOB)
            else:
                try:
                    run_job(job, found, encodings[job.task], accelerator)
                    if accelerator.is_main_process:
                        write_results(RUNS / job.recipe.name)
                except Taken:
                    if job.recipe.share == "batches":
                        raise
                    taken.append(job)
        left = later + taken if later else []
        if later and accelerator.num_processes == 1:
            time.sleep(PATIENCE)


def report(folder: Path, found: list[Job]) -> list[dict[str, Any]]:
    """Write the table of all that is finished in the run, and say it. Return the results lines."""
    if lines := write_results(folder):
        write_table(folder, *read_what_is_there([folder]))
        print((folder / "table.md").read_text(encoding="utf-8"))
    missing = sum(not job.finished for job in found)
    others = f"; {missing} jobs are with other processes" if missing else ""
    print(f"results: {folder / 'results.jsonl'}, table.md, table.html, table.json{others}")
    return lines


def run_job(job: Job, found: list[Job], encodings: Encodings, accelerator: "Accelerator") -> None:
    """Fine-tune and evaluate one job; its results line becomes its finished.json."""
    run = Run(job.folder, job.recipe, accelerator, kind=JOB)
    if run.finished:
        return  # another process was faster
    memory_of = "job" if forget_peak() else "process"
    tracker = Tracker(job.folder, accelerator, job.recipe.report_to)
    publisher = Publisher(job.recipe.hub, job.folder, accelerator, tracker.note)
    before = find_start(job, found)
    line = job_facts(job, encodings, accelerator)
    line |= {"started_from": str(before.folder) if before else "", "peak_rss_of": memory_of}
    try:
        model, tokenizer, facts = train_job(job, before, encodings, line["majority"], run, tracker, accelerator)
        line |= facts | evaluate_job(job, model, tokenizer, encodings, line["majority"], tracker, accelerator)
    except FloatingPointError as error:
        tracker.note(f"{job.words} failed: {error}")
        line |= {"metrics": {}, "headline": {"name": encodings.task.headline, "value": None}, "failure": str(error)}
        run.finish(**line)
        if accelerator.is_main_process:
            clear_up(job)
        tracker.close()
        return
    card = make_card(encodings.task, model, line, job.recipe.hub)
    # What was chosen on dev is in the model's config now.
    folder = run.export(model, fit_tokenizer(tokenizer, model), card, job.recipe.hub.repo)
    publisher.finish(folder, facts["steps"])
    run.finish(**line)
    tracker.close()
    if accelerator.is_main_process:
        clear_up(job)
    accelerator.free_memory()


def clear_up(job: Job) -> None:
    """Delete what a finished job has no use for: its states, and a model that is not wanted or that failed.

    Not before it is finished: a job that is killed resumes from its model. It is called again for jobs of earlier
    launches, which may have been killed before it.
    """
    drop_states(job.folder)
    drop_best(job.folder)
    if not job.recipe.save_model or (job.finished or {}).get("metrics") == {}:
        shutil.rmtree(job.folder / "model", ignore_errors=True)


def train_job(
    job: Job, before: Job | None, encodings: Encodings, baselines: Scores, run: Run, tracker: Tracker,
    accelerator: "Accelerator",
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, dict[str, Any]]:  # fmt: skip
    """The fine-tuned model with its tokenizer and what the training took. What an earlier launch trained is opened."""
    task, recipe, trained = encodings.task, job.recipe, job.folder / "trained.json"
    question = task.question
    if trained.exists():
        if found := not_finite_in(job.folder / "model"):
            raise FloatingPointError(f"an earlier launch left weights that are not finite: {found}")
        tokenizer = add_frame(load_tokenizer(str(job.folder / "model")))
        model = open_trained(job.folder / "model", task, tokenizer, accelerator)
        tracker.note(f"{job.words}: trained by an earlier launch")
        if accelerator.is_main_process:
            drop_evaluation(job.folder / "metrics.jsonl")
        return model, tokenizer, read_training_facts(job)
    source = located(str(before.folder / "model") if before else recipe.model)
    pinned = find_commit(source, recipe.revision)
    tokenizer = add_frame(load_tokenizer(source, pinned or recipe.revision))
    seed_weights(job.seed)
    model, fresh = open_model(
        source, question, task, tokenizer, recipe.config, recipe.init == "random", pinned or recipe.revision
    )
    agree(accelerator, tokenizer=tokenizer_hash(tokenizer), model=weights(model))
    check_length(recipe.max_seq_length, model)
    if recipe.auxiliary_lm:
        refuse_encoder(model)
    read_first(model)
    if recipe.lora_rank:
        add_adapters(model, recipe.lora_rank, fresh)
    if recipe.freeze_encoder or recipe.lora_rank:
        tracker.note(f"{job.words}: {freeze_encoder(model, fresh)}")
    tracker.note(f"{job.words}: weights that are not pretrained and start random: {', '.join(fresh)}")
    encoded = encodings.of(task.train_split, tokenizer, recipe.max_seq_length)
    report_data(job, encodings, encoded, tokenizer, tracker, accelerator)
    if recipe.class_weight == "balanced":
        question = question.weigh_labels(task, encodings.rows[task.train_split])
    columns = question.trainable(encoded.columns)
    objective = WithLanguageModel(question, recipe.auxiliary_lm) if recipe.auxiliary_lm else question
    plan = recipe.plan.plan(steps_per_epoch=-(-len(columns["input_ids"]) // recipe.plan.global_batch_size))
    batches = Batches(make_epochs(columns, objective, tokenizer, plan.global_batch_size, job.seed), plan, accelerator)
    checks = Checks(job, tokenizer, encodings, baselines, run, accelerator) if plan.eval_steps else None
    if plan.eval_steps >= plan.max_steps:
        tracker.note(f"plan.eval_steps is {plan.eval_steps}, and the training takes {plan.max_steps} steps: it is "
                     "evaluated at its end alone")  # fmt: skip
    training = Training(model, objective.loss, batches, plan, recipe.optimizer, recipe.schedule, job.seed, hooks=checks)
    steps = train(training, run, tracker, accelerator)
    model = merge_adapters(model) if recipe.lora_rank else model
    facts: dict[str, Any] = {"steps": steps, "training_seconds": round(run.seconds, 1), "model_commit": pinned}
    facts["passes"] = round(steps * plan.global_batch_size / len(columns["input_ids"]), 3)  # below 1: not every row
    facts["examples_per_second"] = round(steps * plan.global_batch_size / run.seconds, 1)
    if checks and recipe.plan.load_best_model_at_end:
        facts["best"] = checks.facts()
        tracker.note(f"{job.words}: {checks.words(steps, plan.max_steps)}")
        model = open_trained(checks.best_folder, task, tokenizer, accelerator)
    run.export(model, fit_tokenizer(tokenizer, model))  # a kill from here on costs no training
    if accelerator.is_main_process:
        whole_file(trained, strict_json(facts).encode())
    accelerator.wait_for_everyone()
    return model, tokenizer, facts


def open_trained(
    folder: Path, task: Task, tokenizer: PreTrainedTokenizerFast, accelerator: "Accelerator"
) -> PreTrainedModel:
    """A model that a job has saved, where it computes."""
    model, _ = open_model(str(folder), task.question, task, tokenizer, {}, fresh=False)
    return read_first(model).to(accelerator.device)


def drop_evaluation(metrics: Path) -> None:
    """Leave only training's own lines: a job killed in its evaluation is evaluated again, and reported once."""
    if metrics.exists():
        lines = [line for line in metrics.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        whole_file(metrics, b"".join(line for line in lines if b'"loss": ' in line or b'"eval_' in line))


def read_training_facts(job: Job) -> dict[str, Any]:
    """What the job's training took. Errors: ValueError if the file is damaged."""
    return read_json(job.folder / "trained.json", "steps", advice="delete it, and the job is trained again")


def evaluate_job(
    job: Job, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, encodings: Encodings, baselines: Scores,
    tracker: Tracker, accelerator: "Accelerator",
) -> dict[str, Any]:  # fmt: skip
    """Predict and score the dev splits, beside their `baselines`; then predict the test splits, if they are wanted."""
    task, rows, question = encodings.task, encodings.rows, encodings.task.question
    model.eval()
    found, metrics = score_dev(job, model, tokenizer, encodings, accelerator)
    for split, names in metrics.items():
        if strange := [name for name, value in names.items() if not math.isfinite(value)]:
            raise FloatingPointError(f"{strange[0]} on {split} is {names[strange[0]]}, which is no score")
    if not job.recipe.plan.eval_steps:  # else the last evaluation, or the best, is in the log
        steps = read_training_facts(job)["steps"]
        values = by_split(metrics) | by_split(baselines, "baseline_")
        tracker.log_evaluation(steps, values, score_words(task, values))
    if accelerator.is_main_process:
        for split, predictions in found.items():
            write_predictions(job.folder, task, split, rows[split], predictions)
        question.export(job.folder, task, rows[task.dev_splits[0]], found[task.dev_splits[0]])
        write_analysis(job.folder, task, {split: rows[split] for split in found}, found)
    for tested, split, split_rows in find_test_splits(job, task, rows, tracker):
        predictions = predict_rows(model, tested, split_rows, tokenizer, job.recipe.max_seq_length, accelerator)
        if accelerator.is_main_process:
            write_predictions(job.folder, tested, split, split_rows, predictions)
    return {
        "metrics": metrics,
        "headline": {"name": task.headline, "value": metrics[task.dev_splits[0]][task.headline]},
        "failure": question.describe_collapse(task, found[task.dev_splits[0]]),
    }


def report_data(
    job: Job, encodings: Encodings, encoded: Encoded, tokenizer: PreTrainedTokenizerFast, tracker: Tracker,
    accelerator: "Accelerator",
) -> None:  # fmt: skip
    """Report what is trained and evaluated on, before the first step."""
    if encoded.num_cut:
        tracker.note(
            f"{encoded.num_cut} of {len(encoded.cut)} training rows are cut at max_seq_length "
            f"{job.recipe.max_seq_length}: {sum(encoded.cut)} tokens are not read"
        )
    if accelerator.is_main_process:
        text = encodings.report(tokenizer, job.recipe.max_seq_length)
        whole_file(job.folder / "data_report.md", text.encode())
        tracker.note(f"the data: {job.folder / 'data_report.md'}")


def check_length(length: int, model: PreTrainedModel) -> None:
    """Refuse inputs that the model has no positions for, before the first step."""
    if length > (most := count_positions(model)):
        raise ValueError(f"max_seq_length is {length}, but the model has {most} positions; lower max_seq_length")


if __name__ == "__main__":
    main()
