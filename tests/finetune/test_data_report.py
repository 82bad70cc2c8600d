"""Does the report tell, before training, what is in the rows: labels, lengths, doubles, and train rows in dev?"""

import pytest
from datasets import Dataset

from finetune.data_report import data_report
from finetune.task import find_task
from tokenizer.load import load_tokenizer


@pytest.fixture
def report(small_model):
    def written(task, train, dev, max_length=16):
        rows = {"train": Dataset.from_dict(train), "dev": Dataset.from_dict(dev)}
        return data_report(find_task(task), rows, load_tokenizer(small_model), max_length)

    return written


def pairs(*rows):
    return {
        "id": [str(number) for number in range(len(rows))],
        "sentence1": [first for first, *_ in rows],
        "sentence2": [second for _, second, _ in rows],
        "label": [label for *_, label in rows],
    }


def test_rows_of_dev_that_stand_in_train_are_counted(report):
    train = pairs(("It rains.", "Wet.", 0), ("It rains!", "wet", 1), ("Sun", "Dry", 0), ("Snow", "White", 1))
    dev = pairs(("IT  RAINS", "wet.", 0), ("Snow", "white", 0), ("Fog", "Dry", 1), ("Hail", "Ice", 1))
    text = report("glue/rte", train, dev)
    assert "- train: 1 rows repeat another one; 1 texts stand there with different answers" in text
    assert "- dev: 2 of 4 rows (50.00%) stand in train too, 1 of them with another answer" in text
    assert "texts that stand in train, by column: sentence1 50.0%, sentence2 75.0%" in text


def test_labels_are_counted_by_name(report):
    train = pairs(("a", "b", 0), ("c", "d", 0), ("e", "f", 0), ("g", "h", 1))
    text = report("glue/rte", train, train)
    assert "- train: entailment 3 (75.0%), not_entailment 1 (25.0%)" in text
    assert "- **not_entailment**\n  - sentence1: g\n  - sentence2: h" in text


def test_tokens_beyond_the_length_are_told(report):
    long = "word " * 40
    train = pairs(("a", "b", 0), (long, "b", 1))
    text = report("glue/rte", train, pairs(("a", "b", 0)))
    line = next(line for line in text.splitlines() if line.startswith("| train |") and line.endswith("50.0% |"))
    assert int(line.split("|")[4]) > 40
    assert "What is beyond max_length is cut off." in text


def test_tags_are_counted_and_shown_at_their_words(report):
    conll = find_task("conll2003")
    rows = {
        "id": ["0"],
        "words": [["EU", "rejects", "German", "call"]],
        "label": [[conll.labels.index(name) for name in ("B-ORG", "O", "B-MISC", "O")]],
    }
    text = report("conll2003", rows, rows)
    assert "4 words: O 2 (50.0%), B-" in text
    assert "- EU[B-ORG] rejects German[B-MISC] call" in text
    assert "loses words, which count as misses" in text


def test_questions_without_an_answer_are_counted(report):
    rows = {
        "id": ["0", "1"],
        "question": ["Who?", "Why?"],
        "context": ["Ann came.", "Ann came."],
        "answers": [{"text": ["Ann", "Ann"], "answer_start": [0, 0]}, {"text": [], "answer_start": []}],
    }
    text = report("squad/v2.0", rows, rows)
    assert "1 questions with 2.0 references each, of 1 words in the median, 1 at most; 1 without an answer" in text
    assert "- **(none)**" in text
