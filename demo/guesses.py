"""What would the model have written under the masks?  Held-out examples in words, with its guesses."""

from dataclasses import dataclass
from pathlib import Path

import torch

from corpus.text.chapters import StoredText
from corpus.text.medium import Text
from corpus.text.store import prepare
from engine.run.recipe import load
from engine.run.runtime import speak_plainly
from engine.run.saved import opened
from engine.train.batches import Position
from pretrain.examples import fixed_batches, open_chapters
from pretrain.objectives.bert import guesses
from pretrain.recipe import PretrainRecipe
from tokenizer.load import load_tokenizer, tokenizer_hash


@dataclass(frozen=True)
class Word:
    """A token as it was shown; and, where it was asked for, the right one and the likeliest guesses."""

    shown: str
    asked: str = ""
    guesses: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Example:
    """A masked pair, whether B is a random next sentence, and how likely the model thinks that."""

    words: list[Word]
    is_random_next: bool
    random_next_probability: float


def guess(recipe_path: Path, folder: Path, examples: int, best: int = 3) -> list[Example]:
    """Mask held-out examples of a pretraining recipe as its evaluation does, and ask the model in `folder`."""
    recipe = load(PretrainRecipe, recipe_path)
    tokenizer = load_tokenizer(folder)
    corpus, stamp = recipe.text_corpus, tokenizer_hash(tokenizer)
    _, held_out = prepare(corpus.sources, tokenizer, stamp, Path(corpus.stores), corpus.held_out)
    text = StoredText(held_out, recipe.seed, chapter_tokens=held_out.num_tokens)
    open_chapter = open_chapters(text, recipe.objective, Text.of(tokenizer, stamp), recipe.seed)
    unseen = open_chapter(Position(), recipe.objective.size)
    speak_plainly()
    model = opened(str(folder))
    found = []
    for batch in fixed_batches(unseen, examples, 1):
        with torch.inference_mode():
            random_next = model(**batch.x).seq_relationship_logits[0].softmax(-1)[1].item()
        likely, share = guesses(model, batch.x, batch.y["positions"], best)  # (M, best) each
        words = [Word(shown) for shown in tokenizer.convert_ids_to_tokens(batch.x["input_ids"][0].tolist())]
        asked = zip(
            batch.y["positions"].tolist(), batch.y["tokens"].tolist(), likely.tolist(), share.tolist(), strict=True
        )
        for place, token, tokens, shares in asked:
            named = tuple(zip(tokenizer.convert_ids_to_tokens(tokens), shares, strict=True))
            words[place] = Word(words[place].shown, str(tokenizer.convert_ids_to_tokens(token)), named)
        found.append(Example(words, bool(batch.y["is_random_next"][0]), random_next))
    return found
