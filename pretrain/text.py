"""How do a text and a model of it come together?  Tokenizer, weights, checks, and the corpus, for `pretrain.run`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import networks
from corpus.text.medium import Text
from corpus.text.opening import open_corpus
from engine.run.agreement import agree, weights
from engine.run.architecture import count_positions
from engine.run.checkpoint import Run
from engine.run.tracking import Tracker
from networks import heads
from pretrain.assembly import Material, build_model
from pretrain.continued import check_tokenizer, take_weights
from pretrain.enough import check_amount
from pretrain.recipe import PretrainRecipe
from tokenizer.load import fit_tokenizer, load_tokenizer, tokenizer_hash

if TYPE_CHECKING:
    from accelerate import Accelerator


@contextmanager
def open_text(recipe: PretrainRecipe, run: Run, tracker: Tracker, accelerator: "Accelerator") -> Iterator[Material]:
    """Open what a recipe on text trains on. Errors: see `pretrain.run.pretrain`."""
    tokenizer = load_tokenizer(recipe.tokenizer_source, recipe.tokenizer_revision)
    text = Text.of(tokenizer, tokenizer_hash(tokenizer))
    model = build_model(recipe, text)
    recipe.check_examples(count_positions(model))
    source, revision = recipe.model.get("from", ""), recipe.model.get("revision", "")
    if source:
        check_tokenizer(tokenizer, source, revision)
    origin = take_weights(model, source, revision)
    for line in origin.lines():
        tracker.note(line)
    if model.config.model_type not in (*networks.MODEL_TYPES, *heads.TRANSFORMS):
        tracker.note(
            f"a {model.config.model_type} makes its guesses at all positions, of which some are asked: slower than "
            "where only these meet the vocabulary"
        )
    fit_tokenizer(tokenizer, model)
    agree(accelerator, tokenizer=text.stamp, model=weights(model))
    if accelerator.is_main_process and not (run.folder / "data_report.md").exists():
        for line in check_amount(recipe, tokenizer.backend_tokenizer):
            tracker.note(line)
    held_out_tokens = recipe.max_eval_samples * max(phase.size for phase in recipe.phases)
    with open_corpus(recipe.text_corpus, text, recipe.seed, run.folder, accelerator, held_out_tokens) as corpus:
        yield Material(text, corpus, model, origin)
