"""How much material does a recipe have, before it is prepared?  By its files' sizes, and a look at some of them."""

from dataclasses import dataclass

from corpus.images.forecast import foresee_store
from corpus.images.medium import Images
from corpus.text.medium import SENTENCE
from corpus.text.source import Source, parts
from pretrain.recipe import PretrainRecipe

CHARACTERS_A_TOKEN = 4.5  # of our vocabularies, on Wikipedia and books
PACKED = {".gz": 2.9, ".zst": 2.9, ".parquet": 1.8}  # bytes of English text in a byte of the file


@dataclass(frozen=True)
class Amount:
    """About how many tokens or images there are, and bytes of the store; None where that cannot be known."""

    units: int | None
    store: int | None


def foresee_amount(recipe: PretrainRecipe, vocabulary: int) -> Amount:
    """`vocabulary` is that of the model."""
    if recipe.objective.medium is Images:
        return Amount(*foresee_store(recipe.image_collection.sources, recipe.image_collection.decoded_side))
    tokens = corpus_tokens(recipe.text_corpus.sources)
    if recipe.text_corpus.mode == "stream":
        return Amount(tokens, 0)
    id_bytes = 2 if vocabulary <= 1 << 16 else 4
    return Amount(tokens, tokens and round(tokens * (id_bytes + 8 / SENTENCE)))  # an offset a sentence


def corpus_tokens(sources: tuple[Source, ...]) -> int | None:
    """About how many tokens the sources' files hold; None if one is not a file, or not there."""
    characters = 0.0
    for source in sources:
        if source.kind in ("hub", "docstrings"):
            return None
        try:
            for part in parts(source):
                characters += part.num_bytes * (PACKED.get(part.path.suffix, 1.0) if part.path else 1.0)
        except FileNotFoundError:
            return None
    return round(characters / CHARACTERS_A_TOKEN)
