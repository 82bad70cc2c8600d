"""What should a reader know of a fine-tuned model?  Its model card."""

from typing import Any

from transformers import PreTrainedModel

from engine.publish.card import Card, Score
from engine.publish.hub import Hub
from finetune.tasks.task import Task


def make_card(task: Task, model: PreTrainedModel, line: dict[str, Any], hub: Hub) -> Card:
    """The card of the model of a finished job, whose results line is `line`; `hub` says licence and language."""
    sizes = " / ".join(f"{count:,} {split}" for split, count in line["sizes"].items())
    base = line["started_from"] or line["model"]
    begun = "random weights in the architecture of" if line["init"] == "random" else "the weights of"
    failed = f" **This run failed: it {line['failure']}.**" if line["failure"] else ""
    dev = task.dev_splits[0]
    headline = f"{dev}_{task.headline}"
    best = line.get("best")
    choice = {"checkpoint": "step {step}, the best of {evaluations} by {metric}".format(**best)} if best else {}
    group, _, member = task.name.partition("/")
    licence = "not stated" if group == "own" else "as their publisher says"
    pipeline, majority = task.question.pipeline, line["majority"]
    return Card(
        summary=f"A {model.config.model_type} model of {model.num_parameters():,} parameters, fine-tuned on {task.name}"
        f", seed {line['seed']}, from {begun} `{base}`.{failed}",
        usage=task.question.usage(task, model),
        data=f"Rows: {sizes}. Read from: {line['data']}. The rows' licence: {licence}.",
        limits="The scores are those of the development rows on which the run was evaluated, perhaps chosen; "
        "on other texts expect less. The model has the biases of its pretraining texts and of those who labelled the "
        "rows. Do not let it decide about people.",
        pipeline=pipeline,
        tags=(task.name.replace("/", "-"), model.config.model_type),
        base_model=base if base.count("/") == 1 and line["model_commit"] else "",
        scores=tuple(
            Score(pipeline, group, task.name, split, name, value, member or None, majority.get(split, {}).get(name))
            for split, metrics in line["metrics"].items()
            for name, value in metrics.items()
        ),
        panels=(
            ("Training", {"loss": "loss"}),
            (headline.replace("_", " "), {dev: f"eval_{headline}", "majority": f"baseline_{headline}"}),
        ),
        facts=choice,
        license=hub.license,
        language=hub.language or ((task.language,) if task.language else ()),
    )  # fmt: skip
