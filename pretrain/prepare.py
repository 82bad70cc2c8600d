"""From a recipe to its prepared corpus, before any training: on one machine or a hundred, without an accelerator.

    python -m pretrain.prepare RECIPE.yaml --executor local|ray|slurm --tasks N [--workers W] [--key value ...]

Whoever trains with the recipe finds the store. The same command goes on where an interrupted one was: shards that are
finished are kept. The store's bytes depend on neither the executor nor the number of tasks; only under `deduplicate`
does another number of tasks keep other documents of those that resemble each other.
"""

import argparse
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

from corpus.text.store import Store, home_of, locked, origin_of
from engine.run.folders import STORE, refuse_inside
from engine.run.recipe import check_least, read
from engine.run.runtime import program
from pretrain.recipe import PretrainRecipe
from tokenizer.load import load_tokenizer, tokenizer_hash


@program
def main(argv: list[str]) -> None:
    options, recipe_argv = own_options().parse_known_args(argv)
    check_least(options, 1, "tasks", "cpus", "mem", before="--")
    if options.workers < 1 and options.workers != -1:
        raise ValueError(f"--workers is {options.workers}; it must be 1 or more, or -1 for one a core")
    recipe = read(PretrainRecipe, recipe_argv)
    corpus, tokenizer = recipe.corpus, load_tokenizer(recipe.tokenizer)
    if corpus.mode == "stream":
        raise ValueError("corpus.mode is stream: such a corpus is read while training, and there is nothing to prepare")
    origin = origin_of(
        corpus.sources, tokenizer, tokenizer_hash(tokenizer), corpus.held_out, corpus.filters, corpus.deduplicate
    )
    stores = Path(corpus.stores).absolute()
    refuse_inside(stores, STORE)
    home = home_of(origin, stores)
    work = home.with_name(f".{home.name}.{options.tasks}-tasks")
    with locked(work):
        if not home.exists():
            run(options, origin, tokenizer.backend_tokenizer.to_str(), stores, work)
            if options.executor == "slurm":
                print(f"submitted to Slurm; its logs are in {work}/logs, and the store will be {home}")
                return
        shutil.rmtree(work, ignore_errors=True)
    train, held_out = Store(home / "train"), Store(home / "held_out")
    print(f"{home}: {train.num_tokens:,} tokens to train on, {held_out.num_tokens:,} held out")


def run(options: argparse.Namespace, origin: dict[str, Any], tokenizer_json: str, stores: Path, work: Path) -> None:
    try:
        from corpus.text.executors import RUNNERS, Machines
        from corpus.text.stages import forget_lost_work, stages
    except ImportError as error:
        raise ValueError(
            f"preparing at scale needs datatrove ({error}): say  pip install -r requirements-scale.txt"
        ) from error
    forget_lost_work(work, options.tasks)
    todo = stages(origin, tokenizer_json, options.tasks, stores, work)
    machines = Machines(**{field.name: getattr(options, field.name) for field in fields(Machines)})
    RUNNERS[options.executor](todo, work / "logs", machines)


def own_options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pretrain.prepare RECIPE.yaml",
        allow_abbrev=False,
        epilog="Any other --key value is the recipe's.",
    )
    parser.add_argument("--executor", choices=("local", "ray", "slurm"), default="local", help="who runs the tasks")
    parser.add_argument("--tasks", type=int, default=1, help="shares of the corpus; a file is in one of them")
    parser.add_argument("--workers", type=int, default=-1, help="tasks at a time; -1: one a core, on a cluster all")
    parser.add_argument("--cpus", type=int, default=1, help="cores of a task (Ray, Slurm)")
    parser.add_argument("--mem", type=int, default=2, help="GB for each core (Ray, Slurm)")
    parser.add_argument("--partition", default="", help="Slurm's")
    parser.add_argument("--time", default="", help="the most a task may take, such as 04:00:00 (Slurm)")
    return parser


if __name__ == "__main__":
    main()
