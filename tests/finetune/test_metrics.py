"""Do the metrics give values that were worked by hand or published, and is nothing undefined passed on in silence?"""

import math
import warnings
from collections import Counter

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

from finetune.tasks.metrics import load_metric, score
from finetune.tasks.task import find_task


def compute(name, references, predictions):
    return load_metric(name).compute(predictions=predictions, references=references)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a metric reached for the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    load_metric.cache_clear()


class TestGlue:
    right = (1, 1, 1, 1, 0, 0, 0, 0)
    guess = (1, 1, 1, 0, 0, 0, 1, 1)  # 3 true and 2 false positives, 2 true and 1 false negative

    def test_matthews(self):
        expected = (3 * 2 - 2 * 1) / math.sqrt((3 + 2) * (3 + 1) * (2 + 2) * (2 + 1))
        assert compute("matthews", self.right, self.guess) == {"matthews_correlation": pytest.approx(expected)}

    def test_f1_and_accuracy(self):
        assert compute("f1_and_accuracy", self.right, self.guess) == {
            "f1": pytest.approx(2 * 3 / (2 * 3 + 2 + 1)), "accuracy": 5 / 8
        }  # fmt: skip
        assert compute("accuracy", self.right, self.guess) == {"accuracy": 5 / 8}

    def test_f1_is_of_label_1(self):
        scores = compute("f1_and_accuracy", [0, 0, 0, 1], [0, 0, 0, 0])
        assert scores == {"f1": 0.0, "accuracy": 0.75}

    def test_pearson_of_anscombes_first_set(self):
        """Anscombe 1973: r = 0.816."""
        x = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
        y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
        assert compute("correlations", x, y)["pearson"] == pytest.approx(0.81642, abs=1e-5)

    def test_spearman_is_of_ranks_and_shares_ties(self):
        # Squared rank differences of these sum to 194: rho = 1 - 6 * 194 / (10 * 99) = -29/165.
        iq = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110]
        hours = [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
        assert compute("correlations", iq, hours)["spearmanr"] == pytest.approx(-29 / 165)
        tied = compute("correlations", [1, 2, 3, 4], [1, 2, 2, 3])["spearmanr"]
        assert tied == pytest.approx(4.5 / math.sqrt(5 * 4.5))

    def test_a_monotone_curve_has_rho_1_and_a_smaller_r(self):
        scores = compute("correlations", [0, 1, 2, 3], [1, 10, 100, 1000])
        assert scores["spearmanr"] == pytest.approx(1)
        assert scores["pearson"] < 0.9

    @pytest.mark.parametrize(("right", "guess"), [([0, 1, 5], [2.5] * 3), ([2] * 3, [1, 2, 3]), ([1.0], [2.0])])
    def test_an_undefined_correlation_is_zero_and_says_so(self, right, guess):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scores = compute("correlations", right, guess)
        assert scores == {"pearson": 0.0, "spearmanr": 0.0, "undefined": 1.0}

    @pytest.mark.parametrize(("right", "guess"), [([0, 1, 1], [1, 1, 1]), ([1, 1], [0, 1])])
    def test_an_undefined_matthews_is_zero_and_says_so(self, right, guess):
        assert compute("matthews", right, guess) == {"matthews_correlation": 0.0, "undefined": 1.0}

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_spoiled_prediction_is_an_error(self, value):
        with pytest.raises(ValueError, match="NaN or infinite"):
            compute("correlations", [1, 2], [1, value])

    def test_an_unknown_configuration_is_an_error(self):
        with pytest.raises(ValueError, match="no configuration 'bleu'; there are matthews, accuracy"):
            load_metric("bleu")


class TestSquad:
    """The rules of the official script, evaluate-v1.1.py."""

    @pytest.mark.parametrize(
        ("guess", "right"),
        [
            ("The Eiffel Tower!", "eiffel tower"),
            ("an  apple, a day", "apple day"),
            ("U.S.", "us"),
            ("rock-n-roll", "rocknroll"),  # punctuation goes without leaving a blank
            ("there", "there"),  # an article is a whole word
            ("The", ""),
            ("…", "…"),  # only ASCII punctuation goes
        ],
    )
    def test_exact_match_after_normalising(self, guess, right):
        assert compute("squad_v1.1", [[right]], [guess])["exact_match"] == 1.0

    def test_f1_is_over_bags_of_words(self):
        # "cat sat down down" and "cat down": two words shared, precision 2/4, recall 2/2.
        scores = compute("squad_v1.1", [["cat down"]], ["the cat sat down down"])
        assert scores == {"exact_match": 0.0, "f1": pytest.approx(2 * (2 / 4) * 1 / (2 / 4 + 1))}

    def test_the_best_reference_counts_and_questions_weigh_the_same(self):
        scores = compute("squad_v1.1", [["dog", "a black cat", "cat"], ["x"]], ["the cat", "y"])
        assert scores == {"exact_match": 0.5, "f1": 0.5}
        partial = compute("squad_v1.1", [["dog", "a black cat"]], ["the cat"])
        assert partial == {"exact_match": 0.0, "f1": pytest.approx(2 / 3)}

    def test_an_empty_answer_shares_no_word(self):
        assert compute("squad_v1.1", [["cat"]], [""]) == {"exact_match": 0.0, "f1": 0.0}
        assert compute("squad_v1.1", [["the"]], ["a"]) == {"exact_match": 1.0, "f1": 0.0}


IOB = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "I-A-B"])


def conlleval(right, guess):
    """The shared task's Perl script, line by line (`startOfChunk`, `endOfChunk` and the loop around them)."""

    def parted(tag):
        return (tag[0], tag[2:]) if "-" in tag else (tag, "")

    def ends(before, tag, type_before, type_):
        pairs = ("BB", "BO", "IB", "IO", "EE", "EI", "EO")
        return before + tag in pairs or (before not in "O." and type_before != type_)

    def begins(before, tag, type_before, type_):
        pairs = ("BB", "IB", "OB", "OI", "EE", "EI", "OE")
        return before + tag in pairs or (tag not in "O." and type_before != type_)

    correct, found_right, found_guess = Counter(), Counter(), Counter()
    last_right, last_guess, in_correct = ("O", ""), ("O", ""), False
    lines = [pair for rows in zip(right, guess, strict=True) for pair in [*zip(*rows, strict=True), ("O", "O")]]
    for tag_right, tag_guess in lines:
        now_right, now_guess = parted(tag_right), parted(tag_guess)
        states = [(last_right[0], now_right[0], last_right[1], now_right[1]),
                  (last_guess[0], now_guess[0], last_guess[1], now_guess[1])]  # fmt: skip
        end_right, end_guess = (ends(*state) for state in states)
        begin_right, begin_guess = (begins(*state) for state in states)
        if in_correct:
            if end_right and end_guess and last_right[1] == last_guess[1]:
                in_correct = False
                correct[last_right[1]] += 1
            elif end_right != end_guess or now_right[1] != now_guess[1]:
                in_correct = False
        if begin_right and begin_guess and now_right[1] == now_guess[1]:
            in_correct = True
        found_right[now_right[1]] += begin_right
        found_guess[now_guess[1]] += begin_guess
        last_right, last_guess = now_right, now_guess
    types = {kind for found in (found_right, found_guess) for kind, number in found.items() if number}
    counts = {"": (correct.total(), found_guess.total(), found_right.total())}
    counts |= {f"_{kind}": (correct[kind], found_guess[kind], found_right[kind]) for kind in types}
    scores = {}
    for name, (hits, given_, there) in counts.items():
        precision, recall = hits / given_ if given_ else 0.0, hits / there if there else 0.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        scores |= {f"precision{name}": precision, f"recall{name}": recall, f"f1{name}": f1}
    return scores


class TestEntities:
    def test_seqevals_published_example(self):
        right = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
        guess = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
        scores = compute("entities", right, guess)
        assert scores == {
            "precision": 0.5, "recall": 0.5, "f1": 0.5, "strict_f1": 0.5,
            "precision_MISC": 0.0, "recall_MISC": 0.0, "f1_MISC": 0.0,
            "precision_PER": 1.0, "recall_PER": 1.0, "f1_PER": 1.0,
        }  # fmt: skip

    def test_by_hand(self):
        # Four entities; three are predicted: one right, one with a wrong end, one of a wrong type.
        right = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "B-ORG", "O"]]
        guess = [["B-PER", "O", "O", "B-ORG"], ["B-ORG", "O", "O"]]
        scores = compute("entities", right, guess)
        assert scores["precision"] == pytest.approx(1 / 3)
        assert scores["recall"] == pytest.approx(1 / 4)
        assert scores["f1"] == pytest.approx(2 * 1 / (3 + 4))
        assert scores["f1_ORG"] == pytest.approx(2 * 1 / (2 + 2))
        assert scores["f1_LOC"] == 0.0

    @pytest.mark.parametrize(
        ("right", "stray"),
        [(["B-PER", "I-PER"], ["I-PER", "I-PER"]), (["O", "B-PER"], ["O", "I-PER"]),
         (["B-LOC", "B-PER"], ["B-LOC", "I-PER"])],
    )  # fmt: skip
    def test_a_stray_inside_begins_an_entity_that_is_not_strict(self, right, stray):
        scores = compute("entities", [right], [stray])
        assert (scores["f1"], scores["f1_PER"]) == (1.0, 1.0)
        assert scores["strict_f1"] < 1.0

    @settings(max_examples=100, deadline=None)
    @given(pairs=st.lists(st.lists(st.tuples(IOB, IOB), min_size=1, max_size=8), min_size=1, max_size=4))
    def test_scores_are_those_of_the_shared_tasks_script(self, pairs):
        right, guess = ([[pair[side] for pair in row] for row in pairs] for side in (0, 1))
        scores = load_metric("entities")._compute(guess, right)
        expected = conlleval(right, guess)
        assert {name: scores[name] for name in expected} == pytest.approx(expected)
        assert scores.keys() == expected.keys() | {"strict_f1"}

    @settings(max_examples=100, deadline=None)
    @given(pairs=st.lists(st.lists(st.tuples(IOB, IOB), min_size=1, max_size=8), min_size=1, max_size=4))
    def test_the_strict_score_is_seqevals(self, pairs):
        right, guess = ([[pair[side] for pair in row] for row in pairs] for side in (0, 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            strict = f1_score(right, guess, mode="strict", scheme=IOB2, zero_division=0)
        assert load_metric("entities")._compute(guess, right)["strict_f1"] == pytest.approx(strict)

    def test_two_adjacent_entities_of_a_type_are_two(self):
        scores = compute("entities", [["B-PER", "B-PER"]], [["B-PER", "I-PER"]])
        assert scores["recall"] == 0.0

    @pytest.mark.parametrize("right", [["O", "O"], ["B-PER", "I-PER"]])
    def test_without_a_prediction_every_number_is_zero(self, right):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scores = compute("entities", [right], [["O", "O"]])
        assert set(scores.values()) == {0.0}


class TestScore:
    def test_tags_are_judged_by_name(self):
        task = find_task("conll2003")
        rows = Dataset.from_dict({"id": ["0"], "words": [["EU", "rejects"]], "label": [[3, 0]]})
        assert score(task, [[3, 0]], rows)["f1_ORG"] == 1.0
        with pytest.raises(ValueError, match="1 predicted tags for the 2 words of row 0"):
            score(task, [[3]], rows)

    def test_every_row_needs_a_prediction(self):
        rows = Dataset.from_dict({"id": ["0", "1"], "label": [0, 1]})
        assert score(find_task("glue/rte"), [0, 0], rows) == {"accuracy": 0.5}
        with pytest.raises(ValueError, match="1 predictions for 2 rows"):
            score(find_task("glue/rte"), [0], rows)

    def test_a_split_without_answers_has_no_score(self):
        with pytest.raises(ValueError, match="no answers to judge by"):
            score(find_task("glue/rte"), [0], Dataset.from_dict({"id": ["0"]}))

    def test_answers_are_found_by_id(self):
        answers = [{"text": ["cat"], "answer_start": [0]}, {"text": ["dog"], "answer_start": [0]}]
        rows = Dataset.from_dict({"id": ["q1", "q2"], "answers": answers})
        assert score(find_task("squad/v1.1"), {"q2": "dog", "q1": "cat"}, rows)["exact_match"] == 1.0
        with pytest.raises(ValueError, match="no prediction for question 'q2'"):
            score(find_task("squad/v1.1"), {"q3": "dog", "q1": "cat"}, rows)
