"""How long does fine-tuning take, at which score?  `finetune.run` beside transformers' Trainer, on small GLUE tasks.

    python -m benchmarks.finetuning [--tasks rte mrpc cola stsb] [--seeds 0 1 2 3 4] [--epochs 3] [--model M]

Both fine-tune the same checkpoint with the same hyper-parameters and seeds; the plain way is `Trainer` with
`DataCollatorWithPadding`: random batches, padded to the longest of their rows. Ours computes in the precision and with
the kernels that it chooses here, `plain` in the same, and `default` in fp32 with torch's own kernels, for the first
--default_seeds alone. Times are CPU seconds of
the training loop on one thread, so that what else the machine does takes nothing from either. Each finished fine-tuning
is a file in --out, and is not done again.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measuring import finish, ratio
from engine.run.options import read_options
from engine.run.runtime import program

REPOSITORY = Path(__file__).resolve().parents[1]
TASKS = ("rte", "mrpc", "cola", "stsb")
WAYS = ("ours", "plain", "default")
BATCH, LR, WARMUP, MAX_LENGTH = 32, 1e-4, 0.1, 128
OPTIMIZER = {"learning_rate": LR, "weight_decay": 0.01, "betas": [0.9, 0.999], "eps": 1e-6}

Found = dict[str, Any]  # one fine-tuning: seconds, steps, score


@dataclass(frozen=True)
class Options:
    """Measure fine-tuning beside transformers' Trainer."""

    tasks: tuple[str, ...] = TASKS  # of GLUE
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    default_seeds: int = 1  # of those, for the plain way's default precision
    epochs: float = 3.0
    model: str = "checkpoints/all-MiniLM-L6-v2"  # the checkpoint
    data: str = "glue"  # the folder of its files
    out: Path = Path("runs/benchmark-finetuning")  # a file for each finished fine-tuning
    one: tuple[str, str, int] | None = None  # WAY TASK SEED: do this fine-tuning in this process


@program
def main(argv: list[str]) -> None:
    asked = read_options(Options, argv, "python -m benchmarks.finetuning")
    if asked.one:
        way, task, seed = asked.one
        run = ours if way == "ours" else plain
        print(json.dumps(run(task, int(seed), asked, **({} if way == "ours" else {"as_ours": way == "plain"}))))
        return
    found: dict[tuple[str, str, int], Found] = {}
    for task in asked.tasks:
        for number, seed in enumerate(asked.seeds):
            for way in WAYS[: 3 if number < asked.default_seeds else 2]:
                found[task, way, seed] = one = kept(asked, argv, way, task, seed)
                print(f"{task} {way} seed {seed}: {one['seconds']:.0f} CPU-seconds, {one['score']:.4f}", flush=True)
    finish({task: compared(found, task) for task in asked.tasks} | {"epochs": asked.epochs, "model": asked.model})


def kept(asked: Options, argv: Sequence[str], way: str, task: str, seed: int) -> Found:
    """One fine-tuning in a process of its own, or what an earlier one found."""
    path = asked.out / f"{task}-{way}-{seed}-{asked.epochs:g}.json"
    if not path.exists():
        asked.out.mkdir(parents=True, exist_ok=True)
        environment = {"ACCELERATE_USE_CPU": "true", **os.environ, "OMP_NUM_THREADS": "1"}
        if way == "default":  # Trainer takes bf16 from it, too
            environment["ACCELERATE_MIXED_PRECISION"] = "no"
        command = [sys.executable, "-m", "benchmarks.finetuning", *argv, "--one", way, task, str(seed)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, cwd=Path.cwd())
        path.write_text(done.stdout.strip().splitlines()[-1])
    return json.loads(path.read_text())


def compared(found: dict[tuple[str, str, int], Found], task: str) -> dict[str, Any]:
    """The ratios of the times and both scores, medians over seeds."""
    of = {way: [one for (of_task, of_way, _), one in found.items() if (of_task, of_way) == (task, way)] for way in WAYS}
    seconds = {way: [one["seconds"] for one in ones] for way, ones in of.items()}
    scores = {way: [one["score"] for one in ones] for way, ones in of.items()}
    return {
        "ratio_equal_precision": ratio(seconds["plain"], seconds["ours"]),
        "ratio_default": ratio(seconds["default"], seconds["ours"]),
        "score_ours": median(scores["ours"]),
        "score_plain": median(scores["plain"]),
        "scores": scores,
        "cpu_seconds": {way: median(values) for way, values in seconds.items()},
    }


def ours(task: str, seed: int, asked: Options) -> Found:
    """`finetune.run` itself, with a clock around its loop."""
    import torch

    import finetune.run as loaded

    program_of_run: Any = loaded
    torch.set_num_threads(1)
    spent: list[float] = []
    train = program_of_run.train

    def timed(*arguments: Any) -> int:
        began = now()
        steps = train(*arguments)
        spent.append(now() - began)
        return steps

    program_of_run.train = timed
    name = f"benchmark-finetuning/{task}-{seed}"
    recipe = {
        "name": name, "model": asked.model, "task": [f"glue/{task}"], "data": {"source": "folder", "path": asked.data},
        "max_seq_length": MAX_LENGTH, "seeds": [seed], "optimizer": OPTIMIZER, "schedule": {"warmup_ratio": WARMUP},
        "plan": {"num_train_epochs": asked.epochs, "global_batch_size": BATCH, "per_device_train_batch_size": BATCH},
        "save_model": False,
    }  # fmt: skip
    path = asked.out / f"{task}-{seed}.yaml"
    path.write_text(json.dumps(recipe))
    sys.argv = ["finetune.run", str(path), "--overwrite", "True"]
    program_of_run.main()
    line = json.loads((Path("runs") / name / "results.jsonl").read_text().splitlines()[-1])
    return {"seconds": spent[0], "steps": line["steps"], "score": line["headline"]["value"]}


def on_cpu() -> bool:
    return os.environ.get("ACCELERATE_USE_CPU") == "true"


def now() -> float:
    """CPU-seconds of this process; on a GPU, where the CPU mostly waits, seconds once the GPU is done."""
    if on_cpu():
        return time.process_time()
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


def plain(task: str, seed: int, asked: Options, as_ours: bool) -> Found:
    """What transformers' own examples do; `as_ours`: in the precision and with the kernels of ours."""
    import numpy as np
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from engine.run.precision import MEASURED, choose_precision, use_matmul
    from engine.run.recipe import data_path
    from finetune.tasks.metrics import score
    from finetune.tasks.task import DataSource, find_task

    torch.set_num_threads(1)
    bf16 = False
    if as_ours:
        chosen, _ = choose_precision(MEASURED, torch.device("cpu" if on_cpu() else "cuda"))
        bf16 = chosen.mixed_precision == "bf16"
        use_matmul(chosen.matmul)
    glue = find_task(f"glue/{task}")
    rows = glue.load(DataSource("folder", asked.data))
    folder = str(data_path(asked.model))
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)

    def encoded(split: str) -> Any:
        def tokenize(batch: dict[str, list[Any]]) -> Any:
            return tokenizer(*(batch[name] for name in glue.columns), truncation=True, max_length=MAX_LENGTH)

        columns = [name for name in rows[split].column_names if name != "label"]
        return rows[split].map(tokenize, batched=True, remove_columns=columns)

    set_seed(seed)
    labels = {"num_labels": len(glue.labels) or 1, **({} if glue.labels else {"problem_type": "regression"})}
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=False, **labels
    )
    train = encoded("train")
    steps = round(asked.epochs * math.ceil(len(train) / BATCH))
    arguments = TrainingArguments(
        output_dir=str(asked.out / "trainer"), per_device_train_batch_size=BATCH, per_device_eval_batch_size=4 * BATCH,
        max_steps=max(1, steps), learning_rate=LR, weight_decay=0.01, adam_epsilon=1e-6, max_grad_norm=1.0,
        warmup_steps=round(WARMUP * steps), lr_scheduler_type="linear", bf16=bf16, use_cpu=on_cpu(), seed=seed,
        save_strategy="no", eval_strategy="no", report_to=[], disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(model, arguments, DataCollatorWithPadding(tokenizer), train, processing_class=tokenizer)
    began = now()
    trainer.train()
    spent = now() - began
    logits = trainer.predict(encoded("dev")).predictions
    answers = np.argmax(logits, -1) if glue.labels else np.asarray(logits, np.float64).squeeze(-1)
    return {"seconds": spent, "steps": steps, "score": score(glue, answers, rows["dev"])[glue.headline]}


if __name__ == "__main__":
    main()
