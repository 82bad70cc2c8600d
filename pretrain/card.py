"""What should a stranger know of a pretrained model?  The model card's words for it."""

from collections.abc import Mapping, Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerFast

import networks
from corpus.source import Source
from corpus.store import Store
from engine.card import Card, Score
from pretrain.recipe import PretrainRecipe
from tokenizer.load import tokenizer_hash

LICENCES = {
    "wikipedia": "Wikipedia's text is CC BY-SA",
    "docstrings": "each package's own",
}
REGISTERS = "import networks  # of Cloze: it makes this kind of model known to transformers\n"
USAGE = {
    "fill-mask": """from transformers import pipeline

fill = pipeline("fill-mask", model="{model}")
for guess in fill("The old man sat by the [MASK].".replace("[MASK]", fill.tokenizer.mask_token)):
    print(f"{guess['score']:.3f}", guess["token_str"])""",
    "text-generation": """from transformers import pipeline

go_on = pipeline("text-generation", model="{model}")
print(go_on("The old man sat by the", max_new_tokens=40)[0]["generated_text"])""",
}


def card(
    recipe: PretrainRecipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    sources: Sequence[Source],
    stores: Mapping[str, Store],
    found: Mapping[str, float],
) -> Card:
    """The card of a model of which `found` are the values of its last evaluation."""
    objective = recipe.objective
    kind = model.config.model_type
    return Card(
        summary=(
            f"A {kind} model of {model.num_parameters():,} parameters, pretrained from random weights: "
            f"{objective.in_short}. Its vocabulary has {len(tokenizer):,} tokens, its examples "
            f"{' and '.join(lengths(recipe))} tokens."
        ),
        usage=(REGISTERS if kind in networks.MODEL_TYPES else "") + USAGE[objective.pipeline],
        data=data(sources, stores),
        limits=(
            "The model knows what its texts say, and repeats their errors, their views of people and groups, and their "
            "gaps; text from before its sources were written, or from outside of them, is strange to it. It is meant "
            "to be fine-tuned. What it fills in or goes on with is likely, not true: do not rely on it for facts or "
            "for decisions on people."
        ),
        pipeline=objective.pipeline,
        tags=(kind, "pretraining", objective.name),
        datasets=tuple(source.path for source in sources if source.kind == "hub"),
        scores=tuple(
            Score(objective.pipeline, "held-out", "held-out documents of the same sources", "held out", name, value)
            for name, value in found.items()
        ),
        panels=objective.panels,
        facts={"tokenizer, SHA-256": tokenizer_hash(tokenizer), "seed": str(recipe.seed)},
    )


def lengths(recipe: PretrainRecipe) -> list[str]:
    return [str(phase.length) for phase in recipe.phases]


def data(sources: Sequence[Source], stores: Mapping[str, Store]) -> str:
    lines = [f"- {told(source)}" for source in sources]
    lines += ["", "| | documents | sentences | tokens |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {len(store):,} | {store.num_sentences:,} | {store.num_tokens:,} |"
        for name, store in stores.items()
    ]
    return "\n".join(lines)


def told(source: Source) -> str:
    """A source and its licence, in words."""
    licence = LICENCES.get(source.kind, "as its publisher says: see there before you use the model")
    return f"{source}; licence: {licence}"
