"""The plain transformers way as a script, from raw text to a model folder: what benchmarks.whole_process runs.

    python -m benchmarks.plain_run TEXT.jsonl --family bert --tokenizer FOLDER --steps 100 --out FOLDER [--bf16 True]

As run_mlm.py and run_clm.py: the validation split is 5 % of the text, looked at once, at the end.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import tyro
from torch import nn
from transformers import AutoTokenizer, set_seed

from benchmarks import plain
from benchmarks.plain import Family, Plain
from benchmarks.settings import CPU
from engine.run.options import read_options
from engine.run.runtime import program

VALIDATION = 0.05
EVALUATION_EXAMPLES = 256


@dataclass(frozen=True)
class Options:
    """Train BERT-mini or GPT-2 mini in the plain way."""

    text: tyro.conf.Positional[Path]  # a file of JSON lines
    family: Family
    tokenizer: str  # its folder
    out: Path  # the model's folder is OUT/model
    steps: int = 100
    batch: int = 32
    lr: float = 5e-4
    bf16: bool = False


@program
def main(argv: list[str]) -> None:
    asked = read_options(Options, argv, "python -m benchmarks.plain_run")
    set_seed(0)
    setting = CPU[f"{asked.family}_mini"]
    tokenizer: Any = AutoTokenizer.from_pretrained(asked.tokenizer, trust_remote_code=False)
    texts = datasets.load_dataset("json", data_files=str(asked.text), split="train", cache_dir=str(asked.out / "cache"))
    parts = texts.train_test_split(VALIDATION, seed=0)
    train, validation = (
        plain.blocks(parts[name], tokenizer, asked.family, setting.length) for name in ("train", "test")
    )
    model = plain.architecture(setting.model, len(tokenizer))
    warmup = max(1, asked.steps // 20)
    way = Plain(
        model, train, plain.collator(tokenizer, asked.family), asked.batch,
        lambda step: asked.lr * min(step / warmup, (asked.steps - step + 1) / (asked.steps - warmup)), bf16=asked.bf16,
    )  # fmt: skip
    for step, loss in enumerate(way.steps(asked.steps), start=1):
        if step % 10 == 0:
            print(f"step {step} loss {float(loss):.3f}", flush=True)
    some = validation.select(range(min(EVALUATION_EXAMPLES, len(validation))))
    held_out = evaluated(model, some, plain.collator(tokenizer, asked.family), asked.batch)
    print(f"validation loss {held_out:.4f} perplexity {math.exp(held_out):.1f}")
    model.save_pretrained(asked.out / "model")
    tokenizer.save_pretrained(asked.out / "model")


@torch.no_grad()
def evaluated(model: nn.Module, examples: datasets.Dataset, collate: Any, batch: int) -> float:
    model.eval()
    loader: Any = torch.utils.data.DataLoader(examples, batch_size=batch, collate_fn=collate)
    losses = [float(model(**each).loss) for each in loader]
    return sum(losses) / len(losses)


if __name__ == "__main__":
    main()
