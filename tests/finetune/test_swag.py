"""Is SWAG read from its files, and is a choice judged with its company alone?"""

import csv

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForMultipleChoice

from finetune.ask.predict_split import encode
from finetune.batches import make_batch, pad_examples
from finetune.questions import QUESTIONS
from finetune.tasks.task import DataSource, find_task
from tokenizer.load import load_tokenizer

HEADER = [
    "",
    "video-id",
    "fold-ind",
    "startphrase",
    "sent1",
    "sent2",
    "gold-source",
    *(f"ending{n}" for n in range(4)),
    "label",
]


def write(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])


def row(label="2", sent2="It"):
    return [
        "0",
        "anet_1",
        "4",
        "x",
        'The cat, "old", sat.',
        sent2,
        "gold",
        "ran",
        "sat on the red dog",
        "was",
        "is",
        label,
    ]


@pytest.fixture
def load(tmp_path):
    def read(*rows):
        write(tmp_path / "train.csv", rows)
        write(tmp_path / "val.csv", [row()])
        return find_task("swag").load(DataSource("folder", str(tmp_path)))

    return read


def test_a_choice_is_the_beginning_with_an_ending(load):
    found = load(row(), row("0", ""))["train"]
    assert found[0] == {
        "id": "0", "text": 'The cat, "old", sat.', "choices": ["It ran", "It sat on the red dog", "It was", "It is"],
        "label": 2,
    }  # fmt: skip
    assert found[1]["choices"][0] == "ran"


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([row("4")], r"train\.csv:2: label '4' of swag; allowed: 0, 1, 2, 3"),
        ([row()[:-1]], r"train\.csv:2: 11 fields, but the header names 12"),
    ],
)
def test_a_bad_row_is_named(load, rows, complaint):
    with pytest.raises(ValueError, match=complaint):
        load(*rows)


def test_the_loss_is_that_of_transformers_and_company_changes_nothing(load, small_model):
    found = load(row("1"), row("3", "It was on the old red dog and it"), row("0"))["train"]
    head, tokenizer = QUESTIONS["choice"], load_tokenizer(str(small_model))
    torch.manual_seed(0)
    model = AutoModelForMultipleChoice.from_config(AutoConfig.from_pretrained(small_model)).eval()
    columns = encode(find_task("swag"), found, tokenizer, 48).columns

    def batch(index):
        x = pad_examples(columns, np.array(index), tokenizer.pad_token_id, longest=48)
        y = head.target(columns, index, x["input_ids"].shape[-1])
        return make_batch(x, y, head.counts(x, y))

    whole = batch([0, 1, 2])
    assert whole.x["input_ids"].ndim == 3
    assert whole.num_units == int(whole.x["attention_mask"].sum())
    with torch.inference_mode():
        ours = head.loss(model, whole)["loss"]
        assert (ours / 3).item() == pytest.approx(model(**whole.x, labels=whole.y["label"]).loss.item(), rel=1e-5)
        for place in range(3):
            alone = head.predict(model, batch([place]))[0]
            np.testing.assert_allclose(head.predict(model, whole)[place], alone, atol=1e-5)
