"""What should somebody know of a pretrained model?  The model card's words for it."""

from collections.abc import Mapping

from transformers import PreTrainedModel

import networks
from corpus.medium import Medium, OpenCorpus
from engine.publish.card import Card, Score
from pretrain.continued import Origin
from pretrain.recipe import PretrainRecipe

ANY_MODEL = """from transformers import AutoModel

model = AutoModel.from_pretrained("{model}")"""
REGISTERS = "import cloze, networks  # they make this kind of model known to transformers\n"
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
    recipe: PretrainRecipe, model: PreTrainedModel, medium: Medium, corpus: OpenCorpus, found: Mapping[str, float],
    baselines: Mapping[str, float], origin: Origin,
) -> Card:  # fmt: skip
    """The card of a model of which `found` are the values of its last evaluation, and `origin` where it began;
    `baselines` are the values of a guess without x."""
    objective = recipe.objective
    kind, task = model.config.model_type, objective.pipeline
    return Card(
        summary=(
            f"A {kind} model of {model.num_parameters():,} parameters, {origin.in_short}: "
            f"{objective.in_short}. {medium.describe([phase.size for phase in recipe.phases])}"
        ),
        usage=(REGISTERS if kind in networks.MODEL_TYPES else "") + USAGE.get(task, ANY_MODEL),
        data="\n".join(corpus.report),
        limits=medium.limits,
        pipeline=task,
        tags=(kind, "pretraining", objective.name),
        datasets=corpus.datasets,
        scores=tuple(
            Score(task, "held-out", medium.held_out, "held out", name, value, baseline=baselines.get(name))
            for name, value in found.items()
        ),
        panels=objective.panels,
        facts={f"{medium.processor_name}, SHA-256": medium.stamp, "seed": str(recipe.seed)},
        license=recipe.hub.license,
        language=recipe.hub.language,
    )
