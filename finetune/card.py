"""What should a stranger know of a fine-tuned model?  The model card's words for it."""

from typing import Any

from transformers import PreTrainedModel

from engine.publish.card import Card, Score
from finetune.tasks.task import Head, Task

PIPELINES: dict[Head, str] = {
    "classification": "text-classification",
    "regression": "text-classification",
    "choice": "multiple-choice",
    "tagging": "token-classification",
    "span": "question-answering",
}
USAGE = {
    "text": """from transformers import pipeline

judge = pipeline("text-classification", model="{model}")
print(judge({example}))""",
    "tagging": """from transformers import pipeline

find = pipeline("token-classification", model="{model}", aggregation_strategy="first")
print(find({example}))""",
    "program": """# one JSON object a line, with the keys {columns}:
#   python -m finetune.predict {model} questions.jsonl
from transformers import AutoModelFor{kind}

model = AutoModelFor{kind}.from_pretrained("{model}")""",
}


def card(task: Task, model: PreTrainedModel, line: dict[str, Any]) -> Card:
    """The card of the model of a finished job, whose results line is `line`."""
    sizes = " / ".join(f"{count:,} {split}" for split, count in line["sizes"].items())
    base = line["started_from"] or line["model"]
    begun = "random weights in the architecture of" if line["init"] == "random" else "the weights of"
    failed = f" **This run failed: it {line['failure']}.**" if line["failure"] else ""
    group, _, member = task.name.partition("/")
    return Card(
        summary=f"A {model.config.model_type} model of {model.num_parameters():,} parameters, fine-tuned on {task.name}"
        f", seed {line['seed']}, from {begun} `{base}`.{failed}",
        usage=usage(task, model),
        data=f"Rows: {sizes}. Read from: {line['data']}. The rows' licence is their publisher's.",
        limits="The scores are those of the development rows on which the run was judged, and perhaps chosen; on other "
        "texts expect less. The model has the biases of its pretraining texts and of those who labelled the rows. Do "
        "not let it decide about people.",
        pipeline=PIPELINES[task.head],
        tags=(task.name.replace("/", "-"), model.config.model_type),
        base_model=base if base.count("/") == 1 and line["model_commit"] else "",
        scores=tuple(
            Score(PIPELINES[task.head], group, task.name, split, name, value, member or None)
            for split, metrics in line["metrics"].items()
            for name, value in metrics.items()
        ),
        panels=(("Training", {"loss": "loss"}),),
        facts={"majority on the same rows": said(line["majority"])},
    )  # fmt: skip


def usage(task: Task, model: PreTrainedModel) -> str:
    if task.head in ("classification", "regression"):
        pair = len(task.columns) == 2
        example = '{"text": "A man is eating.", "text_pair": "Someone eats."}' if pair else '"It was a fine evening."'
        return USAGE["text"].replace("{example}", example)
    if task.head == "tagging":
        return USAGE["tagging"].replace("{example}", '"Anna lives in Rome."')
    kind = type(model).__name__.rpartition("For")[2]
    return USAGE["program"].replace("{columns}", ", ".join(task.columns)).replace("{kind}", kind)


def said(scores: dict[str, dict[str, float]]) -> str:
    return "; ".join(f"{split} {name} {value:.4g}" for split, names in scores.items() for name, value in names.items())
