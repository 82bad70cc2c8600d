"""What should a reader know of a fine-tuned model?  Its model card."""

from typing import Any

from transformers import PreTrainedModel

from engine.publish.card import Card, Score
from finetune.tasks.task import Task


def make_card(task: Task, model: PreTrainedModel, line: dict[str, Any]) -> Card:
    """The card of the model of a finished job, whose results line is `line`."""
    sizes = " / ".join(f"{count:,} {split}" for split, count in line["sizes"].items())
    base = line["started_from"] or line["model"]
    begun = "random weights in the architecture of" if line["init"] == "random" else "the weights of"
    failed = f" **This run failed: it {line['failure']}.**" if line["failure"] else ""
    dev = task.dev_splits[0]
    headline = f"{dev}_{task.headline}"
    best = line.get("best")
    choice = {"checkpoint": "step {step}, the best of {evaluations} by {metric}".format(**best)} if best else {}
    group, _, member = task.name.partition("/")
    return Card(
        summary=f"A {model.config.model_type} model of {model.num_parameters():,} parameters, fine-tuned on {task.name}"
        f", seed {line['seed']}, from {begun} `{base}`.{failed}",
        usage=task.question.usage(task, model),
        data=f"Rows: {sizes}. Read from: {line['data']}. The rows' licence is their publisher's.",
        limits="The scores are those of the development rows on which the run was evaluated, perhaps chosen; "
        "on other texts expect less. The model has the biases of its pretraining texts and of those who labelled the "
        "rows. Do not let it decide about people.",
        pipeline=task.question.pipeline,
        tags=(task.name.replace("/", "-"), model.config.model_type),
        base_model=base if base.count("/") == 1 and line["model_commit"] else "",
        scores=tuple(
            Score(task.question.pipeline, group, task.name, split, name, value, member or None)
            for split, metrics in line["metrics"].items()
            for name, value in metrics.items()
        ),
        panels=(
            ("Training", {"loss": "loss"}),
            (headline.replace("_", " "), {dev: f"eval_{headline}", "majority": f"baseline_{headline}"}),
        ),
        facts={"majority on the same rows": format_scores(line["majority"])} | choice,
    )  # fmt: skip


def format_scores(scores: dict[str, dict[str, float]]) -> str:
    return "; ".join(f"{split} {name} {value:.4g}" for split, names in scores.items() for name, value in names.items())
