"""What would the model have written under the masks?  Held-out examples in words, with its guesses."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForPreTraining

from corpus.chapters import StoredText
from corpus.store import prepare
from engine.batches import Position
from engine.recipe import load
from engine.runtime import speak_plainly
from pretrain.examples import fixed_batches, open_chapters
from pretrain.recipe import PretrainRecipe
from pretrain.vocabulary import Vocabulary
from tokenizer.load import load_tokenizer, tokenizer_hash


@dataclass(frozen=True)
class Word:
    """A token as it was shown; and, where it was asked for, the right one and the likeliest guesses."""

    shown: str
    asked: str = ""
    guesses: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Example:
    """A masked pair, whether B is a stranger, and how likely the model thinks that."""

    words: list[Word]
    is_stranger: bool
    stranger_probability: float


def guess(recipe_path: Path, folder: Path, examples: int, best: int = 3) -> list[Example]:
    """Mask held-out examples of a pretraining recipe as its evaluation does, and ask the model in `folder`."""
    recipe = load(PretrainRecipe, recipe_path)
    tokenizer = load_tokenizer(folder)
    _, held_out = prepare(
        recipe.corpus.sources, tokenizer, tokenizer_hash(tokenizer), Path(recipe.corpus.stores), recipe.corpus.held_out
    )
    text = StoredText(held_out, recipe.seed, chapter_tokens=held_out.num_tokens)
    open_chapter = open_chapters(text, recipe.objective, Vocabulary.of(tokenizer), recipe.seed)
    unseen = open_chapter(Position(), recipe.length)
    speak_plainly()
    model = AutoModelForPreTraining.from_pretrained(folder).eval()
    found = []
    for batch in fixed_batches(unseen, examples, 1):
        with torch.inference_mode():
            answer = model(**batch.x)
        likely = answer.prediction_logits[0].softmax(-1).topk(best)  # (T, best)
        words = [Word(shown) for shown in tokenizer.convert_ids_to_tokens(batch.x["input_ids"][0].tolist())]
        for place, token in zip(batch.y["positions"].tolist(), batch.y["tokens"].tolist(), strict=True):
            names = tokenizer.convert_ids_to_tokens(likely.indices[place].tolist())
            guesses = tuple(zip(names, likely.values[place].tolist(), strict=True))
            words[place] = Word(words[place].shown, str(tokenizer.convert_ids_to_tokens(token)), guesses)
        stranger = answer.seq_relationship_logits[0].softmax(-1)[1].item()
        found.append(Example(words, bool(batch.y["is_stranger"][0]), stranger))
    return found
