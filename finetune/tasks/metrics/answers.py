"""How good are answers, by SQuAD's measures?  Exact match and F1 over words, the best of a question's references.

Rajpurkar et al. 2016, section 6.1; Rajpurkar et al. 2018 for questions without an answer. Before they are compared,
answers lose case, punctuation, articles and extra blanks, as in the official evaluation scripts.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache


def score_v1(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """SQuAD v1.1: "exact_match" and "f1"."""
    return average(list(zip(predictions, references, strict=True)), f1)


def score_v2(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """SQuAD v2.0: also of the questions that have an answer ("HasAns_exact", "HasAns_f1") and of those that have none.

    "" is no answer, and the one reference of a question without one.
    """
    pairs = list(zip(predictions, references, strict=True))
    has = [(prediction, with_words(texts)) for prediction, texts in pairs if list(texts) != [""]]
    has_not = [(prediction, texts) for prediction, texts in pairs if list(texts) == [""]]
    parts = {"HasAns": average(has, f1_or_nothing), "NoAns": average(has_not, f1_or_nothing)}
    by_part = {
        f"{part}_{name.removesuffix('_match')}": value
        for part, scores in parts.items()
        for name, value in scores.items()
    }
    return average([*has, *has_not], f1_or_nothing) | by_part


def with_words(references: Sequence[str]) -> list[str]:
    """The references that SQuAD v2.0 scores by: those of which something is left when normalised, else none, ""."""
    return [text for text in references if normalise(text)] or [""]


def average(pairs: Sequence[tuple[str, Sequence[str]]], shared: Callable[[str, str], float]) -> dict[str, float]:
    """The means of both measures, the best of each question's references; nothing of no questions."""
    if not pairs:
        return {}
    exact = [max(exact_match(prediction, text) for text in texts) for prediction, texts in pairs]
    in_common = [max(shared(prediction, text) for text in texts) for prediction, texts in pairs]
    return {"exact_match": sum(exact) / len(pairs), "f1": sum(in_common) / len(pairs)}


def exact_match(prediction: str, reference: str) -> float:
    """1.0 if both are the same text when normalised, else 0.0."""
    return float(normalise(prediction) == normalise(reference))


def f1(prediction: str, reference: str) -> float:
    """The harmonic mean of precision and recall over words, as bags; 0.0 if they share none, even two empty texts."""
    predicted, right = normalise(prediction).split(), normalise(reference).split()
    shared = (Counter(predicted) & Counter(right)).total()
    return 2 * shared / (len(predicted) + len(right)) if shared else 0.0


def f1_or_nothing(prediction: str, reference: str) -> float:
    """F1 as SQuAD v2.0 has it: where one of the two is empty when normalised, 1.0 if both are, else 0.0."""
    if not normalise(prediction) or not normalise(reference):
        return float(normalise(prediction) == normalise(reference))
    return f1(prediction, reference)


@lru_cache(maxsize=200_000)  # a reference is compared several times
def normalise(text: str) -> str:
    """Lower case, without punctuation, then without articles, then with single blanks; in this order, as officially."""
    text = "".join(letter for letter in text.lower() if letter not in PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


PUNCTUATION = frozenset(string.punctuation)
