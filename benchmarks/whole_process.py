"""From raw text to a model folder: how long, and in how much memory?  `pretrain.run` beside transformers' way.

    python -m benchmarks.whole_process [--megabytes 5] [--steps 100] [--rounds 3]

Both begin with the same file of raw text and the same tokenizer, as fresh processes, turn by turn, and leave a model:
BERT-mini, masked LM alone, 100 steps of 32 x 128, 256 held-out examples evaluated at the end. Ours runs as
`accelerate launch -m pretrain.run` in the precision that it chooses here; the plain way (benchmarks.plain_run) in its
default fp32, and in bf16 where that is ours.
`ratio_*` is their seconds over ours, `peak_mb` the memory of all processes of a way together.
"""

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import sample
from benchmarks.measuring import Spent, finish, name_precision, ratio, spent
from benchmarks.ours import write_recipe
from benchmarks.settings import CPU
from engine.run.options import read_options
from engine.run.precision import MEASURED, choose_precision
from engine.run.runtime import program

REPOSITORY = Path(__file__).resolve().parents[1]
SETTING = CPU["bert_mini"]


@dataclass(frozen=True)
class Options:
    """Measure the way from raw text to a model folder."""

    megabytes: float = 5.0  # of raw text
    steps: int = 100
    batch: int = SETTING.batch  # examples of a step
    rounds: int = 3  # in which the ways take turns


@program
def main(argv: list[str]) -> None:
    asked = read_options(Options, argv, "python -m benchmarks.whole_process")
    vocabulary, _ = sample.vocabulary("bert")
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        sample.raw_text(asked.megabytes, folder / "text.jsonl")
        plan = {"max_steps": asked.steps, "global_batch_size": asked.batch, "per_device_train_batch_size": asked.batch}
        recipe = write_recipe("whole-process", SETTING, plan, 256, folder)
        plain = ["-m", "benchmarks.plain_run", "text.jsonl", "--family", "bert", "--tokenizer", str(vocabulary),
                 "--steps", str(asked.steps), "--batch", str(asked.batch), "--lr", str(SETTING.lr),
                 "--out", "plain"]  # fmt: skip
        config = str(REPOSITORY / "accelerate_configs/cpu.yaml")
        launch = ["-m", "accelerate.commands.launch", "--config_file", config]
        chosen = name_precision(**vars(choose_precision(MEASURED, torch.device("cpu"))[0]))
        ours = f"ours_{chosen}"
        commands = {ours: [*launch, "-m", "pretrain.run", str(recipe)], "plain_fp32": plain}
        if chosen == "bf16":
            commands["plain_bf16"] = [*plain, "--bf16"]
        found: dict[str, list[Spent]] = {name: [] for name in commands}
        for number in range(asked.rounds):
            for name, command in commands.items():
                shutil.rmtree(folder / "runs", ignore_errors=True)  # so that the text is prepared anew
                shutil.rmtree(folder / "plain", ignore_errors=True)
                found[name].append(one := spent([sys.executable, *command], folder))
                print(f"round {number + 1}, {name}: {one.seconds:.1f} s, {one.peak_mb:,.0f} MB", flush=True)
    finish({**compared(found, ours), "steps": asked.steps, "megabytes": asked.megabytes, "text": sample.text()[1]})


def compared(found: dict[str, list[Spent]], ours: str) -> dict[str, Any]:
    seconds = {name: [one.seconds for one in each] for name, each in found.items()}
    return {
        "ratio_default": ratio(seconds["plain_fp32"], seconds[ours]),
        **({"ratio_equal_precision": ratio(seconds["plain_bf16"], seconds[ours])} if "plain_bf16" in seconds else {}),
        "seconds": {name: round(median(each), 1) for name, each in seconds.items()},
        "peak_mb": {name: round(median([one.peak_mb for one in each])) for name, each in found.items()},
    }


if __name__ == "__main__":
    main()
