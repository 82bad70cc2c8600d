"""Does every kind of question keep the contract of its base class, and is a new one a class of its own and no more?"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from engine.run.runtime import make_accelerator
from finetune.ask.columns import choose_layout
from finetune.ask.model import Answerer, find_question
from finetune.ask.predict_split import encode
from finetune.batches import make_batch, pad_examples
from finetune.questions import KINDS, QUESTIONS
from finetune.questions.label import Label, OwnLabels
from finetune.table.analysis import write_analysis
from finetune.table.predictions import write_predictions
from finetune.tasks import own
from finetune.tasks.files import open_file
from finetune.tasks.metrics import score, score_baseline
from finetune.tasks.task import DataSource, Task, find_task, open_task
from tokenizer.load import load_tokenizer

TEXTS = ["the cat sat", "a dog ran on the mat", "it was old", "the red dog"]
FILES = {
    "classification": {"text": TEXTS, "label": ["a", "b", "a", "b"]},
    "regression": {"text": TEXTS, "label": [0.5, 1.5, 2.0, 3.0]},
    "choice": {"text": TEXTS, "choices": [["on", "the mat"], ["was", "so", "it"]] * 2, "label": [0, 2, 1, 1]},
    "tagging": {
        "words": [text.split() for text in TEXTS],
        "tags": [["B-X", *["O"] * text.count(" ")] for text in TEXTS],
    },
}


class Mood(Label):
    """A sixth kind: labels that are asked for by another name."""

    name = "mood"


class OwnMoods(OwnLabels):
    name = "mood"


def rows_of(question, folder):
    """The task with its rows, which are read from a file of the kind's own, or, of spans, from SQuAD's."""
    if not question.own:
        answers = [{"text": text.split()[1], "answer_start": text.index(" ") + 1} for text in TEXTS]
        paragraphs = [
            {"context": text, "qas": [{"id": str(n), "question": "which ?", "answers": [answer]}]}
            for n, (text, answer) in enumerate(zip(TEXTS, answers, strict=True))
        ]
        for split in ("train", "dev"):
            (folder / f"{split}-v1.1.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
        return open_task(find_task("squad/v1.1"), DataSource("folder", str(folder)))
    columns = FILES.get(question.name, FILES["classification"])
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kind = question.own[0]
    files = {"train": "rows.jsonl", "dev": "rows.jsonl"}
    task = Task(f"own/{kind.name}", question, (), (), kind.metric, kind.headline, lambda source: own.load(kind, source))
    return open_task(task, DataSource("folder", str(folder), files=files, columns={name: name for name in columns}))


@pytest.fixture(params=[*KINDS, Mood()], ids=lambda question: question.name)
def question(request, monkeypatch):
    if request.param.name == "mood":
        monkeypatch.setattr(Mood, "own", (OwnMoods(),))
    return request.param


@pytest.fixture
def learnt(question, tmp_path, small_model):
    """The task, its rows, a model with random weights, and what that predicts for the dev rows."""
    task, rows = rows_of(question, tmp_path)
    tokenizer = load_tokenizer(str(small_model))
    encoded = encode(task, rows["dev"], tokenizer, 32)
    config = AutoConfig.from_pretrained(small_model)
    config.update(question.config(task))
    torch.manual_seed(0)
    model = question.auto_class.from_config(config).eval()
    index = np.arange(len(encoded.columns["input_ids"]))
    x = pad_examples(encoded.columns, index, tokenizer.pad_token_id, longest=32)
    y = question.target(encoded.columns, index.tolist(), x["input_ids"].shape[-1])
    batch = make_batch(x, y, question.counts(x, y))
    return task, rows["dev"], model, batch, encoded


def test_the_loss_is_a_sum_over_the_answers_that_are_counted(question, learnt):
    _, _, model, batch, _ = learnt
    losses = question.loss(model, batch)
    assert losses.keys() == batch.counts.keys()
    for name, loss in losses.items():
        loss.backward(retain_graph=True)
        assert torch.isfinite(loss)
        assert batch.counts[name] > 0
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())


def test_predictions_are_scored_kept_and_shown(question, learnt, tmp_path):
    task, rows, model, batch, encoded = learnt
    with torch.inference_mode():
        predictions = question.decide(model, encoded.decode(question.predict(model, batch)))
    assert task.headline in score(task, predictions.answers, rows)
    assert task.headline in score_baseline(task, rows, rows)
    assert isinstance(question.describe_collapse(task, predictions), str)
    write_predictions(tmp_path, task, "dev", rows, predictions)
    (file,) = tmp_path.glob("*-dev.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["id"] for line in lines] == rows["id"][:]
    assert all("prediction" in line and "label" in line for line in lines)
    write_analysis(tmp_path, task, {"dev": rows}, {"dev": predictions})
    assert "words" in (tmp_path / "analysis.html").read_text()
    assert question.describe_answers(task, rows)
    assert len(question.input_texts(task, rows)) == len(task.columns)
    assert all(question.show_row(task, row)[0].startswith("- ") for row in rows)
    assert "{model}" in question.usage(task, model)


def test_a_row_of_a_file_is_answered_and_shown(question, learnt, tmp_path, small_model):
    task, rows, model, *_ = learnt
    layout = question.layouts[0]
    fields = {column: rows[0][column] for column in layout.values()}
    (tmp_path / "in.jsonl").write_text(json.dumps(fields) + "\n")
    inputs = open_file(str(tmp_path / "in.jsonl"))
    assert choose_layout(inputs, question, (), ()) == (layout, "")
    (given,) = [question.read_fields(row.fields, layout) for row in inputs.rows]
    task = replace(task, columns=question.columns(layout))
    answerer = Answerer(model, task, load_tokenizer(str(small_model)), make_accelerator(seed=0), max_length=32)
    (line,) = answerer.answer([given])
    assert "prediction" in line
    assert json.loads(json.dumps(line)) == line
    assert question.show(given | line).startswith("<")


def test_a_saved_model_tells_its_kind(question, learnt):
    if question.name in QUESTIONS:
        model = learnt[2]
        model.config.architectures = [type(model).__name__]
        assert find_question(model.config, "folder").name == question.name
