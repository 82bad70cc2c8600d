"""Does the report tell, before training, what is in the rows: labels, lengths, doubles, and train rows in dev?"""

from dataclasses import replace

import pytest
from datasets import Dataset

from finetune.ask.predict_split import Encodings
from finetune.tasks.task import find_task
from tokenizer.load import load_tokenizer


@pytest.fixture
def report(small_model):
    def written(task, train, dev, max_length=16):
        rows = {"train": Dataset.from_dict(train), "dev": Dataset.from_dict(dev)}
        return Encodings(find_task(task), rows).report(load_tokenizer(small_model), max_length)

    written.tokenizer = load_tokenizer(small_model)
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
    assert "What is beyond max_seq_length is cut off." in text


def test_unknown_tokens_are_told_and_rows_of_nothing_else_are_refused(report):
    assert "Unknown tokens" not in report("glue/rte", *[pairs(("a", "b", 0))] * 2)
    text = report("glue/rte", pairs(("a", "b", 0), ("\u2603", "a b", 1)), pairs(("a", "\u2603", 0)))
    assert "Unknown tokens, of which the model learns nothing: train 20.0%, dev 50.0%." in text
    with pytest.raises(
        ValueError, match=r"all tokens of the 1 rows to train on are unknown to the tokenizer.*: take a"
    ):
        report("glue/rte", pairs(("\u2603", "\u2603 \u2602", 0)), pairs(("a", "b", 0)))


def cells(text, split):
    """The cells of a split's line under "Cut off"."""
    lines = text.split("## Cut off")[1].split("##")[0].splitlines()
    return [cell.strip() for cell in next(line for line in lines if line.startswith(f"| {split} ")).split("|")[2:-1]]


def test_what_is_cut_off_a_pair_is_counted(report):
    train = pairs(("cat", "dog", 0), ("cat " * 40, "dog", 1), ("cat " * 7, "dog " * 6, 1), ("cat " * 7, "dog " * 7, 1))
    text = report("glue/rte", train, pairs(("a", "b", 0)))
    # [CLS] a [SEP] b [SEP]: 16 tokens hold 13 of the texts'; of 5, 44, 16 and 17 tokens 28 and 1 go.
    assert cells(text, "train") == ["2 of 4 (50.00%)", "29", f"{29 / 82:.2%}"]
    assert cells(text, "dev") == ["0 of 1 (0.00%)", "0", "0.00%"]


def test_every_row_is_counted_not_a_sample(report, monkeypatch):
    monkeypatch.setattr("finetune.tasks.data_report.SAMPLE", 2)
    train = pairs(*[("cat " * 40, "dog", 1)] * 5)
    assert cells(report("glue/rte", train, train), "train")[0] == "5 of 5 (100.00%)"


def test_what_is_cut_off_choices_is_counted(report):
    rows = {"id": ["0", "1"], "sent1": ["cat", "cat"], "sent2": ["dog", "dog"], "label": [0, 1]}
    rows |= {"text": ["cat", "cat"], "choices": [["dog", "dog " * 20], ["dog"] * 2]}
    task = replace(find_task("swag"), columns=("text", "choices"))
    table = Dataset.from_dict(rows)
    text = Encodings(task, {"train": table, "dev": table}).report(report.tokenizer, 16)
    assert cells(text, "train") == ["1 of 2 (50.00%)", "8", f"{8 / 39:.2%}"]


def test_words_that_are_cut_off_are_counted(report):
    rows = {"id": ["0", "1"], "words": [["cat"] * 20, ["cat"]], "label": [[0] * 20, [0]]}
    assert cells(report("conll2003", rows, rows), "dev") == ["1 of 2 (50.00%)", "6", f"{6 / 25:.2%}", "6"]


def test_questions_that_are_cut_and_answers_that_no_window_holds_are_counted(report):
    context = "the cat sat on the old mat near the red dog and ran on and on and on and on"
    answers = [{"text": [piece], "answer_start": [0]} for piece in (context, "the")]
    rows = {"id": ["0", "1"], "question": ["cat " * 20, "was"], "context": [context] * 2, "answers": answers}
    text = report("squad/v1.1", rows, rows)  # 16 tokens less three special ones: six for the question, of 13
    assert cells(text, "train") == ["1 of 2 (50.00%)", "14", f"{14 / 21:.2%}", "1"]


def test_a_report_is_of_its_own_length(small_model):
    table = Dataset.from_dict(pairs(("cat " * 20, "dog", 1), ("cat", "dog", 0)))
    encodings, tokenizer = Encodings(find_task("glue/rte"), {"train": table, "dev": table}), load_tokenizer(small_model)
    found = [cells(encodings.report(tokenizer, length), "train")[1] for length in (16, 32, 16)]
    assert found == ["8", "0", "8"]


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
