"""What is asked of a model, and how good is its guess?  The terms of an objective.

Metrics, baselines and curves follow from a term, so an objective only says what it asks. A term's names in the log are
`{name}_loss`, `{name}_accuracy` and `{name}_perplexity`; its baseline is the best guess of somebody who sees no x.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from engine.publish.curves import Panels
from engine.train.batch import Batch


@dataclass(frozen=True)
class Term:
    """One thing that is asked.

    choice: the answer is one of some alternatives; `loss` gives the sum of -log p under the term's name and, when the
    model is not training, how many guesses are right under `{name}_correct`. number: the answers are numbers; `loss`
    gives the sum of squared errors.
    """

    name: str  # the key of `Batch.counts` and of the sums that `loss` returns
    title: str  # in words, of its curve
    answers: str  # the key of `Batch.y` that holds the right answers
    kind: Literal["choice", "number"] = "choice"
    among: int = 0  # alternatives that are equally likely, of which chance is right in 1; 0: as the answers are
    perplexity: bool = False  # also reported: exp(loss)

    def metrics(self, sums: dict[str, float], counts: dict[str, int]) -> dict[str, float]:
        """Means over a whole evaluation."""
        loss = sums[self.name] / counts[self.name]
        found = {f"{self.name}_loss": loss}
        if self.kind == "choice":
            found[f"{self.name}_accuracy"] = sums[f"{self.name}_correct"] / counts[self.name]
        return found | ({f"{self.name}_perplexity": perplexity(loss)} if self.perplexity else {})

    def baseline(self, batches: Sequence[Batch]) -> dict[str, float]:
        """What the best guess without x reaches on `batches`, under the names of `metrics`.

        Among fixed alternatives it is chance, and the commonest one's share; otherwise the answers' own distribution:
        its entropy and the commonest one, or the variance of numbers.
        """
        answers = torch.cat([batch.y[self.answers] for batch in batches])
        if self.kind == "number":
            return {f"{self.name}_loss": answers.double().var(correction=0).item()}
        entropy, commonest = unigram(answers)
        loss = math.log(self.among) if self.among else entropy
        found = {f"{self.name}_loss": loss, f"{self.name}_accuracy": commonest}
        return found | ({f"{self.name}_perplexity": perplexity(loss)} if self.perplexity else {})

    @property
    def headline(self) -> str:
        """The metric that says most: accuracy among fixed alternatives, the loss otherwise."""
        return f"{self.name}_accuracy" if self.among else f"{self.name}_loss"

    @property
    def panel(self) -> tuple[str, dict[str, str]]:
        """The curve of the headline."""
        if self.among:
            curves = {"held out": f"eval_{self.name}_accuracy", "commonest": f"baseline_{self.name}_accuracy"}
            return f"{self.title}, accuracy", curves
        blind = "unigram" if self.kind == "choice" else "mean"
        curves = {"training": f"{self.name}_loss", "held out": f"eval_{self.name}_loss"}
        return f"{self.title}, nats" if self.kind == "choice" else self.title, {
            **curves,
            blind: f"baseline_{self.name}_loss",
        }


def metrics_of(terms: Sequence[Term], sums: dict[str, float], counts: dict[str, int]) -> dict[str, float]:
    return {name: value for term in terms for name, value in term.metrics(sums, counts).items()}


def baselines_of(terms: Sequence[Term], batches: Sequence[Batch]) -> dict[str, float]:
    return {name: value for term in terms for name, value in term.baseline(batches).items()}


def panels_of(terms: Sequence[Term]) -> Panels:
    return tuple(term.panel for term in terms)


def perplexity(loss: float) -> float:
    """exp of a mean loss in nats; infinite where a float ends."""
    return math.inf if loss > 709 else math.exp(loss)


def unigram(answers: Tensor) -> tuple[float, float]:
    """The entropy in nats of the distribution of `answers` (M,), the least loss of a guesser that sees no x; and the
    share of the commonest one, the most it gets right."""
    share = torch.bincount(answers).double() / len(answers)
    return -torch.special.xlogy(share, share).sum().item(), share.max().item()
