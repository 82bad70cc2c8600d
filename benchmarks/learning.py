"""How much is learnt in an hour of one core?  BERT-mini and GPT-2 mini, our way and the plain one.

    python -m benchmarks.learning bert --way plain --minutes 60 --out runs/learning/bert-plain.jsonl
    python -m benchmarks.learning bert --way ours --minutes 60 --out runs/learning/bert-ours.jsonl

An hour is `--minutes` of CPU time of this process on one thread, so that other work on the machine takes nothing from
either way; evaluations are not counted, nor is the preparation of the text. Both ways are evaluated on the very same
blocks of documents that neither trains on, with the very same masks. A line of the output is one evaluation.

ours    the recipe bert-mini-cpu-hour or gpt2-mini, whole, by `engine.train.loop.train`; a first few steps,
thrown
        away, tell how many the budget holds, and the recipe's schedule is that of so many steps
plain   benchmarks.plain: the library's model, initialisation and dropout, blocks that cross documents, fp32; a linear
        warm-up and a linear decay to 0 follow the share of the budget that is used up
"""

import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np
import torch
import tyro
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, set_seed

from benchmarks import plain
from benchmarks.measuring import machine
from benchmarks.ours import AtEvaluations
from benchmarks.plain import Family, Plain
from benchmarks.settings import CPU
from corpus.text.document import Document, Tally, draw
from corpus.text.medium import Text
from corpus.text.opening import open_corpus
from corpus.text.readers import documents
from corpus.text.source import Source
from engine.run.checkpoint import Run
from engine.run.options import read_options
from engine.run.recipe import load
from engine.run.runtime import make_accelerator, program, seed_weights, speak_plainly
from engine.run.tracking import Tracker
from engine.train.loop import train
from pretrain.assembly import assemble, build_model, training_of
from pretrain.recipe import PretrainRecipe
from tokenizer.load import fit_tokenizer, load_tokenizer, tokenizer_hash

SOURCES = (Source("wikipedia", "wikipedia"), Source("books", "books"))
HELD_OUT = 0.02  # as in the recipes
RECIPES = Path(__file__).resolve().parents[1] / "recipes" / "pretrain"
OURS = {"bert": "bert-mini-cpu-hour", "gpt2": "gpt2-mini"}
TOKENIZERS = {"bert": "runs/bert-wordpiece/tokenizer", "gpt2": "runs/gpt2-bpe/tokenizer"}
JUDGED = {"bert": 1024, "gpt2": 128}  # held-out blocks
EVALUATIONS = 20
WARMUP = 0.05  # of the plain way

Say = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Options:
    """Train for some minutes of one core, and look at what is learnt."""

    family: tyro.conf.Positional[Family]
    way: Literal["plain", "ours"]
    out: Path  # a line of JSON an evaluation
    minutes: float = 60.0  # of CPU time
    keep: Path | None = None  # keep our way's run in this folder, with its model/
    cache: Path = Path("runs/learning")  # where blocks of tokens are kept


@program
def main(argv: list[str]) -> None:
    asked = read_options(Options, argv, "python -m benchmarks.learning")
    torch.set_num_threads(1)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    tokenizer = load_tokenizer(TOKENIZERS[asked.family])
    blocks, held_out = texts(asked.cache, asked.family, tokenizer)
    judge = Judge(asked.family, tokenizer, held_out)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    with asked.out.open("w", encoding="utf-8") as out:

        def say(line: dict[str, Any]) -> None:
            for stream in (None, out):
                print(json.dumps(line), file=stream, flush=True)

        say({"family": asked.family, "way": asked.way, "minutes": asked.minutes, **machine()})
        if asked.way == "plain":
            learn_plainly(asked.family, tokenizer, blocks, judge, asked.minutes, say)
        else:
            learn_ours(asked.family, tokenizer, asked.cache / "stores", judge, asked.minutes, say, asked.keep)


def learn_plainly(
    family: Family,
    tokenizer: PreTrainedTokenizerFast,
    blocks: datasets.Dataset,
    judge: "Judge",
    minutes: float,
    say: Say,
) -> None:
    speak_plainly()
    set_seed(0)
    setting, clock = CPU[f"{family}_mini"], Clock()
    model = plain.architecture(setting.model, len(tokenizer))

    def rate(step: int) -> float:
        share = min(1.0, clock.minutes / minutes)
        return setting.lr * (max(share, 1e-3) / WARMUP if share < WARMUP else (1 - share) / (1 - WARMUP))

    way = Plain(model, blocks, plain.collator(tokenizer, family), setting.batch, rate)
    for number in range(EVALUATIONS + 1):
        losses: list[float] = []
        while clock.minutes < minutes * number / EVALUATIONS:
            losses += map(float, way.steps(1))
        with clock:
            tokens = way.step * setting.batch * setting.length
            say(line(way.step, tokens, clock, judge(model)) | {"loss": np.mean(losses) if losses else None})


def learn_ours(
    family: Family,
    tokenizer: PreTrainedTokenizerFast,
    stores: Path,
    judge: "Judge",
    minutes: float,
    say: Say,
    keep: Path | None,
) -> None:
    recipe = load(PretrainRecipe, RECIPES / f"{OURS[family]}.yaml")
    recipe = replace(recipe, corpus=replace(recipe.text_corpus, stores=str(stores)))
    with tempfile.TemporaryDirectory() as home:
        seconds_per_step = fit_ours(recipe, tokenizer, 12, 4, lambda *_: None, Path(home) / "first")
        steps = math.floor(60 * minutes / seconds_per_step)
        say({"recipe": OURS[family], "cpu_seconds_per_step": seconds_per_step, "steps": steps})
        clock = Clock()

        def evaluate(model: nn.Module, step: int) -> None:
            with clock:
                tokens = step * recipe.plan.global_batch_size * recipe.objective.size  # padding included
                say(line(step, tokens, clock, judge(model)))

        fit_ours(recipe, tokenizer, steps, max(1, steps // EVALUATIONS), evaluate, keep or Path(home) / "run")


def fit_ours(
    recipe: PretrainRecipe,
    tokenizer: PreTrainedTokenizerFast,
    steps: int,
    every: int,
    evaluate: Callable[[nn.Module, int], None],
    folder: Path,
) -> float:
    """Train the recipe from its start for `steps` steps, as `pretrain.run` does; CPU seconds a step of the last two
    thirds."""
    accelerator = make_accelerator(recipe.seed)
    plan = replace(
        recipe.plan, max_steps=steps, minutes=0.0, flops=0.0, logging_steps=every, eval_steps=every, save_steps=0
    )
    recipe, run = replace(recipe, plan=plan), Run(folder, recipe, accelerator)
    text = Text.of(tokenizer, tokenizer_hash(tokenizer))
    seed_weights(recipe.seed)
    model = build_model(recipe, text)
    marks: list[float] = []

    def look(model: nn.Module, step: int) -> None:
        marks.append(time.process_time())
        evaluate(model, step)

    with open_corpus(recipe.text_corpus, text, recipe.seed, folder, accelerator) as corpus:
        parts = assemble(recipe, text, corpus, model, accelerator)
        training = training_of(recipe, text, parts, AtEvaluations(look), folder)
        train(training, run, Tracker(folder, accelerator), accelerator)
    run.export(model, fit_tokenizer(tokenizer, model))
    return (marks[-1] - marks[0]) / (steps - every)


def line(step: int, tokens: int, clock: "Clock", loss: float) -> dict[str, Any]:
    return {"step": step, "tokens": tokens, "cpu_minutes": round(clock.minutes, 3), "held_out_loss": loss}


class Clock:
    """Minutes of this process's CPU time, less those spent inside `with clock:`."""

    def __init__(self) -> None:
        self._began, self._stopped = time.process_time(), 0.0

    @property
    def minutes(self) -> float:
        return ((self._stopped or time.process_time()) - self._began) / 60

    def __enter__(self) -> None:
        self._stopped = time.process_time()

    def __exit__(self, *_: object) -> None:
        self._began += time.process_time() - self._stopped
        self._stopped = 0.0


class Judge:
    """The mean loss, in nats, of a transformers model on fixed blocks with fixed masks, in fp32, without dropout."""

    def __init__(self, family: Family, tokenizer: PreTrainedTokenizerFast, held_out: datasets.Dataset):
        chosen = np.sort(np.random.default_rng(0).permutation(len(held_out))[: JUDGED[family]])
        self.family = family
        ids = torch.tensor(held_out[chosen]["input_ids"])  # (N, T), or (N, T + 1) for GPT-2
        if family == "bert":
            batch = plain.collator(tokenizer, family, seed=0)([{"input_ids": row} for row in ids])
            self.x, self.y = batch["input_ids"], batch["labels"]
        else:
            self.x, self.y = ids[:, :-1], ids[:, 1:]

    @torch.no_grad()
    def __call__(self, model: Any) -> float:
        model.eval()
        total, count = 0.0, 0
        for x, y in zip(self.x.split(16), self.y.split(16), strict=True):
            logits, asked = self._logits(model, x, y)
            total += nn.functional.cross_entropy(logits.float(), asked, reduction="sum").item()
            count += len(asked)
        return total / count

    def _logits(self, model: Any, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        asked = y != -100
        states = model.base_model(input_ids=x).last_hidden_state[asked]  # (M, H)
        return (model.lm_head if self.family == "gpt2" else model.cls.predictions)(states), y[asked]


def texts(cache: Path, family: Family, tokenizer: PreTrainedTokenizerFast) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Blocks for the plain way to train on, and blocks within held-out documents."""
    length = CPU[f"{family}_mini"].length
    home = cache / f"{family}-{length}"
    if not home.exists():
        read = [document for source in SOURCES for document in documents(source, Tally())]
        held = [document for document in read if draw(document.id) < HELD_OUT]
        rest = [document for document in read if draw(document.id) >= HELD_OUT]
        chained = datasets.Dataset.from_dict({"text": ["\n".join(document.paragraphs) for document in rest]})
        plain.blocks(chained, tokenizer, family, length).save_to_disk(home / "train")
        inside(held, tokenizer, length + (family == "gpt2")).save_to_disk(home / "held_out")
    train, held_out = (datasets.load_from_disk(home / split) for split in ("train", "held_out"))
    return train, held_out


def inside(held: list[Document], tokenizer: PreTrainedTokenizerFast, length: int) -> datasets.Dataset:
    texts = ["\n".join(document.paragraphs) for document in held]
    rows = [tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] for text in texts]
    return datasets.Dataset.from_dict(
        {"input_ids": [row[at : at + length] for row in rows for at in range(0, len(row) - length + 1, length)]}
    )


if __name__ == "__main__":
    main()
