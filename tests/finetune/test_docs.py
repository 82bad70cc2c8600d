"""Do the sample tasks hold what they promise: no leak, no free lunch, answers that are where they are said to be?"""

import re
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from corpus.text import docstrings
from corpus.text.docstrings import wording
from corpus.text.document import draw
from finetune.tasks import docs
from finetune.tasks.shortcuts import after_best_match, shortcuts
from finetune.tasks.task import DataSource, find_task

pytestmark = pytest.mark.slow  # every docstring of every installed package is read
NAMES = sorted(docs.TASKS)
SPLITS = ("train", "dev", "test")
ROOT = Path(docs.__file__).parents[2]


@pytest.fixture(scope="module")
def rows():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # where the cache of the docstrings is
        return {name: docs.TASKS[name].load(DataSource("sample")) for name in NAMES}


def module(place: str) -> str:
    return place.split(":")[0]


@pytest.mark.parametrize("name", NAMES)
def test_rows_have_the_shape_and_the_number_that_the_task_says(rows, name):
    task = find_task(f"docs/{name}")
    answer = task.question.answer_column
    for split in SPLITS:
        assert rows[name][split].column_names == ["id", *task.columns, answer]
        assert len(rows[name][split]) == docs.SIZES[split]
        assert len(set(rows[name][split]["id"])) == docs.SIZES[split]


@pytest.mark.parametrize("name", NAMES)
def test_no_module_is_in_two_splits_and_the_store_holds_dev_and_test_out(rows, name):
    places = {split: {module(place) for place in rows[name][split]["id"]} for split in SPLITS}
    for one, other in combinations(SPLITS, 2):
        assert not places[one] & places[other]
    for split, modules in places.items():
        assert {draw(f"docstrings:{found}") < docs.HELD_OUT for found in modules} == {split != "train"}


def test_no_text_is_in_two_splits(rows):
    """Over all the tasks together: what one trains on, no other is judged on."""

    def texts(split):
        yield from rows["pair"][split]["sentence2"]
        yield from (own["sentence"] for own in rows["wording"][split] if own["label"])
        yield from (" ".join(words) for words in rows["tags"][split]["words"])
        yield from (answers["text"][0] for answers in rows["span"][split]["answers"])

    seen = {split: {wording(text) for text in texts(split)} for split in SPLITS}
    for one, other in combinations(SPLITS, 2):
        assert not seen[one] & seen[other]


@pytest.mark.parametrize("name", ["pair", "wording"])
def test_labels_are_balanced_exactly(rows, name):
    for split in SPLITS:
        assert Counter(rows[name][split]["label"]) == {0: docs.SIZES[split] // 2, 1: docs.SIZES[split] // 2}


@pytest.mark.parametrize("name", ["pair", "wording"])
def test_a_bag_of_words_is_at_chance(rows, name):
    for split in ("dev", "test"):
        answers = shortcuts(docs.TASKS[name], rows[name]["train"], rows[name][split])
        assert 0.43 < accuracy_score(rows[name][split]["label"], answers["bag_of_words"]) < 0.57


def test_strangers_are_described_under_another_name(rows):
    own = {
        wording(parameter.description): parameter.name
        for modules in docs.parts().values()
        for _, parameter in docs.described(modules)
    }
    for row in rows["pair"]["dev"]:
        name = row["sentence1"].split(" : ")[0]
        assert (own[wording(row["sentence2"])] == name) == row["label"]


def test_exchanged_words_are_as_frequent_as_the_words_they_replace():
    kinds = ["the", "of", "the", "a", "in", "the", "of", "to", "in", "in", "a", "the"]
    given = docs.exchanged(kinds)
    assert [given[row] for row in range(0, 12, 2)] == list(range(0, 12, 2))
    assert sorted(given[1::2]) == list(range(1, 12, 2))
    assert all(kinds[given[row]] != kinds[row] for row in range(1, 12, 2))
    with pytest.raises(ValueError, match="3 of 4 are of one kind"):
        docs.exchanged(["a", "b", "a", "b", "a", "b", "a", "c"])


def test_a_wrong_wording_differs_in_three_little_words(rows):
    whole = {}
    for modules in docs.parts().values():
        whole |= dict(docs.with_little_words(modules))
    for row in rows["wording"]["dev"]:
        written, shown = (re.findall(r"\w+|\W", text) for text in (whole[row["id"]], row["sentence"]))
        changed = [pair for pair in zip(written, shown, strict=True) if pair[0] != pair[1]]
        assert len(changed) == docs.EXCHANGED * (1 - row["label"])
        assert all(word in docs.LITTLE_WORDS.split() for pair in changed for word in pair)


def test_tags_are_whole_iob2_and_align(rows):
    task = docs.TASKS["tags"]
    for split in SPLITS:
        for words, label in zip(rows["tags"][split]["words"], rows["tags"][split]["label"], strict=True):
            assert len(words) == len(label)
            assert "`" not in "".join(words)
            tags = ["O", *(task.labels[number] for number in label)]
            assert any(tag != "O" for tag in tags)
            for before, tag in pairwise(tags):
                assert not tag.startswith("I-") or before[2:] == tag[2:]


def test_answers_are_slices_of_their_contexts_and_stand_below_the_name_asked_for(rows):
    for split in SPLITS:
        for row in rows["span"][split]:
            (text,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
            assert row["context"][start : start + len(text)] == text
            asked = row["question"].split()[2]
            assert re.search(rf"(^|\n){re.escape(asked)} : [^\n]*\n$", row["context"][:start])
            assert row["context"].count(" : ") >= 2


def test_rows_are_the_same_on_every_reading(rows):
    again = docs.TASKS["pair"].load(DataSource("sample"))
    assert again["dev"].to_dict() == rows["pair"]["dev"].to_dict()
    assert docstrings.fingerprint() in again["dev"].info.description


def test_other_sources_are_refused():
    with pytest.raises(ValueError, match=r"docs/pair: data.source is 'hub'.*sample"):
        docs.TASKS["pair"].load(DataSource("hub"))


def test_the_rules_of_one_line_reach_what_the_docstrings_say(rows):
    """They are strong on purpose: whoever reads a model's score is to see them beside it."""
    found = {name: shortcuts(docs.TASKS[name], rows[name]["train"], rows[name]["dev"]) for name in NAMES}
    assert accuracy_score(rows["pair"]["dev"]["label"], found["pair"]["word_overlap"]) > 0.8
    exact = [found["span"]["next_piece"][row["id"]] == row["answers"]["text"][0] for row in rows["span"]["dev"]]
    assert np.mean(exact) > 0.9
    gold = np.concatenate(rows["tags"]["dev"]["label"])
    lexicon, window = (np.concatenate(found["tags"][rule]) for rule in ("lexicon", "window"))
    assert np.mean(gold == 0) < np.mean(gold == lexicon) < np.mean(gold == window)


def test_the_next_piece_of_one_piece_is_the_whole():
    assert after_best_match("What does b mean?", "only this") == "only this"
