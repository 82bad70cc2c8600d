"""How many tokens a second does pretraining take in, ours beside the plain transformers way?

    python -m benchmarks.pretraining                 BERT-, GPT-2 and LSTM-mini on the CPU, two processes beside one

On a GPU `python -m benchmarks.gpu` does the same for bert-base and gpt2-small.

Ours is `engine.train.loop.train` itself, with the objectives that `pretrain.run` takes from a recipe, in the precision
and with the kernels that it chooses here by default (`engine.run.precision`); what is measured is named after them. It
trains beside `BertForMaskedLM`, `GPT2LMHeadModel` or the same LSTM in benchmarks.plain: from the same weights, on the
same blocks in the same order, with the same optimizer, schedule and dropout. They take turns of a few steps each; the
first turn is left out, for it compiles and warms up.

ratio_default          our tokens a second over the plain way's by default, in fp32 with torch's own kernels
ratio_equal_precision  over the plain way's in our precision, with our kernels
loss_gap               our held-out loss over that of the latter, less 1, after equally many tokens; same masks
mfu                    model-FLOP utilisation: the arithmetic that our loss needs, over what the device can do
two_processes          tokens a second of two processes of one thread over those of one process of one thread

What is not equal: the draws of masks and dropout; BERT's share of hidden words is exact here and 15 % on average there;
biases and LayerNorm are not decayed here; the plain way does not ask for a block's first word, ours does for GPT-2.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import datasets
import torch
from torch import nn
from transformers import PreTrainedModel

from benchmarks import plain, sample
from benchmarks.measuring import finish, name_precision, ratio, seconds, spent, turn_by_turn
from benchmarks.ours import AtEvaluations, assembled, write_recipe
from benchmarks.plain import Plain
from benchmarks.settings import CPU, TINY, Setting
from corpus.text.medium import Text
from corpus.text.source import Source
from engine.run.checkpoint import Run
from engine.run.options import read_options
from engine.run.precision import MKL, kernels_as_before, precision_of, use_matmul
from engine.run.runtime import make_accelerator, program, seed_weights
from engine.run.tracking import Tracker
from engine.train.batch import Batch, Loss
from engine.train.batches import Batches, Position
from engine.train.evaluation import measure
from engine.train.flops import count_flops, peak_flops
from engine.train.loop import train
from engine.train.plan import Plan
from pretrain.assembly import Assembly, training_of

REPOSITORY = Path(__file__).resolve().parents[1]
JUDGED = 512  # held-out examples


@dataclass(frozen=True)
class Options:
    """Measure pretraining beside the plain transformers way."""

    turns: int = 26  # of each way; the first is left out
    steps: int = 4  # of a turn
    megabytes: float = 20.0  # of raw text
    launches: int = 3  # of one and of two processes; 0: none
    compile: bool = False  # ours under torch.compile
    only: str | None = None  # one part: such as bert_mini, or two_processes
    tiny: bool = False  # tiny models, to try the command


@program
def main(argv: list[str]) -> None:
    asked = read_options(Options, argv, "python -m benchmarks.pretraining")
    os.environ["ACCELERATE_USE_CPU"] = "true"
    os.environ.pop("ACCELERATE_MIXED_PRECISION", None)  # what is faster here
    parts = [*CPU, *["two_processes"][: asked.launches]]
    if asked.only not in (None, *parts):
        raise ValueError(f"--only is {asked.only!r}; the parts are {', '.join(parts)}")
    settings = TINY if asked.tiny else CPU
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home:
        source = sample.raw_text(asked.megabytes, Path(home) / "text.jsonl")
        for name, setting in settings.items():
            if asked.only in (None, name):
                result[name] = compare(setting, source, Path(home) / name, asked)
                print(json.dumps({name: result[name]}), flush=True)
        if asked.launches and asked.only in (None, "two_processes"):
            result["two_processes"] = two_processes(settings["bert_mini"], Path(home), asked)
    finish({**result, "compile": asked.compile, "steps": asked.turns * asked.steps, "text": sample.text()[1]})


def compare(setting: Setting, source: Source, folder: Path, asked: Options, workers: int = 0) -> dict[str, Any]:
    """Train in all ways, turn by turn, and judge what each has learnt. `workers` prepare the batches of each way."""
    folder.mkdir()
    plan = Plan(
        max_steps=asked.turns * asked.steps, global_batch_size=setting.batch, per_device_train_batch_size=setting.batch,
        logging_steps=asked.steps, eval_steps=asked.steps, torch_compile=asked.compile,
        dataloader_num_workers=workers,
    )  # fmt: skip
    accelerator = make_accelerator(seed=0)
    seed_weights(0)
    with assembled(setting, source, folder, plan, JUDGED, accelerator) as (recipe, text, ours):
        model, loss, some = ours.model, recipe.objective.loss, ours.evaluation[0]
        flops = count_flops(model, loss, some) / some.room
        rows = plain_rows(ours.batches, text, plan.max_steps, setting)

        def rate(step: int) -> float:
            return setting.lr * recipe.schedule.factor(step, plan.max_steps)

        named = f"ours_{name_precision(**precision_of(accelerator))}"
        default, equal = "plain_fp32", named.replace("ours", "plain")
        ways = {
            name: plain_way(name, twin(model, setting, accelerator.device), rows, rate, setting, plan)
            for name in dict.fromkeys((default, equal))
        }
        speed: dict[str, list[float]] = {name: [] for name in ways}

        def take_turns(_: nn.Module, step: int) -> None:
            """What the loop takes for its evaluation, whose time it does not count, are the others' turns."""
            for name, way in ways.items():
                took = seconds(partial(turn, way, asked.steps, our_kernels=name == equal))
                speed[name].append(asked.steps * setting.batch * setting.length / took)

        run = Run(folder / "run", setting, accelerator)
        training = training_of(recipe, text, ours, AtEvaluations(take_turns), run.folder)
        train(training, run, Tracker(run.folder, accelerator), accelerator)
        speed = {name: found[1:] for name, found in {named: logged_speed(run.folder), **speed}.items()}
        models = {named: model, **{name: way.model for name, way in ways.items()}}
        losses = {name: held_out_loss(each, loss, ours, accelerator) for name, each in models.items()}
        peak = peak_flops(accelerator)
    return {
        "ratio_default": ratio(speed[named], speed[default]),
        "ratio_equal_precision": ratio(speed[named], speed[equal]),
        "loss_gap": round(losses[named] / losses[equal] - 1, 5),
        "held_out_loss": {name: round(loss, 4) for name, loss in losses.items()},
        "tokens_per_second": {name: round(median(found)) for name, found in speed.items()},
        "mfu": {name: round(flops * median(speed[name]) / peak, 3) for name in (named, equal) if peak},
    }


def plain_rows(batches: Batches[Any], text: Text, steps: int, setting: Setting) -> datasets.Dataset:
    """The blocks of our first `steps` steps, unmasked and in order, with the columns that run_mlm and run_clm make."""
    seen = [batch for step in batches.since(Position()) for batch in step.micro_batches]
    if any(len(batch.x["input_ids"]) < setting.batch for batch in seen):
        raise ValueError(f"the text is too short for {steps} steps of {setting.batch} examples; raise --megabytes")
    ids = torch.cat([original(batch) for batch in seen])  # (N, T)
    columns: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if setting.family == "gpt2":
        columns["labels"] = ids
    else:
        special = [number for name, number in text.vocabulary.special.items() if name != "mask"]
        columns["token_type_ids"] = torch.zeros_like(ids)
        columns["special_tokens_mask"] = torch.isin(ids, torch.tensor(special)).long()
    return datasets.Dataset.from_dict({name: column.tolist() for name, column in columns.items()})


def original(batch: Batch) -> torch.Tensor:
    """What was shown, (B, T), with the hidden tokens in their places."""
    ids = batch.x["input_ids"].clone()
    if "attention_mask" in batch.x:
        ids.view(-1)[batch.y["positions"]] = batch.y["tokens"]
    return ids


def twin(model: PreTrainedModel, setting: Setting, device: torch.device) -> PreTrainedModel:
    """transformers' own model, as its configuration makes it, with the weights of `model`."""
    other: Any = plain.architecture(setting.model, model.config.vocab_size)
    other.load_state_dict(model.state_dict())
    return other.to(device)


def plain_way(
    name: str,
    model: PreTrainedModel,
    rows: datasets.Dataset,
    rate: Callable[[int], float],
    setting: Setting,
    plan: Plan,
) -> Plain:
    _, tokenizer = sample.vocabulary(setting.family)
    return Plain(
        model, rows, plain.collator(tokenizer, setting.family), setting.batch, rate, bf16="bf16" in name,
        workers=plan.dataloader_num_workers, order=range(len(rows)),
    )  # fmt: skip


def turn(way: Plain, steps: int, our_kernels: bool) -> None:
    with kernels_as_before():
        if not our_kernels:
            use_matmul(MKL)  # a user has torch's
        losses = list(way.steps(steps))
        torch.stack(losses).tolist()  # on a GPU, this waits for the last step


def logged_speed(run: Path) -> list[float]:
    """Tokens a second between two lines of the loop's own log; a turn each."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["tokens_per_second"] for line in lines if "tokens_per_second" in line]


def held_out_loss(model: nn.Module, loss: Loss, ours: Assembly, accelerator: Any) -> float:
    """The mean loss on the held-out examples, in nats."""
    sums, counts = measure(model.eval(), loss, ours.evaluation, accelerator)
    return sum(sums[term] / counts[term] for term in counts)


# Two processes


def two_processes(setting: Setting, home: Path, asked: Options) -> dict[str, Any]:
    """Launch one and two processes of one thread in turn, for the same recipe: the same global batch of two shares."""
    folder = home / "processes"
    folder.mkdir()
    sample.raw_text(asked.megabytes, folder / "text.jsonl")
    plan = {
        "max_steps": max(2, asked.turns // 2) * asked.steps, "global_batch_size": 2 * setting.batch,
        "per_device_train_batch_size": setting.batch, "logging_steps": asked.steps,
    }  # fmt: skip
    recipe = write_recipe("processes", setting, plan, 32, folder)

    def launch(processes: int) -> float:
        config = REPOSITORY / "accelerate_configs" / ("cpu_2.yaml" if processes == 2 else "cpu.yaml")
        launcher = ["-m", "accelerate.commands.launch", "--config_file", str(config)]
        command = [sys.executable, *launcher, "-m", "pretrain.run", str(recipe), "--overwrite", "True"]
        said = spent(command, folder, OMP_NUM_THREADS="1", ACCELERATE_USE_CPU="true").output
        if f"{processes} process(es) on 1 thread " not in said:
            raise RuntimeError(f"{processes} process(es) of one thread were asked for; the run says\n{said[:500]}")
        return median(logged_speed(folder / "runs" / "processes")[1:])

    speed = turn_by_turn({"one": lambda: launch(1), "two": lambda: launch(2)}, asked.launches)
    return {
        "ratio": ratio(speed["two"], speed["one"]),
        "tokens_per_second": {name: round(median(found)) for name, found in speed.items()},
    }


if __name__ == "__main__":
    main()
