"""What does a guess score that has looked at nothing?"""

import pytest
from datasets import Dataset

from finetune.tasks.metrics import score_baseline
from finetune.tasks.task import DataSource, find_task


def test_the_commonest_label_is_of_train():
    train = Dataset.from_dict({"label": [1, 1, 0]})
    rows = Dataset.from_dict({"label": [0, 0, 0, 1]})
    assert score_baseline(find_task("glue/rte"), train, rows) == {"accuracy": 0.25}


def test_real_majorities(data):
    """RTE 146 of 277, MRPC 279 of 408: F1 = 2 * 279 / (279 + 408)."""
    expected = {
        "rte": {"accuracy": pytest.approx(146 / 277)},
        "mrpc": {"accuracy": pytest.approx(279 / 408), "f1": pytest.approx(2 * 279 / (279 + 408))},
        "cola": {"matthews_correlation": 0.0, "undefined": 1.0},
        "stsb": {"pearson": 0.0, "spearmanr": 0.0, "undefined": 1.0},
    }
    for name, scores in expected.items():
        task = find_task(f"glue/{name}")
        rows = task.load(DataSource("folder", str(data / "glue")))
        assert score_baseline(task, rows["train"], rows["dev"]) == scores


def test_no_word_is_an_entity():
    rows = Dataset.from_dict({"words": [["EU", "rejects"]], "label": [[3, 0]]})
    assert score_baseline(find_task("conll2003"), rows, rows)["f1"] == 0.0


def test_a_span_is_the_first_sentence():
    answers = [{"text": ["It cost $3.50 then."], "answer_start": [0]}]
    rows = Dataset.from_dict({"id": ["q"], "context": ["It cost $3.50 then. Now more."], "answers": answers})
    assert score_baseline(find_task("squad/v1.1"), rows, rows)["exact_match"] == 1.0
