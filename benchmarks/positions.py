"""How does a language model's loss fall along its window?  A table, and bits per byte, beside the unigram's.

    python -m benchmarks.positions RUN [RUN ...]

RUN is a finished run of the causal_lm objective, such as runs/lstm-mini. Each is evaluated on the held-out examples of
its own recipe: to compare two, give them the same corpus, tokenizer and block_size. Losses are nats a token, means over
equal parts of the window: a part's last place is named. A token of the vocabulary is worth more or fewer bytes of text,
so only bits per byte compare models with different vocabularies.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from benchmarks.measuring import finish
from corpus.text.medium import Text
from corpus.text.opening import open_corpus
from engine.run.options import read_options
from engine.run.recipe import load
from engine.run.runtime import make_accelerator, program
from engine.run.saved import located, opened
from engine.train.batch import Batch
from engine.train.batches import Position
from pretrain.examples import fixed_batches, open_chapters
from pretrain.recipe import PretrainRecipe
from tokenizer.load import load_tokenizer, tokenizer_hash

PARTS = 8


@dataclass(frozen=True)
class Options:
    """Print the loss by place in the window."""

    runs: tyro.conf.Positional[tuple[Path, ...]]  # folders of finished runs of causal_lm


@program
def main(argv: list[str]) -> None:
    asked = read_options(Options, argv, "python -m benchmarks.positions")
    if not asked.runs:
        raise ValueError("name a finished run of causal_lm, or several, such as runs/lstm-mini")
    accelerator = make_accelerator(seed=0)
    result: dict[str, Any] = {}
    for run in asked.runs:
        recipe = load(PretrainRecipe, run / "recipe.yaml")
        if recipe.objective.name != "causal_lm":
            raise ValueError(f"{run} was trained by {recipe.objective.name}; this is for causal_lm")
        source = located(str(run))
        tokenizer, model = load_tokenizer(source), opened(source)
        text, objective = Text.of(tokenizer, tokenizer_hash(tokenizer)), recipe.objective
        with open_corpus(recipe.corpus, text, recipe.seed, run, accelerator) as corpus:
            unseen = open_chapters(corpus.held_out, objective, text, recipe.seed)(Position(), objective.size)
            batches = fixed_batches(unseen, recipe.max_eval_samples, recipe.plan.per_device_train_batch_size)
        losses = torch.cat([losses_of(model, batch) for batch in batches])  # (N, T), NaN where nothing is asked
        result[run.name] = {
            "parameters": model.num_parameters(),
            "vocabulary": len(tokenizer),
            "block_size": objective.size,
            **summarise(losses, batches, tokenizer),
            "unigram": round(objective.baselines(batches)["next_token_loss"], 4),
        }
        print(json.dumps({run.name: result[run.name]}), flush=True)
    finish(result)


@torch.inference_mode()
def losses_of(model: Any, batch: Batch) -> Tensor:
    """-log p of each token (B, T), NaN where none is asked."""
    logits = model(**batch.x, use_cache=False).logits.float()  # (B, T, V)
    found = torch.full((batch.room,), math.nan)
    places = batch.y["positions"]
    asked = torch.nn.functional.cross_entropy(logits.flatten(0, 1)[places], batch.y["tokens"], reduction="none")
    found[places] = asked
    return found.view(logits.shape[:2])


def summarise(losses: Tensor, batches: list[Batch], tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The loss, its perplexity, bits per byte, and the loss by part of the window."""
    mean = losses.nanmean().item()
    tokens = torch.cat([batch.y["tokens"] for batch in batches])
    size = len(str(tokenizer.decode(tokens, skip_special_tokens=True)).encode())
    parts = losses.tensor_split(PARTS, dim=1)
    ends = torch.tensor([part.shape[1] for part in parts]).cumsum(0).tolist()
    return {
        "loss": round(mean, 4),
        "perplexity": round(math.exp(mean), 1),
        "bits_per_byte": round(losses.nansum().item() / math.log(2) / size, 4),
        "by_place": {str(end): round(part.nanmean().item(), 4) for end, part in zip(ends, parts, strict=True)},
    }


if __name__ == "__main__":
    main()
