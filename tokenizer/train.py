"""Which vocabulary suits this text?  A program: `cloze tokenizer RECIPE.yaml [--key value ...]`.

It reads the sources twice, once to choose documents and count characters and once to learn, and leaves in `runs/NAME/`:
tokenizer/ (a fast tokenizer, which `AutoTokenizer.from_pretrained` opens), recipe.yaml, report.json and report.md.
The same recipe on the same text gives the same tokenizer/, byte for byte, in any process and on any threads.
"""

import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from transformers import PreTrainedTokenizerFast

from corpus.text.source import fingerprint, pinned
from engine.run.disk import alone, read_json, whole_folder
from engine.run.folders import TOKENIZER, mark, refuse_others, visible
from engine.run.processes import ends_at_once
from engine.run.recipe import read, resolved
from engine.run.runtime import commit, hardware, peak_rss_mb, program
from tokenizer.load import load_tokenizer, tokenizer_hash
from tokenizer.recipe import TokenizerRecipe
from tokenizer.report import Measure, Report, measure
from tokenizer.sample import Sample, survey

WRITTEN = ("tokenizer", "recipe.yaml", "report.json", "report.md")


@program
def main(argv: list[str]) -> None:
    with ends_at_once():
        train_tokenizer(read(TokenizerRecipe, argv, "python -m tokenizer.train", "recipes/tokenizer/demo.yaml"))


def train_tokenizer(recipe: TokenizerRecipe) -> Path:
    """Learn a tokenizer by a recipe, unless it is there already. Return its folder.

    Errors: ValueError and OSError for what is wrong with recipe, text or disk.
    """
    recipe = replace(recipe, sources=tuple(map(pinned, recipe.sources)))
    with alone(recipe.runs / recipe.name, "learning"):
        learn(recipe)
    return recipe.runs / recipe.name / "tokenizer"


def learn(recipe: TokenizerRecipe) -> None:
    """Leave the recipe's tokenizer in its folder, unless it is there already."""
    folder = recipe.runs / recipe.name
    stamp = stamp_of(recipe)
    if is_done(folder, stamp, recipe.overwrite):
        print(f"{folder} holds this very tokenizer already: nothing to do")
        return
    start = time.perf_counter()
    other = opened(recipe.compare)
    sample = survey(recipe.sources, recipe.held_out, recipe.max_bytes)
    print(f"learning from {sample.num_documents:,} documents, {sample.num_bytes / 1e6:.1f} MB", flush=True)
    tokenizer = recipe.vocabulary.learn(sample.texts(), sample.characters, recipe.model_max_length)
    unseen = [paragraph for document in sample.held_out for paragraph in document.paragraphs]
    measures = tuple(measure(label, one, unseen) for label, one in [(recipe.name, tokenizer), *other.items()])
    report = Report(
        recipe.name,
        measures,
        tuple(remarks(recipe, tokenizer, sample, measures[0])),
        facts(tokenizer, sample, time.perf_counter() - start),
        stamp,
    )
    with whole_folder(folder) as aside:
        write(aside, recipe, tokenizer, report)
    Console().print(report.table())
    for note in report.notes:
        print(note)
    print(f"{folder / 'tokenizer'} is written, {tokenizer_hash(tokenizer)}")


def stamp_of(recipe: TokenizerRecipe) -> dict[str, Any]:
    """Return what decides the result: the recipe, less where it goes, and the content of the sources."""
    decisive = {key: value for key, value in resolved(recipe).items() if key not in ("runs", "overwrite")}
    return {**decisive, "fingerprints": [fingerprint(source) for source in recipe.sources]}


def is_done(folder: Path, stamp: dict[str, Any], overwrite: bool) -> bool:
    """Whether `folder` holds this result whole.

    Errors: FileExistsError if it holds anything else; to `overwrite` replaces a tokenizer, and nothing that is none.
    """
    refuse_others(folder, TOKENIZER)
    if others := sorted(set(visible(folder)) - set(WRITTEN)):
        raise FileExistsError(f"{folder} also holds {', '.join(others[:5])}, which is no tokenizer's; move it away")
    if overwrite or not visible(folder):
        return False
    report = read_json(folder / "report.json", "stamp", "tokenizer_hash", advice="--overwrite True learns it anew")
    if not isinstance(report["stamp"], dict):
        raise ValueError(f"{folder / 'report.json'} is damaged (its stamp is none); --overwrite True learns it anew")
    if differing := [key for key in stamp if report["stamp"].get(key) != stamp[key]]:
        raise FileExistsError(
            f"{folder} holds a tokenizer of another {' and '.join(differing)}; give another name, or --overwrite True "
            "to replace it"
        )
    if tokenizer_hash(load_tokenizer(folder / "tokenizer")) != report["tokenizer_hash"]:
        raise FileExistsError(
            f"{folder / 'tokenizer'} was changed after it was written; --overwrite True learns it anew"
        )
    return True


def opened(name: str | None) -> dict[str, PreTrainedTokenizerFast]:
    """Return the tokenizer to compare with, by its name; nothing, and a word about it, where it is not at hand."""
    if name is None:
        return {}
    try:
        return {name: load_tokenizer(name)}
    except FileNotFoundError as error:
        print(f"not compared: {error}", flush=True)
        return {}


def remarks(recipe: TokenizerRecipe, tokenizer: PreTrainedTokenizerFast, sample: Sample, found: Measure) -> list[str]:
    """Return what a reader of the figures must know."""
    notes = recipe.vocabulary.remarks(sample.characters)
    in_pieces = recipe.vocabulary.in_pieces
    if in_pieces and not notes and found.num_unknown_letters > 0.005 * found.num_letters:
        notes.append(
            f"Warning: {found.num_unknown_letters / found.num_letters:.2%} of the held-out characters are unknown, in "
            "words of over 100 characters or of letters that the other documents have not: WordPiece suits no language "
            "without blanks; vocabulary.name: byte-bpe knows any text."
        )
    if in_pieces and len(tokenizer) < recipe.vocabulary.vocab_size:
        notes.append(
            f"The text fills only {len(tokenizer):,} of the {recipe.vocabulary.vocab_size:,} tokens asked for: no pair "
            f"of pieces is left that occurs {recipe.vocabulary.min_frequency} times. Give more text, or lower "
            "vocabulary.vocab_size."
        )
    if not sample.held_out:
        notes.append(
            f"No document was held out (held_out: {recipe.held_out}, {sample.num_documents:,} documents), so nothing "
            "is measured."
        )
    if sample.skipped:
        notes.append("Left out: " + ", ".join(f"{count:,} {reason}" for reason, count in sample.skipped.items()) + ".")
    return notes


def facts(tokenizer: PreTrainedTokenizerFast, sample: Sample, seconds: float) -> dict[str, Any]:
    """Return what is recorded beside the figures."""
    return {
        "tokenizer_hash": tokenizer_hash(tokenizer),
        "num_documents": sample.num_documents,
        "num_bytes": sample.num_bytes,
        "num_held_out": len(sample.held_out),
        "seconds": round(seconds, 1),
        "peak_rss_mb": round(peak_rss_mb()),
        "tokenizers": version("tokenizers"),
        "hardware": hardware(),
        "commit": commit() or "unknown",
    }


def write(folder: Path, recipe: TokenizerRecipe, tokenizer: PreTrainedTokenizerFast, report: Report) -> None:
    """Fill the folder of a run, and open the tokenizer again to see that it is the one that was learned."""
    mark(folder, TOKENIZER)
    tokenizer.save_pretrained(folder / "tokenizer")
    assert tokenizer_hash(load_tokenizer(folder / "tokenizer")) == tokenizer_hash(tokenizer)
    facts = "".join(f"# {name} {value}\n" for name, value in report.facts.items())
    text = yaml.safe_dump(resolved(replace(recipe, overwrite=False)), sort_keys=False, allow_unicode=True)
    (folder / "recipe.yaml").write_text(facts + text, encoding="utf-8")
    (folder / "report.md").write_text(report.markdown(), encoding="utf-8")
    (folder / "report.json").write_text(report.json(), encoding="utf-8")


if __name__ == "__main__":
    main()
