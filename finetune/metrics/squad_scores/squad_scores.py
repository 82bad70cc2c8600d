"""How good are answers, by SQuAD's measures?  Exact match and F1 over words, the best of a question's references.

Rajpurkar et al. 2016, section 6.1. Before they are compared, answers lose case, punctuation, articles and extra blanks,
as in the official evaluation script.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

import datasets
import evaluate


class SquadScores(evaluate.Metric):
    """evaluate.load(this folder).compute(predictions=[text], references=[[text, …]]) -> {"exact_match", "f1"}"""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": datasets.List(text)})
        return evaluate.MetricInfo(description=__doc__, citation="", inputs_description="", features=features)

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        pairs = [(prediction, list(texts)) for prediction, texts in zip(predictions, references, strict=True)]
        exact = [max(exact_match(prediction, text) for text in texts) for prediction, texts in pairs]
        shared = [max(f1(prediction, text) for text in texts) for prediction, texts in pairs]
        return {"exact_match": sum(exact) / len(pairs), "f1": sum(shared) / len(pairs)}


def exact_match(prediction: str, reference: str) -> float:
    """1.0 if both are the same text when normalised, else 0.0."""
    return float(normalised(prediction) == normalised(reference))


def f1(prediction: str, reference: str) -> float:
    """The harmonic mean of precision and recall over words, as bags; 0.0 if they share none, even two empty texts."""
    predicted, right = normalised(prediction).split(), normalised(reference).split()
    shared = (Counter(predicted) & Counter(right)).total()
    return 2 * shared / (len(predicted) + len(right)) if shared else 0.0


def normalised(text: str) -> str:
    """Lower case, without punctuation, then without articles, then with single blanks; in this order, as officially."""
    text = "".join(letter for letter in text.lower() if letter not in PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


PUNCTUATION = frozenset(string.punctuation)
