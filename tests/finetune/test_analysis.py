"""Does the page of a job show what its model gets wrong: the confusions, the surest mistakes first, marked words?"""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from datasets import Dataset

from finetune.questions.encoding import Predictions
from finetune.table.analysis import write_analysis
from finetune.table.sections import calibration, list_errors
from finetune.tasks.metrics import score
from finetune.tasks.metrics.entities import find_entities
from finetune.tasks.task import find_task


class Page(HTMLParser):
    """What a reader sees: the cells of tables by row, the mistakes, and whether every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.mistakes, self.open, self._cell = [], [], [], None
        self.feed(text)
        assert self.open == [], "not closed"

    def handle_starttag(self, tag, attributes):
        if tag in ("meta", "img", "br", "path", "use"):
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag == "article":
            self.mistakes.append("")

    def handle_endtag(self, tag):
        if tag in ("meta", "path", "use"):
            return
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)
        if "article" in self.open:
            self.mistakes[-1] += data


def page(folder, task, rows, predictions):
    write_analysis(folder, task, {"dev": rows}, {"dev": predictions})
    text = (folder / "analysis.html").read_text(encoding="utf-8")
    return text, Page(text)


def test_labels_are_crossed_and_the_surest_mistake_comes_first(tmp_path):
    rte = find_task("glue/rte")
    assert rte.labels == ("entailment", "not_entailment")
    rows = Dataset.from_dict(
        {
            "id": ["0", "1", "2", "3"],
            "sentence1": ["One <b>cat</b> sat.", "Two cats sat.", "Three.", "Four."],
            "sentence2": ["A cat.", "Dogs.", "3", "4"],
            "label": [0, 1, 1, 0],
        }
    )
    sure = np.array([[0.9, 0.1], [0.6, 0.4], [0.95, 0.05], [0.2, 0.8]], np.float32)
    text, found = page(tmp_path, rte, rows, Predictions(sure.argmax(1), sure))
    assert ["entailment", "1", "1", "33.3%", "50.0%", "40.0%", "2"] in found.rows
    assert ["not_entailment", "2", "0", "0.0%", "0.0%", "0.0%", "2"] in found.rows
    order = [re.search(r"row (\d)", mistake)[1] for mistake in found.mistakes]
    assert order == ["2", "3", "1"]  # 95 %, 80 %, 60 % sure
    assert "95.0% sure" in found.mistakes[0]
    assert "<b>cat" not in text
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]+"|<rdf.*?</metadata>', "", text.replace("\n", " "))  # alone


def test_one_answer_for_all_is_called_a_failure(tmp_path):
    rows = Dataset.from_dict({"id": ["0", "1"], "sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [0, 1]})
    sure = np.array([[0.9, 0.1], [0.8, 0.2]], np.float32)
    text, _ = page(tmp_path, find_task("glue/rte"), rows, Predictions(sure.argmax(1), sure))
    assert "This run failed: it answers &#39;entailment&#39; to every row." in text


def test_scores_are_listed_by_their_error(tmp_path):
    rows = Dataset.from_dict({
        "id": ["0", "1", "2"], "sentence1": ["a", "b", "c"], "sentence2": ["d", "e", "f"], "label": [1.0, 2.0, 5.0],
    })  # fmt: skip
    text, found = page(tmp_path, find_task("glue/stsb"), rows, Predictions(np.array([1.5, 2.1, 2.0])))
    assert "Mean distance from the right score: 1.200." in text
    assert [mistake.split("row ")[1][0] for mistake in found.mistakes] == ["2", "0", "1"]


def test_entities_are_counted_by_type_and_kind_of_error_and_marked(tmp_path):
    conll = find_task("conll2003")
    tag = {name: number for number, name in enumerate(conll.labels)}
    right = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "O"]]
    given = [["B-PER", "I-PER", "O", "B-ORG"], ["O", "B-LOC"]]
    rows = Dataset.from_dict({
        "id": ["0", "1"], "words": [["Ann", "Lee", "in", "Rome"], ["Acme", "sold"]],
        "label": [[tag[name] for name in names] for names in right],
    })  # fmt: skip
    answers = [np.array([tag[name] for name in names]) for names in given]
    text, found = page(tmp_path, conll, rows, Predictions(answers))
    assert ["PER", "100.0%", "100.0%", "100.0%", "1", "1"] in found.rows
    assert ["LOC", "0.0%", "0.0%", "0.0%", "1", "1"] in found.rows
    counts = {row[0]: row[2] for row in found.rows if len(row) == 3}
    assert [counts[kind] for kind in ("wrong type", "wrong ends", "both wrong", "missed", "made up")] == list("10011")
    assert re.search(r"<u>.*Rome.*</u>", text)
    assert re.search(r"<mark>.*sold.*</mark>", text)
    boxes = re.search(r'<div class="tiles">(.*?)</div>\n</div>', text, re.S)[1]
    assert re.findall(r"</b>([^<]+)", boxes) == ["precision", "recall", "f1", "strict f1"]


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("B-PER I-PER O", [(0, 2, "PER")]),
        ("B-PER B-PER", [(0, 1, "PER"), (1, 2, "PER")]),
        ("I-PER O", [(0, 1, "PER")]),
        ("B-PER I-LOC", [(0, 1, "PER"), (1, 2, "LOC")]),
        ("B-PER E-PER E-PER S-PER", [(0, 2, "PER"), (2, 3, "PER"), (3, 4, "PER")]),
        ("O B-LOC", [(1, 2, "LOC")]),
    ],
)
def test_entities_are_those_that_are_scored(tags, found):
    assert find_entities(tags.split()) == found


def test_the_page_counts_entities_as_the_score_does(tmp_path):
    conll, chance = find_task("conll2003"), np.random.default_rng(0)
    lengths = chance.integers(1, 12, 40)
    right, given = ([chance.integers(0, len(conll.labels), length) for length in lengths] for _ in range(2))
    table = {"id": [str(number) for number in range(40)], "label": [tags.tolist() for tags in right]}
    rows = Dataset.from_dict({**table, "words": [["x"] * length for length in lengths]})
    scores = score(conll, given, rows)
    assert scores["f1"] > scores["strict_f1"] > 0
    _, found = page(tmp_path, conll, rows, Predictions(given))
    for kind in ("PER", "LOC", "ORG", "MISC"):
        expected = [f"{scores[f'{name}_{kind}']:.1%}" for name in ("precision", "recall", "f1")]
        assert [row[1:4] for row in found.rows if row[0] == kind and len(row) == 6] == [expected]


def test_tags_that_are_no_entities_are_counted_word_by_word(tmp_path):
    task = replace(find_task("own/tags"), labels=("NOUN", "VERB"), columns=("words",))
    rows = Dataset.from_dict({"id": ["0"], "words": [["dogs", "cats", "run", "far"]], "label": [[0, 0, 1, 1]]})
    _, found = page(tmp_path, task, rows, Predictions([np.array([0, 1, 1, -1])]))  # the last word was not read
    assert ["NOUN", "100.0%", "50.0%", "66.7%", "2", "1"] in found.rows
    assert ["VERB", "50.0%", "50.0%", "50.0%", "2", "2"] in found.rows
    assert score(task, [[0, 1, 1, -1]], rows) == {"accuracy": 0.5}
    assert ["4 to 4", "0.0%", "1"] in found.rows  # sentences without an error


def test_an_error_has_one_kind():
    assert list_errors([(0, 2, "PER")], [(0, 2, "LOC")]) == ["wrong type"]
    assert list_errors([(0, 2, "PER")], [(1, 2, "PER")]) == ["wrong ends"]
    assert list_errors([(0, 2, "PER")], [(1, 3, "LOC")]) == ["both wrong"]
    assert sorted(list_errors([(0, 2, "PER")], [(4, 5, "PER")])) == ["made up", "missed"]


def test_a_span_is_shown_in_its_context_and_questions_by_their_word(tmp_path):
    context = "Before. " * 40 + "The <tower> was built in 1889 by Eiffel." + " After." * 40
    rows = Dataset.from_dict({
        "id": ["q0", "q1"], "question": ["When was it built?", "Who built it?"], "context": [context, context],
        "answers": [{"text": ["1889"], "answer_start": [345]}, {"text": ["Eiffel"], "answer_start": [353]}],
    })  # fmt: skip
    found = Predictions({"q0": "<tower>", "q1": "Eiffel"}, None)
    text, shown = page(tmp_path, find_task("squad/v1.1"), rows, found)
    assert ["when", "0.0%", "1"] in shown.rows
    assert ["who", "100.0%", "1"] in shown.rows
    assert len(shown.mistakes) == 1
    assert "The <mark>&lt;tower&gt;</mark> was built in <u>1889</u> by Eiffel" in text
    assert "…" in shown.mistakes[0]
    assert len(shown.mistakes[0]) < 500


def test_how_sure_against_how_right():
    """Ten answers at 75 % of which five are right: 25 points off; ten at 95 %, all right: 5 points."""
    sure = np.array([0.75] * 10 + [0.95] * 10)
    right = np.array([True] * 5 + [False] * 5 + [True] * 10)
    assert "error 15.0%" in calibration(sure, right).text
