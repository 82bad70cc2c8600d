"""Is each head's loss transformers' own, and does it answer one thing an example?"""

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from finetune.batches import make_batch, pad_examples
from finetune.questions import QUESTIONS
from finetune.tasks.task import find_task

LENGTHS = (7, 12, 9)
TASKS = {"classification": "glue/mnli", "regression": "glue/stsb", "tagging": "conll2003", "span": "squad/v1.1"}
TAGS = [np.full(length, -100) for length in LENGTHS]
for row, tags in enumerate(TAGS):
    tags[1:5] = [row, -100, 2, 0]  # the second token goes on with the first's word
COLUMNS = {
    "input_ids": [np.arange(1, length + 1) for length in LENGTHS],
    "token_type_ids": [np.arange(length) // 4 % 2 for length in LENGTHS],
    "labels": TAGS,
    "start": [1, 5, 2],
    "end": [3, 5, 8],
}
LABEL = {"classification": [2, 0, 1], "regression": [0.5, 4.0, 2.2]}
THEIRS = {
    "classification": lambda y: {"labels": y["label"]},
    "regression": lambda y: {"labels": y["label"]},
    "tagging": lambda y: {"labels": y["tags"]},
    "span": lambda y: {"start_positions": y["start"], "end_positions": y["end"]},
}


@pytest.fixture(params=TASKS)
def kind(request):
    return request.param


@pytest.fixture
def model(kind, small_model):
    head = QUESTIONS[kind]
    config = AutoConfig.from_pretrained(small_model)
    config.update(head.config(find_task(TASKS[kind])))
    torch.manual_seed(0)
    return head.auto_class.from_config(config).eval()


@pytest.fixture
def batch(kind):
    index = np.arange(3)
    x = pad_examples(COLUMNS, index, 0, longest=max(LENGTHS))
    y = QUESTIONS[kind].target({**COLUMNS, "label": LABEL.get(kind)}, index.tolist(), x["input_ids"].shape[1])
    return make_batch(x, y, QUESTIONS[kind].counts(x, y))


def unpadded(batch):
    """The inputs of each row alone."""
    return [{name: table[[row], :length] for name, table in batch.x.items()} for row, length in enumerate(LENGTHS)]


def test_sum_over_count_is_the_loss_of_transformers(kind, model, batch):
    (ours,) = QUESTIONS[kind].loss(model, batch).values()
    theirs = model(**batch.x, **THEIRS[kind](batch.y)).loss
    if kind == "span":  # with padding theirs is another one: it takes padding for a candidate
        alone = [(x, {name: value[[row]] for name, value in batch.y.items()}) for row, x in enumerate(unpadded(batch))]
        theirs = torch.stack([model(**x, **THEIRS[kind](y)).loss for x, y in alone]).mean()
    assert batch.counts["loss"] == (9 if kind == "tagging" else 3)
    assert (ours / batch.counts["loss"]).item() == pytest.approx(theirs.item(), abs=1e-6)


def test_an_example_in_company_is_judged_and_read_as_alone(kind, model, batch):
    columns = {**COLUMNS, "label": LABEL.get(kind)}
    alone = []
    for row in range(3):
        x = pad_examples(columns, np.array([row]), 0, longest=LENGTHS[row])
        y = QUESTIONS[kind].target(columns, [row], LENGTHS[row])
        alone.append(make_batch(x, y, QUESTIONS[kind].counts(x, y)))
    with torch.inference_mode():
        together = QUESTIONS[kind].loss(model, batch)["loss"].item()
        apart = sum(QUESTIONS[kind].loss(model, one)["loss"].item() for one in alone)
        assert together == pytest.approx(apart, rel=1e-5)
        answers = QUESTIONS[kind].predict(model, batch)
        singles = [QUESTIONS[kind].predict(model, one)[0] for one in alone]
    for answer, single, length in zip(answers, singles, LENGTHS, strict=True):
        cut = [part[:length] for part in answer] if kind == "span" else answer[:length] if kind == "tagging" else answer
        np.testing.assert_allclose(cut, single, atol=1e-5)


@pytest.mark.parametrize(
    ("task", "names", "problem"),
    [
        ("glue/rte", ["entailment", "not_entailment"], "single_label_classification"),
        ("glue/stsb", ["score"], "regression"),
        ("conll2003", list(find_task("conll2003").labels), None),
    ],
)
def test_the_config_names_the_labels(task, names, problem):
    found = find_task(task)
    config = found.question.config(found)
    assert list(config["id2label"].values()) == names
    assert [config["id2label"][number] for number in config["label2id"].values()] == names
    assert config.get("problem_type") == problem
