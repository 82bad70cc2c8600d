"""How well does a language model guess held-out text?  Perplexity and bits per byte, beside the unigram's.

    cloze evaluate runs/gpt2-mini runs/lstm-mini --corpus recipes/pretrain/gpt2-mini.yaml
    cloze evaluate runs/bert-mini --corpus books:books

Each MODEL is a run, a folder or a Hub id. `--corpus` is a recipe, whose held-out documents are read, or KIND:PATH, as
in a recipe's sources, of which all are; without it, a run is evaluated on what its own recipe held out.

A causal LM reads windows of `--window` tokens of a document, which move on by `--stride`: each token is judged once,
from the `window - stride` tokens before it or more, as far as there are such. `--by_place` takes windows that do not
overlap, and tells the loss by place in the window. A masked LM reads windows side by side, with `--mlm_probability` of
the tokens hidden as in training (80 % masked, 10 % replaced, 10 % as they are); for its pseudo-perplexity (Salazar et
al. 2020) `--pseudo_tokens` of the text are hidden, each alone.

Losses are nats a token. A token of another vocabulary is worth more or fewer bytes of text: only bits per byte compare
such models. The unigram's is the best guess of somebody who knows how often each token stands in this text, and nothing
else.
"""

import json
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from engine.run.finite import strict_json
from engine.run.options import read_options
from engine.run.precision import use_fastest_matmul
from engine.run.recipe import check_least, check_seed
from engine.run.runtime import program, speak_plainly
from probe.language_models import open_language_model
from probe.losses import judge_causal, judge_masked
from probe.texts import texts_for


@dataclass(frozen=True)
class Options:
    """Measure how well language models predict a text: loss, perplexity, bits per byte.

    Example: cloze evaluate runs/try/bert --max_mb 1
    """

    # runs, folders or Hub ids, of causal or masked language models
    models: Annotated[tuple[str, ...], Positional, arg(metavar="MODEL...", help_behavior_hint="(one or several)")]
    # the text: a recipe, whose held-out documents are read, or KIND:PATH such as text:novels, all of which is; empty:
    # what the run's own recipe held out
    corpus: str = ""
    max_mb: float = 0.5  # MB of text that are read, the same for all models
    window: int = 0  # tokens that a model reads at once; 0: as many as it has positions, at most 1,024
    stride: int = 0  # of a causal LM's windows; 0: half a window
    by_place: bool = False  # of a causal LM: also print the loss by place in the window
    mlm_probability: float = 0.15  # share of the tokens that are hidden from a masked LM
    pseudo_tokens: int = 500  # tokens that are hidden from a masked LM one at a time, for pseudo-perplexity; 0: none
    seed: int = 0  # decides which tokens are hidden
    format: Literal["table", "json"] = "table"  # how the result is printed

    def __post_init__(self) -> None:
        check_least(self, 0, "window", "stride", "pseudo_tokens", before="--")
        check_seed(self.seed)
        if not self.models:
            raise ValueError("name a model, or several: runs, folders or Hub ids")
        if not 1e-3 <= self.max_mb < math.inf:
            raise ValueError(f"--max_mb is {self.max_mb}; it is a finite number from 0.001 up, such as 0.5")
        if not 0 < self.mlm_probability < 1:
            raise ValueError(f"--mlm_probability is {self.mlm_probability}; it is a share between 0 and 1")
        if self.by_place and self.stride:
            raise ValueError("--by_place takes windows that do not overlap: leave --stride out")


@program
def main(argv: list[str]) -> None:
    options = read_options(Options, argv, "python -m probe.evaluate")
    speak_plainly()
    use_fastest_matmul()
    results: dict[str, Any] = {}
    for name in options.models:
        asked = open_language_model(name)
        window = min(options.window or 1024, asked.most_tokens)
        if options.window > window:
            raise ValueError(f"--window is {options.window}, and {name} has positions for {window} tokens")
        if window < (fewest := 3 if asked.is_masked else 2):  # one to judge, behind another or between [CLS] and [SEP]
            raise ValueError(f"--window is {window}; {name} judges a token in a window of {fewest} or more")
        texts = texts_for(name, options.corpus, "clean" if asked.is_masked else "keep", round(1e6 * options.max_mb))
        if asked.is_masked:
            found = judge_masked(asked, texts, window, options.mlm_probability, options.pseudo_tokens, options.seed)
        else:
            stride = window if options.by_place else options.stride or max(1, window // 2)
            found = judge_causal(asked, texts, window, stride, options.by_place)
        results[name] = {"documents": len(texts), "bytes": sum(len(text.encode()) for text in texts), **found}
    if options.format == "json":
        print(strict_json(results))
    else:
        show(results)


def show(results: dict[str, dict[str, Any]]) -> None:
    """A column a model."""
    table = Table("", *results)
    for row in dict.fromkeys(name for found in results.values() for name in found):
        cells = (found.get(row, "") for found in results.values())
        table.add_row(row.replace("_", " "), *(cell if isinstance(cell, str) else json.dumps(cell) for cell in cells))
    Console().print(table)


if __name__ == "__main__":
    main()
