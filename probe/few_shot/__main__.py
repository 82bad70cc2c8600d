"""What does a language model make of a task that only its prompt describes?  0, 1, 4, 16 examples, in-context learning.

    cloze few-shot runs/gpt2-mini --task arc_easy piqa --max_rows 200
    cloze few-shot runs/gpt2-mini runs/bert-mini --task blimp --shots 0 --output runs/few-shot

Each MODEL is a run, a folder or a Hub id; nothing in it is trained. A task is a recipe, or the name of one in
recipes/probe/few-shot. Options are compared by their log p, summed (acc), a token, a character (acc_norm) and less the
log p that they have without the question; free answers are written. A masked LM has the pseudo-log-likelihood.

Each number of examples is tried with `--seeds` draws. Beside the scores stand what is cheaper: chance, the commonest
answer, the shortest and the longest option, prompts without content, examples with wrong answers, and the untrained
network (`--untrained True`). docs/how-to/few-shot.md says how to read them.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from engine.run.disk import whole_file
from engine.run.finite import strict_json
from engine.run.options import read_options
from engine.run.precision import use_fastest_matmul
from engine.run.recipe import check_least
from engine.run.runtime import program, speak_plainly
from engine.run.saved import located
from probe.few_shot.evaluation import Way, few_shot
from probe.few_shot.page import make_page, show
from probe.few_shot.task import open_task
from probe.language_models import open_language_model

BOS = {"auto": None, "yes": True, "no": False}


@dataclass(frozen=True)
class Options:
    """Put tasks to language models by prompts with examples.

    Example: cloze few-shot runs/gpt2-mini --task arc_easy --shots 0 4 --max_rows 200
    """

    models: tyro.conf.Positional[tuple[str, ...]]  # runs, folders or Hub ids
    task: tuple[str, ...] = ()  # recipes, or names of those in recipes/probe/few-shot
    shots: tuple[int, ...] = (0, 1, 4, 16)  # numbers of examples in the prompt
    seeds: int = 5  # draws of the examples, and of their order
    max_rows: int = 0  # that are scored, drawn at random; 0: all
    fresh_examples: bool = False  # for each row other examples, as GPT-3 had them; else one draw for all rows
    beams: int = 1  # of beam search for free answers (GPT-3: 4); 1: greedy
    bos: Literal["auto", "yes", "no"] = "auto"  # a prompt begins with the token that texts begin with; auto: as encoded
    controls: bool = True  # prompts without content, and examples with wrong answers, too
    untrained: bool = False  # the same network with fresh weights, without examples
    output: Path | None = None  # a folder for few-shot.json and few-shot.html
    format: Literal["table", "json"] = "table"

    def __post_init__(self) -> None:
        check_least(self, 1, "seeds", "beams", before="--")
        check_least(self, 0, "max_rows", before="--")
        if not self.models:
            raise ValueError("name a model, or several: runs, folders or Hub ids")
        if not self.task:
            raise ValueError("--task names a task, or several, such as --task arc_easy piqa")
        if not self.shots or min(self.shots) < 0 or len(set(self.shots)) < len(self.shots):
            raise ValueError("--shots are numbers of examples from 0 up, each once, such as --shots 0 1 4 16")


@program
def main(argv: list[str]) -> None:
    options = read_options(Options, argv, "python -m probe.few_shot")
    speak_plainly()
    use_fastest_matmul()
    tasks = [open_task(name) for name in options.task]
    way = Way(
        tuple(sorted(options.shots)), options.seeds, options.max_rows, options.fresh_examples, options.beams,
        BOS[options.bos], options.controls, options.untrained,
    )  # fmt: skip
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
    for name in options.models:  # before the first one is asked
        located(name)
    results: list[dict[str, Any]] = []
    for name in options.models:
        model = open_language_model(name)
        for task in tasks:
            results.append(few_shot(model, task, way))
            write(results, options.output)
    if options.format == "json":
        print(strict_json(results, indent=1))
    else:
        show(results)


def write(results: list[dict[str, Any]], folder: Path | None) -> None:
    """few-shot.json and few-shot.html."""
    if folder is not None:
        whole_file(folder / "few-shot.json", json.dumps(results, indent=1).encode())
        whole_file(folder / "few-shot.html", make_page(results).encode())


if __name__ == "__main__":
    main()
