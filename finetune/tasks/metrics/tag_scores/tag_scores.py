"""How good are tags that make up no entities, such as parts of speech?  The share of words whose tag is right."""

from collections.abc import Sequence

import datasets
import evaluate


class TagScores(evaluate.Metric):
    """evaluate.load(this folder).compute(predictions=[[tag, …]], references=[[tag, …]]) -> {"accuracy": share}"""

    def _info(self) -> evaluate.MetricInfo:
        tags = datasets.List(datasets.Value("string"))
        features = datasets.Features({"predictions": tags, "references": tags})
        return evaluate.MetricInfo(description=__doc__, citation="", inputs_description="", features=features)

    def _compute(self, predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> dict[str, float]:
        pairs = [pair for rows in zip(predictions, references, strict=True) for pair in zip(*rows, strict=True)]
        return {"accuracy": sum(found == right for found, right in pairs) / max(1, len(pairs))}
