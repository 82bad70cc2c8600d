"""How much faster are options scored that share a context, beside lm-evaluation-harness?

    python -m benchmarks.few_shot [--rows 200] [--rounds 3] [--seed 0]

Both score the options of the same rows of ARC-easy (four each) and PIQA (two), with its prompts, by the same GPT-2 with
random weights (the sizes of gpt2-mini, and GPT-2's vocabulary of 50,257), on one thread; in turns, and the median of
them. Four examples in front of ARC-easy's questions are drawn by both from the first rows. `ratio`: theirs over ours in
CPU seconds. Needs what `make test-oracles` installs, and CLOZE_DATA.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPT2Config

from engine.run.options import read_options
from engine.run.recipe import data_path
from engine.run.runtime import speak_plainly
from probe.few_shot.prompts import Prompts, draw_prompts, encode_options
from probe.few_shot.scoring import score_questions
from probe.few_shot.task import Item, open_task, read_items
from probe.language_models import LanguageModel, open_language_model
from tokenizer.load import load_tokenizer

CASES = (("arc_easy", 0), ("arc_easy", 4), ("piqa", 0))  # a task, and how many examples stand in its prompt
SIZES: dict[str, Any] = {"n_layer": 4, "n_embd": 256, "n_head": 4, "n_positions": 1024}


@dataclass(frozen=True)
class Options:
    """Score options, ours and lm-evaluation-harness's way, in turns.

    Example: python -m benchmarks.few_shot --rows 100
    """

    rows: int = 200  # of each task
    rounds: int = 3  # of which the median counts
    seed: int = 0  # of the weights


def main() -> None:
    options = read_options(Options, sys.argv[1:], "python -m benchmarks.few_shot")
    torch.set_num_threads(1)
    speak_plainly()
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), options.seed)
        model = open_language_model(folder)
        found = {f"{name}, {shots} examples": measure(model, name, shots, options) for name, shots in CASES}
    print(json.dumps(found, indent=1))


def save_model(folder: Path, seed: int) -> None:
    load_tokenizer(str(data_path("vocab/gpt2"))).save_pretrained(folder)
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(GPT2Config(**SIZES), trust_remote_code=False).save_pretrained(folder)


def measure(model: LanguageModel, name: str, shots: int, options: Options) -> dict[str, Any]:
    """CPU seconds of both ways, their ratio, and the largest difference of two scores, in nats."""
    task = open_task(name)
    items, pool = read_items(task, with_examples=True, max_rows=options.rows)
    prompts = draw_prompts(task, items, pool, shots, 0, fresh=False, bos=None)
    pairs = [
        (prompts.context(number, item.prompt), " " + option)
        for number, item in enumerate(items)
        for option in item.options
    ]
    ways = {"ours": lambda: ask_ours(model, prompts, items), "lm_eval": prepare_theirs(model, pairs)}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    scores: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for way, ask in ways.items():
            began = time.process_time()
            scores[way] = ask()
            seconds[way].append(time.process_time() - began)
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    return {
        **{f"{way}_seconds": round(value, 2) for way, value in medians.items()},
        "ratio": round(medians["lm_eval"] / medians["ours"], 2),
        "largest_difference": max(abs(a - b) for a, b in zip(*scores.values(), strict=True)),
    }


def ask_ours(model: LanguageModel, prompts: Prompts, items: list[Item]) -> list[float]:
    questions = [
        encode_options(
            model, prompts.context(number, item.prompt), [" " + text for text in item.options], None, item.where
        ).windows
        for number, item in enumerate(items)
    ]
    return [score.log_p for scores in score_questions(model, questions) for score in scores]


def prepare_theirs(model: LanguageModel, pairs: list[tuple[str, str]]) -> Callable[[], list[float]]:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    asked = HFLM(pretrained=model.model, tokenizer=model.tokenizer, device="cpu", batch_size=16)
    requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    return lambda: [float(log_p) for log_p, _ in asked.loglikelihood(requests, disable_tqdm=True)]


if __name__ == "__main__":
    main()
