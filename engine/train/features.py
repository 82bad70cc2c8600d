"""What do features tell of what they were taken from?  kNN, a linear probe, effective rank and spread.

Frozen features (N, D), one row an example, and labels (N,) from 0; nothing here knows a medium. The protocols are those
of self-supervised learning: kNN weighted by exp(cosine / temperature) (Wu et al. 2018, section 3.4), multinomial
logistic regression on standardised features, the effective rank of Roy & Vetterli 2007 as RankMe takes it (Garrido et
al. 2023: not centred), the spread of normalised features of SimSiam (Chen & He 2021, section 4.1). A network that has
collapsed, which gives all inputs the same features, has an effective rank of 1 and a spread of 0.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, one_hot

AT_ONCE = 1024  # rows that are compared with all others at a time
FOLDS = 5  # a linear probe's penalty is chosen on one of so many parts of the training rows
PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)  # that are tried


def predict_nearest(features: Tensor, labels: Tensor, asked: Tensor, k: int = 200, temperature: float = 0.1) -> Tensor:
    """The labels (M,) of `asked` (M, D): the `k` nearest rows of `features` by cosine vote, each with
    exp(cosine / temperature). Fewer where there are fewer rows."""
    known = normalize(features.float(), dim=1)
    among, k = int(labels.max()) + 1, min(k, len(labels))
    found = []
    for some in normalize(asked.float(), dim=1).split(AT_ONCE):
        cosines, rows = (some @ known.T).topk(k, dim=1)
        weights = ((cosines - 1) / temperature).exp()
        votes = weights.new_zeros(len(some), among).scatter_add_(1, labels[rows], weights)
        found.append(votes.argmax(1))
    return torch.cat(found)


def effective_rank(features: Tensor) -> float:
    """exp of the entropy of the singular values' shares: how many directions `features` (N, D) use, 1 to min(N, D)."""
    features = features.double()
    small = features.T @ features if len(features) > features.shape[1] else features @ features.T
    values = torch.linalg.eigvalsh(small).clamp_min(0).sqrt()
    if not float(values.sum()):
        return 1.0
    shares = values / values.sum()
    return math.exp(-torch.special.xlogy(shares, shares).sum().item())


def spread(features: Tensor) -> float:
    """The standard deviation of features of length 1, averaged over the D columns, times the root of D: 1 where they
    point everywhere alike, 0 where all of them are the same."""
    unit = normalize(features.double(), dim=1)
    return (unit.std(0, correction=0).mean() * math.sqrt(unit.shape[1])).item()


class Standard:
    """Columns with mean 0 and standard deviation 1 in `features` (N, D); a constant column becomes 0."""

    def __init__(self, features: Tensor):
        self.mean, std = features.mean(0), features.std(0, correction=0)
        self.factor = torch.where(std > 1e-6 * std.max(), 1 / std, torch.zeros_like(std))

    def __call__(self, features: Tensor) -> Tensor:
        return (features - self.mean) * self.factor


class LinearProbe:
    """A linear classifier of `features` (N, D), whose penalty is the best on every fifth row, drawn by `seed`.

    `penalties`: half of it times the squared weights is added to the mean cross-entropy in nats.
    """

    def __init__(self, features: Tensor, labels: Tensor, penalties: Sequence[float] = PENALTIES, seed: int = 0):
        """`unseen_accuracy` is how often the chosen one was right on the rows that chose it."""
        self.standard = Standard(features := features.float())
        features = self.standard(features)
        self.penalty, self.unseen_accuracy = choose_penalty(features, labels, penalties, seed)
        self.weights = fit_logistic(features, labels, self.penalty)

    def __call__(self, asked: Tensor) -> Tensor:
        """The labels (M,) of `asked` (M, D)."""
        return (with_ones(self.standard(asked.float())) @ self.weights).argmax(1)


def choose_penalty(features: Tensor, labels: Tensor, penalties: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The penalty whose classifier, of four fifths of the rows, is right most often on the last fifth, the larger of
    two; and how often it is right there."""
    seen, unseen = divide(len(labels), seed)
    best, most, weights = max(penalties), -1, None
    for penalty in sorted(penalties, reverse=True):
        weights = fit_logistic(features[seen], labels[seen], penalty, int(labels.max()) + 1, weights)
        right = int(((with_ones(features[unseen]) @ weights).argmax(1) == labels[unseen]).sum())
        best, most = (penalty, right) if right > most else (best, most)
    return best, most / max(1, len(unseen))


def divide(number: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Four fifths of `number` rows to learn from, and one to choose by."""
    order = torch.randperm(number, generator=torch.Generator().manual_seed(seed))
    return order[number // FOLDS :], order[: number // FOLDS]


def fit_logistic(
    features: Tensor, labels: Tensor, penalty: float, among: int = 0, start: Tensor | None = None
) -> Tensor:
    """The weights (D + 1, K) of multinomial logistic regression, the last row being the biases, by L-BFGS."""
    among = among or int(labels.max()) + 1
    x, target = with_ones(features), one_hot(labels, among).to(features.dtype)
    weights = torch.zeros(x.shape[1], among) if start is None else start.clone()
    solver = torch.optim.LBFGS([weights], max_iter=100, tolerance_grad=1e-5, line_search_fn="strong_wolfe")

    def loss() -> float:
        logits = x @ weights
        pull = (logits.softmax(1) - target).T @ x  # on a CPU two to eight times as fast as x.T @ (...)
        weights.grad = pull.T.contiguous() / len(x)
        weights.grad[:-1] += penalty * weights[:-1]
        return float(cross_entropy(logits, labels) + penalty / 2 * weights[:-1].square().sum())

    solver.step(loss)
    return weights


def with_ones(features: Tensor) -> Tensor:
    return torch.cat([features, features.new_ones(len(features), 1)], 1)
