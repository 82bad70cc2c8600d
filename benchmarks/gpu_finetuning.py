"""How long does fine-tuning bert-base take on a card?  `benchmarks.finetuning` on rows made of the text at hand.

A card's machine has no checkpoint and no GLUE: the weights are random, and the task is whether the second half of a
line follows the first. Speed depends on neither; the score is chance.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModel

from benchmarks import finetuning, sample
from benchmarks.settings import bert
from engine.run.options import read_options

ROWS, TINY_ROWS = 3200, 64
DEV_ROWS = 64
WORDS = 30, 90  # of a row: RTE's have 60 on average


def measure(folder: Path, text: Path, tiny: bool) -> dict[str, Any]:
    """Seconds of `finetune.run`'s loop in bf16, of `Trainer` in bf16, and of `Trainer` in its default, fp32."""
    rows = iter(rows_of(text))
    (folder / "glue" / "RTE").mkdir(parents=True)
    for split, number in (("train", TINY_ROWS if tiny else ROWS), ("dev", DEV_ROWS)):
        lines = [f"{index}\t{next(rows)}" for index in range(number)]
        head = "index\tsentence1\tsentence2\tlabel"
        (folder / "glue" / "RTE" / f"{split}.tsv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    _, tokenizer = sample.vocabulary("bert")
    size = bert(1, 32, 2) if tiny else bert(12, 768, 12)
    config = AutoConfig.for_model(**size, vocab_size=len(tokenizer))
    model: Any = AutoModel.from_config(config, trust_remote_code=False)
    for saved in (model, tokenizer):
        saved.save_pretrained(folder / "checkpoint")
    options = {"epochs": 1.0, "model": folder / "checkpoint", "data": folder / "glue", "out": folder / "out"}
    argv = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    asked = read_options(finetuning.Options, argv, "python -m benchmarks.finetuning")
    os.chdir(folder)  # where runs/ appears
    try:
        found = {("rte", way, 0): finetuning.kept(asked, argv, way, "rte", 0) for way in finetuning.WAYS}
    except subprocess.CalledProcessError:
        sys.exit(1)  # it has said why
    line = finetuning.compared(found, "rte")
    ratios = {name: line[name] for name in ("ratio_default", "ratio_equal_precision")}
    return {**ratios, "seconds": line["cpu_seconds"], "steps": found["rte", "ours", 0]["steps"]}


def rows_of(text: Path) -> Iterator[str]:
    """`sentence1 <tab> sentence2 <tab> label`, endlessly."""
    chance = random.Random(0)
    words = [word for line in text.open(encoding="utf-8") for word in json.loads(line)["text"].split()]
    if len(words) < 10 * WORDS[1]:
        raise ValueError(f"{text} has {len(words)} words, which is too few for rows; raise the megabytes of text")
    while True:
        length, begin, other = chance.randint(*WORDS), chance.randrange(len(words)), chance.randrange(len(words))
        follows = chance.random() < 0.5
        first = " ".join(words[begin : begin + length // 2])
        second = begin + length // 2 if follows else other
        then = " ".join(words[second : second + length // 2])
        if first and then and '"' not in first + then:
            yield f"{first}\t{then}\t{'entailment' if follows else 'not_entailment'}"
