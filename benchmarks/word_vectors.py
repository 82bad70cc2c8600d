"""How fast is skip-gram, and how good are its vectors?  Ours and gensim's C code, on the same text and cores.

    python -m benchmarks.word_vectors --threads 1 --epochs 1
    python -m benchmarks.word_vectors --threads 2 --epochs 3

The text is Wikipedia in the vocabulary of recipes/tokenizer/words.yaml, without unknown words, the same ids for both;
both have the settings of recipes/pretrain/skip-gram.yaml (features, window, negatives, subsampling). Words are counted
before subsampling, as gensim counts them. Only training is timed: `engine.train.loop.train`, and `Word2Vec.train`
with as many workers as we have threads; beside it stands CPU time, which other work on the machine disturbs less. The
vectors are judged by probe.similarity, by pairs and by analogies. The table of GloVe is counted too: tokens a second on
one core.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gensim.models import Word2Vec

from benchmarks.measuring import finish, ratio
from benchmarks.ours import AtEvaluations
from corpus.text.cooccurrence import count_pairs
from corpus.text.counting import read_in_portions
from corpus.text.medium import Text
from corpus.text.opening import open_corpus
from engine.run.checkpoint import Run
from engine.run.options import read_options
from engine.run.recipe import check_least, load
from engine.run.runtime import make_accelerator, program, speak_plainly
from engine.run.tracking import Tracker
from engine.train.loop import train
from pretrain.assembly import assemble, build_model, training_of
from pretrain.objectives.skip_gram import SkipGram
from pretrain.recipe import PretrainRecipe
from pretrain.word_vectors import TokenizerAndVectors
from probe.similarity import Analogies, Similarity
from tokenizer.load import load_tokenizer, tokenizer_hash

RECIPE = Path(__file__).resolve().parents[1] / "recipes/pretrain/skip-gram.yaml"
ANALOGIES = "words/questions-words.txt"
SECTIONS = ("accuracy", "family", "gram3-comparative", "gram6-nationality-adjective")  # all, and some that are frequent
FILES = ("words/EN-WS-353-ALL.txt", "words/EN-SIMLEX-999.txt", "words/EN-MEN-TR-3k.txt")


@dataclass(frozen=True)
class Options:
    """Train word vectors our way and gensim's, in turn.

    Example: python -m benchmarks.word_vectors --threads 1 --epochs 1
    """

    threads: int = 1  # of ours, and workers of gensim's
    epochs: int = 1  # passes over the text
    rounds: int = 1  # how often each way is measured, with a new seed each time; the ratio is one of medians
    stores: str = "runs/stores"  # where the prepared text is kept

    def __post_init__(self) -> None:
        check_least(self, 1, "threads", "epochs", "rounds", before="--")


@program
def main(argv: list[str]) -> None:
    options = read_options(Options, argv, "python -m benchmarks.word_vectors")
    speak_plainly()
    torch.set_num_threads(options.threads)
    recipe: PretrainRecipe = load(PretrainRecipe, RECIPE)
    recipe = replace(recipe, corpus=replace(recipe.text_corpus, stores=options.stores))
    tokenizer = load_tokenizer(recipe.tokenizer_source)
    text = Text.of(tokenizer, tokenizer_hash(tokenizer))
    with tempfile.TemporaryDirectory() as place:
        folder, accelerator = Path(place), make_accelerator(recipe.seed)
        with open_corpus(recipe.text_corpus, text, recipe.seed, folder, accelerator) as corpus:
            store = corpus.train.chapter(0, 0, {}).store  # type: ignore[attr-defined]
            words: Any = [text.words.convert_ids_to_tokens(ids) for ids in known_documents(store, text)]
            size = sum(map(len, words)) * options.epochs
            ways: dict[str, Callable[[PretrainRecipe, Path], dict[str, float]]] = {
                "ours": lambda seeded, out: train_ours(seeded, text, corpus, accelerator, options.epochs, out),
                "gensim": lambda seeded, out: train_gensim(seeded, words, options, out),
            }
            found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
            for number in range(options.rounds):
                seeded = replace(recipe, seed=recipe.seed + number)
                for name, way in ways.items():
                    took = way(seeded, folder / name)
                    found[name].append({**rates(size, took), **judge(folder / name / "vectors.txt")})
                    print(name, found[name][-1], flush=True)
            began = time.process_time()
            (folder / "table").mkdir()
            count_pairs(store, text.vocabulary.ordinary, 15, 1024, folder / "table")
            table = store.num_tokens / (time.process_time() - began)
    ratios = {kind: ratio([one[kind] for one in found["ours"]], [one[kind] for one in found["gensim"]])
              for kind in ("words_per_second", "words_per_cpu_second")}  # fmt: skip
    finish({"benchmark": "word_vectors", "threads": options.threads, "epochs": options.epochs, "words": size, **found,
            "ratio": ratios, "glove_table_tokens_per_cpu_second": round(table)})  # fmt: skip


def known_documents(store: Any, text: Text) -> Iterator[list[int]]:
    """Each document's ids, without unknown words."""
    for ids, document in read_in_portions(store, np.arange(len(store))):
        kept = np.isin(ids, text.vocabulary.ordinary)
        ids, document = ids[kept], document[kept]
        for some in np.split(ids, np.flatnonzero(np.diff(document)) + 1):
            yield some.tolist()


def train_ours(
    recipe: PretrainRecipe, text: Text, corpus: Any, accelerator: Any, epochs: int, out: Path
) -> dict[str, float]:
    """Train by the recipe's loop for so many epochs, and write OUT/vectors.txt. Return what the training took."""
    torch.manual_seed(recipe.seed)
    model = build_model(recipe, text)
    parts = assemble(recipe, text, corpus, model, accelerator)
    steps = epochs * -(-len(parts.batches.examples().order) // recipe.plan.global_batch_size)
    plan = replace(recipe.plan, max_steps=steps, eval_steps=0, save_steps=0)
    recipe = replace(recipe, name="benchmark", plan=plan, overwrite=True)
    parts = assemble(recipe, text, corpus, model, accelerator)
    run = Run(out, recipe, accelerator, overwrite=True)
    tracker = Tracker(run.folder, accelerator, ())
    training = training_of(recipe, text, parts, AtEvaluations(lambda model, step: None), run.folder)
    took = timed(lambda: train(training, run, tracker, accelerator))
    TokenizerAndVectors(text.words, model).save_pretrained(str(out))  # type: ignore[arg-type]
    return took


def train_gensim(recipe: PretrainRecipe, words: list[list[str]], options: Options, out: Path) -> dict[str, float]:
    """Train gensim's Word2Vec with the same settings, and write OUT/vectors.txt. Return what the training took."""
    objective = recipe.objective
    assert isinstance(objective, SkipGram)
    # A sentence of gensim ends after 10,000 words, and so do documents here.
    sentences = [one[start : start + 10_000] for one in words for start in range(0, len(one), 10_000)]
    theirs = Word2Vec(
        vector_size=recipe.model["hidden_size"], window=objective.window, negative=objective.negative,
        sample=objective.sample, ns_exponent=objective.ns_exponent, sg=1, hs=0, min_count=1, workers=options.threads,
        seed=recipe.seed + 1,
    )  # fmt: skip
    theirs.build_vocab(sentences)
    took = timed(lambda: theirs.train(sentences, total_examples=len(sentences), epochs=options.epochs))
    out.mkdir(exist_ok=True)
    theirs.wv.save_word2vec_format(str(out / "vectors.txt"))
    return took


def timed(work: Callable[[], Any]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


def rates(size: int, took: dict[str, float]) -> dict[str, float]:
    return {
        "words_per_second": round(size / took["seconds"]),
        "words_per_cpu_second": round(size / took["cpu_seconds"]),
    }


def judge(vectors: Path) -> dict[str, float]:
    """Spearman's correlation on each file of pairs, and the share of analogies that is right."""
    probes = [Similarity(name="similarity", path=path) for path in FILES]
    found = {probe.task: probe.ask(str(vectors), False, 0).metrics["all"]["spearmanr"] for probe in probes}
    analogies = Analogies(name="analogies", path=ANALOGIES).ask(str(vectors), False, 0).metrics["all"]
    found |= {f"analogies, {name}": analogies[name] for name in SECTIONS}
    return {name: round(value, 3) for name, value in found.items()}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
