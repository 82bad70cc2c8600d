"""What is asked of a model, and how good is its guess?  The terms of an objective.

Metrics, baselines and curves follow from a term, so an objective only says what it asks. A term's names in the log are
`{name}_loss`, `{name}_accuracy`, `{name}_perplexity` and `{name}_correlation`; its baseline is the best guess of
somebody who sees no x.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from engine.publish.curves import Panels
from engine.run.tracking import beside_baseline
from engine.train.batch import Batch


@dataclass(frozen=True)
class Term:
    """One thing that is asked.

    choice: the answer is one of some alternatives; `loss` gives the sum of -log p under the term's name and, when the
    model is not training, how many guesses are right under `{name}_correct`. number: the answers are numbers, each with
    its weight, and an evaluation reports the correlation of guesses and answers, since held-out answers may be shifted
    and scaled; `loss` gives the sum of weighted squared errors, and when the model is not training the `moments`.
    contrast: the model tells answers from noise (negative sampling); for each answer `loss` gives the sum of -log p of
    its decision and of those on the noise, each of which counts by `weights`, a key of `Batch.x`. soft: the
    answer is a distribution over K of many alternatives, the main one first (M, K), with their shares in `weights`
    (M, K); `loss` gives the sum of the cross-entropies, and what of a choice.
    """

    name: str  # the key of `Batch.counts` and of the sums that `loss` returns
    title: str  # in words, of its curve
    answers: str  # the key of `Batch.y` that holds the right answers
    kind: Literal["choice", "number", "contrast", "soft"] = "choice"
    among: int = 0  # alternatives that are equally likely, of which chance is right in 1; 0: as the answers are
    weights: str = ""  # of numbers, the key of `Batch.y` that says how much each counts; see also contrast and soft
    perplexity: bool = False  # also reported: exp(loss)
    beside: tuple[tuple[str, str], ...] = ()  # other guessers: key and title. `loss` gives their sums too, as NAME_KEY,
    #                                           when the model is not training; reported as NAME_KEY_loss

    def metrics(self, sums: dict[str, float], counts: dict[str, int]) -> dict[str, float]:
        """Means over a whole evaluation."""
        if self.kind == "number":
            return {self.headline: correlation(*(sums[f"{self.name}_{each}"] for each in MOMENTS))}
        loss = sums[self.name] / counts[self.name]
        found = {f"{self.name}_loss": loss}
        found |= {f"{name}_loss": sums[name] / counts[self.name] for name in self._beside}
        if self.kind in ("choice", "soft"):
            found[f"{self.name}_accuracy"] = sums[f"{self.name}_correct"] / counts[self.name]
        return found | ({f"{self.name}_perplexity": perplexity(loss)} if self.perplexity else {})

    def baseline(self, batches: Sequence[Batch]) -> dict[str, float]:
        """What the best guess without x reaches on `batches`, under the names of `metrics`.

        Among fixed alternatives it is chance, and the commonest one's share; otherwise the answers' own distribution:
        its entropy and the commonest one. A constant guess of numbers has a correlation of 0. For a contrast it is
        the share of answers among answers and noise.
        """
        if self.kind == "contrast":
            answers_of_all = sum(batch.counts[self.name] for batch in batches)
            noise = sum(batch.x[self.weights].sum(dtype=torch.float64).item() for batch in batches) / answers_of_all
            return {f"{self.name}_loss": math.log1p(noise) + (noise and noise * math.log1p(1 / noise))}
        if self.kind == "number":
            return {self.headline: 0.0}
        answers = torch.cat([batch.y[self.answers] for batch in batches])
        if self.kind == "soft":
            shares = torch.cat([batch.y[self.weights].double() for batch in batches])
            _, commonest = unigram(answers[:, 0])
            entropy = entropy_of(torch.bincount(answers.flatten(), shares.flatten()) / len(answers))
        else:
            entropy, commonest = unigram(answers)
        loss = math.log(self.among) if self.among else entropy
        found = {f"{name}_loss": loss for name in (self.name, *self._beside)}
        found[f"{self.name}_accuracy"] = commonest
        return found | ({f"{self.name}_perplexity": perplexity(loss)} if self.perplexity else {})

    @property
    def _beside(self) -> list[str]:
        """What the losses of other guessers are called in the sums."""
        return [f"{self.name}_{key}" for key, _ in self.beside]

    @property
    def headline(self) -> str:
        """The metric that says most: accuracy among fixed alternatives, correlation of numbers, else the loss."""
        if self.kind == "number":
            return f"{self.name}_correlation"
        return f"{self.name}_{'accuracy' if self.among and self.kind == 'choice' else 'loss'}"

    @property
    def panel(self) -> tuple[str, dict[str, str]]:
        """The curve of the headline."""
        if self.among and self.kind == "choice":
            curves = {"held out": f"eval_{self.name}_accuracy", "commonest": f"baseline_{self.name}_accuracy"}
            return f"{self.title}, accuracy", curves
        if self.kind == "number":
            curves = {"held out": f"eval_{self.headline}", "mean": f"baseline_{self.headline}"}
            return f"{self.title}, correlation", curves
        blind = {"choice": "unigram", "contrast": "blind", "soft": "all alike"}[self.kind]
        curves = {"training": f"{self.name}_loss", "held out": f"eval_{self.name}_loss"}
        curves |= {title: f"eval_{name}_loss" for name, (_, title) in zip(self._beside, self.beside, strict=True)}
        return f"{self.title}, nats", {**curves, blind: f"baseline_{self.name}_loss"}

    def in_words(self, found: Mapping[str, float]) -> str:
        """The headline of an evaluation, its baseline, and what other guessers reach."""
        others = zip(self._beside, self.beside, strict=True)
        return beside_baseline(f"eval_{self.headline}", found) + "".join(
            f", {title} {found[f'eval_{name}_loss']:.4g}" for name, (_, title) in others
        )


def metrics_of(terms: Sequence[Term], sums: dict[str, float], counts: dict[str, int]) -> dict[str, float]:
    return {name: value for term in terms for name, value in term.metrics(sums, counts).items()}


def baselines_of(terms: Sequence[Term], batches: Sequence[Batch]) -> dict[str, float]:
    return {name: value for term in terms for name, value in term.baseline(batches).items()}


def panels_of(terms: Sequence[Term]) -> Panels:
    return tuple(term.panel for term in terms)


MOMENTS = ("weight", "guess", "answer", "guess_squared", "answer_squared", "product")


def moments(name: str, guess: Tensor, answer: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """The sums from which the `correlation` of guesses with answers follows, all (M,), under a term's name."""
    parts = (torch.ones_like(guess), guess, answer, guess**2, answer**2, guess * answer)
    return {f"{name}_{key}": (weight * part).sum() for key, part in zip(MOMENTS, parts, strict=True)}


def correlation(
    weight: float, guess: float, answer: float, guess_squared: float, answer_squared: float, product: float
) -> float:
    """Pearson's correlation, from the `moments`; 0 where all guesses, or all answers, are the same."""
    spread = (guess_squared - guess**2 / weight) * (answer_squared - answer**2 / weight)
    return 0.0 if spread <= 0 else (product - guess * answer / weight) / math.sqrt(spread)


def perplexity(loss: float) -> float:
    """exp of a mean loss in nats; infinite where a float ends."""
    return math.inf if loss > 709 else math.exp(loss)


def unigram(answers: Tensor) -> tuple[float, float]:
    """The entropy in nats of the distribution of `answers` (M,), the least loss of a guesser that sees no x; and the
    share of the commonest one, the most it gets right."""
    share = torch.bincount(answers).double() / len(answers)
    return entropy_of(share), share.max().item()


def entropy_of(share: Tensor) -> float:
    """The entropy in nats of a distribution (K,)."""
    return -torch.special.xlogy(share, share).sum().item()
