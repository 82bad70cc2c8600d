"""From a recipe to its prepared corpus, before any training: on one machine or a hundred, without an accelerator.

    cloze prepare RECIPE.yaml --executor local|ray|slurm --tasks N [--workers W] [--key value ...]

Whoever trains with the recipe finds the store. The same command resumes where an interrupted one was: shards that are
finished are kept. The store's bytes depend on neither the executor nor the number of tasks; only under `deduplicate`
does another number of tasks keep other documents of those that resemble each other.
"""

import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from corpus.files import locked
from corpus.images.medium import Images
from corpus.images.opening import Collection
from corpus.images.store import prepare as prepare_pictures
from corpus.text.store import Store, home_of, origin_of
from engine.run.folders import STORE, refuse_inside
from engine.run.options import read_own_options
from engine.run.recipe import check_least, read
from engine.run.runtime import program
from pretrain.enough import check_amount
from pretrain.recipe import PretrainRecipe
from tokenizer.load import load_tokenizer, tokenizer_hash

PROG = "python -m pretrain.prepare"


@dataclass(frozen=True)
class Options:
    """Tokenize the corpus of a recipe, on many cores or machines: cloze prepare RECIPE.yaml [OPTIONS] [--key value ...]

    The keys are the recipe's, as for cloze pretrain, which does this by itself where it has not been done: a small
    corpus needs no such step.

    Example: cloze prepare recipes/pretrain/bert-mini.yaml --tasks 8
    """

    executor: Literal["local", "ray", "slurm"] = "local"  # who runs the tasks: this machine, or a cluster
    tasks: int = 1  # parts that the corpus is divided into, by files
    workers: int = -1  # tasks that run at a time; -1: one a core, on a cluster all
    cpus: int = 1  # cores of a task (Ray, Slurm)
    mem: int = 2  # GB of memory for each core (Ray, Slurm)
    partition: str = ""  # the partition of the cluster (Slurm)
    time: str = ""  # the longest that a task may take, such as 04:00:00 (Slurm)


@program
def main(argv: list[str]) -> None:
    options, recipe_argv = read_own_options(Options, argv, PROG)
    check_least(options, 1, "tasks", "cpus", "mem", before="--")
    if options.workers < 1 and options.workers != -1:
        raise ValueError(f"--workers is {options.workers}; it must be 1 or more, or -1 for one a core")
    recipe = read(PretrainRecipe, recipe_argv, PROG, "recipes/pretrain/bert-mini.yaml --tasks 8")
    if recipe.objective.medium is Images:
        prepare_images(recipe.image_collection, options)
        return
    corpus, tokenizer = recipe.text_corpus, load_tokenizer(recipe.tokenizer_source, recipe.tokenizer_revision)
    if corpus.mode == "stream":
        raise ValueError("corpus.mode is stream: such a corpus is read while training, and there is nothing to prepare")
    for line in check_amount(recipe, tokenizer.backend_tokenizer):
        print(line)
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


def prepare_images(collection: Collection, options: Options) -> None:
    """Make the store of a collection of pictures, on this machine. Errors: ValueError for another executor."""
    if options.executor != "local" or options.tasks != 1:
        raise ValueError(
            "pictures are prepared on one machine, on all its cores: leave --executor and --tasks out (--workers says "
            "how many cores)"
        )
    stores = Path(collection.stores).absolute()
    refuse_inside(stores, STORE)
    processes = options.workers if options.workers > 0 else None
    pictures = prepare_pictures(collection.sources, stores, collection.held_out, collection.decoded_side, processes)
    train, held_out = len(pictures.train.array), len(pictures.held_out.array)
    print(f"{pictures.folder.parent}: {train:,} images to train on, {held_out:,} held out")
    for reason, number in pictures.manifest["skipped"].items():
        print(f"left out: {number:,} {reason}")


def run(options: Options, origin: dict[str, Any], tokenizer_json: str, stores: Path, work: Path) -> None:
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


if __name__ == "__main__":
    main()
