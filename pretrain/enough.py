"""Is there enough text for this recipe?  The sizes of files and the first documents say so before it is tokenized."""

from itertools import islice

from tokenizers import Tokenizer

from corpus.text.document import Document, Tally
from corpus.text.encoding import pieces
from corpus.text.medium import Text
from corpus.text.readers import documents
from corpus.text.source import parts
from corpus.text.units import NUM_SPECIAL, REMEDIES
from pretrain.recipe import PretrainRecipe

LOOKED_AT = 10_000  # documents of each source
BYTES_A_TOKEN = 4  # about, in European languages
MANY_TIMES = 100  # passes over a text, from which on a plan is remarked upon
FEW_EXAMPLES = 32  # held out: fewer make evaluations jump
PLAIN = ("text", "books", "jsonl", "wikipedia")  # kinds of source whose files' bytes are about those of their text


def check_amount(recipe: PretrainRecipe, tokenizer: Tokenizer) -> list[str]:
    """What to say of a text that is small for its plan; nothing where that is not known before it is read.

    Errors: ValueError where no example can be made of it, and what the sources raise.
    """
    if recipe.objective.medium is not Text or any(source.kind == "hub" for source in recipe.text_corpus.sources):
        return []
    return [*check_pairs(recipe, tokenizer), *compare_sizes(recipe)]


def check_pairs(recipe: PretrainRecipe, tokenizer: Tokenizer) -> list[str]:
    """Refuse documents of which no sentence pairs can be made, or remark on them if there are many more. Errors:
    ValueError."""
    if not recipe.objective.needs_sentences:
        return []
    room, number, is_all, found = recipe.objective.size - NUM_SPECIAL, 0, True, False
    for source in recipe.text_corpus.sources:
        for place, document in enumerate(islice(documents(source, Tally()), LOOKED_AT), start=1):
            number += 1
            found = found or makes_pair(document, room, tokenizer)
            if found and number > 1:
                return []
            is_all = is_all and place < LOOKED_AT
    if not is_all:
        return [f"the first {number:,} documents are one sentence each, of which no sentence pair is made: {REMEDIES}"]
    if number < 2:
        raise ValueError(
            "sentence pairs need two documents or more, since a random next sentence is from another one, and the "
            f"corpus has {number}: {REMEDIES}"
        )
    raise ValueError(
        f"sentence pairs need documents of two sentences or more, and each document of the corpus is one: {REMEDIES}"
    )


def makes_pair(document: Document, room: int, tokenizer: Tokenizer) -> bool:
    """Whether a document has two sentences, or one so long that it is used in pieces."""
    found = pieces(document)
    return len(found) > 1 or (len(found[0]) > room and len(tokenizer.encode(found[0]).ids) > room)


def compare_sizes(recipe: PretrainRecipe) -> list[str]:
    """What to say of the size of plain files, beside what the plan asks for and what is held out of them."""
    plan, corpus, size = recipe.plan, recipe.text_corpus, recipe.objective.size
    files = [part for source in corpus.sources for part in parts(source)]
    if any(part.source.kind not in PLAIN or (part.path and part.path.suffix in (".gz", ".zst")) for part in files):
        return []
    text = sum(part.num_bytes for part in files) // BYTES_A_TOKEN
    step = plan.global_batch_size * size
    asked, of_what = (plan.max_steps * step, "the plan") if plan.max_steps else (step, "a step")
    lines = []
    if asked > text * (MANY_TIMES if plan.max_steps else 1):
        lower = "plan.max_steps" if plan.max_steps else "plan.global_batch_size"
        lines.append(
            f"there are about {text:,} tokens of text, and {of_what} asks for {asked:,}, so it sees the same text "
            f"{asked / max(1, text):,.0f} times: give more text, or lower {lower}"
        )
    if corpus.held_out * text < FEW_EXAMPLES * size:
        lines.append(
            f"about {corpus.held_out * text:,.0f} tokens are held out, {corpus.held_out * text / size:,.1f} examples, "
            "so evaluations will vary by chance: give more text, or raise corpus.held_out"
        )
    return lines
