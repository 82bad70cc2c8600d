"""How good are entity tags?  An entity counts if its type and both its ends are right.

Tjong Kim Sang & De Meulder 2003, section 2.3. By seqeval in strict mode: the tags are IOB2, and an entity begins with
B- only, so a stray I- is no entity.
"""

from collections.abc import Sequence

import datasets
import evaluate
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2


class EntityScores(evaluate.Metric):
    """evaluate.load(this folder).compute(predictions=[[tag, …]], references=[[tag, …]]) -> {name: float}

    "precision", "recall" and "f1" over all entities, and "f1_PER" and so on for each type; fractions, 0.0 where there
    is nothing to divide by.
    """

    def _info(self) -> evaluate.MetricInfo:
        tags = datasets.List(datasets.Value("string"))
        features = datasets.Features({"predictions": tags, "references": tags})
        return evaluate.MetricInfo(description=__doc__, citation="", inputs_description="", features=features)

    def _compute(self, predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> dict[str, float]:
        right, predicted = [list(tags) for tags in references], [list(tags) for tags in predictions]
        if not any(tag.startswith("B-") for tags in right + predicted for tag in tags):
            return {"precision": 0.0, "recall": 0.0, "f1": 0.0}
        report = classification_report(right, predicted, mode="strict", scheme=IOB2, output_dict=True, zero_division=0)
        total, types = report["micro avg"], sorted(name for name in report if not name.endswith(" avg"))
        scores = {ours: float(total[theirs]) for ours, theirs in MEASURES.items()}
        return scores | {
            f"{ours}_{name}": float(report[name][theirs]) for name in types for ours, theirs in MEASURES.items()
        }


MEASURES = {"precision": "precision", "recall": "recall", "f1": "f1-score"}
