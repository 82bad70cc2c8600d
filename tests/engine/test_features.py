"""Do kNN, the linear probe, effective rank and spread say what others' code and a pencil say?"""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from engine.train.features import LinearProbe, effective_rank, fit_logistic, predict_nearest, spread


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, ...]:
    found = load_digits()
    pixels, labels = torch.tensor(found.data, dtype=torch.float32), torch.tensor(found.target)
    return pixels[:1200], labels[:1200], pixels[1200:], labels[1200:]


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (20, 0.1), (200, 0.07)])
def test_knn_is_that_of_scikit_learn(digits, k, temperature):
    known, labels, asked, _ = digits
    vote = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda far: np.exp((1 - far) / temperature)
    )
    theirs = vote.fit(known, labels).predict(asked)
    ours = predict_nearest(known, labels, asked, k, temperature)
    assert (ours.numpy() == theirs).mean() > 0.998  # a tie is decided by rounding


def test_knn_takes_fewer_neighbours_where_there_are_fewer():
    known = torch.eye(3)
    assert predict_nearest(known, torch.tensor([2, 0, 1]), known * 5, k=200).tolist() == [2, 0, 1]


def test_the_linear_probe_is_that_of_scikit_learn(digits):
    known, labels, asked, right = digits
    probe = LinearProbe(known, labels, [1e-2])
    scaler = StandardScaler().fit(known)
    theirs = LogisticRegression(C=1 / (1e-2 * len(known)), max_iter=200, tol=1e-5)
    theirs.fit(scaler.transform(known), labels)
    weights = probe.weights - probe.weights.mean(1, keepdim=True)  # the biases have no penalty, so are free to move
    assert weights[:-1].numpy() == pytest.approx(theirs.coef_.T, abs=2e-3)
    assert (probe(asked).numpy() == theirs.predict(scaler.transform(asked))).mean() > 0.995
    assert (probe(asked) == right).float().mean() > 0.9


def test_the_penalty_is_chosen_on_rows_that_were_not_fitted():
    """Many columns of noise: without a penalty the fit is perfect, and worth little."""
    drawn = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    features = torch.randn(200, 150, generator=drawn)
    features[:, 0] += 2.0 * labels
    assert LinearProbe(features, labels).penalty >= 0.1
    assert LinearProbe(features[:, :1], labels).penalty < 1


def test_a_constant_column_does_not_disturb(digits):
    known, labels, asked, _ = digits
    more = torch.cat([known, torch.full((len(known), 1), 7.0)], 1)
    probe = LinearProbe(more, labels, [1e-2])
    there = probe(torch.cat([asked, torch.full((len(asked), 1), 7.0)], 1))
    assert torch.equal(there, LinearProbe(known, labels, [1e-2])(asked))


def test_the_solver_works_while_a_model_is_evaluated(digits):
    known, labels, *_ = digits
    with torch.inference_mode():
        assert torch.isfinite(fit_logistic(known[:50] * 1, labels[:50], 1.0)).all()


def test_effective_rank_and_spread_by_hand():
    assert effective_rank(torch.eye(5)) == pytest.approx(5)
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(
        math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    )
    wide, tall = torch.randn(4, 50), torch.randn(4, 50).T
    for features in (wide, tall):
        values = torch.linalg.svdvals(features)
        shares = values / values.sum()
        assert effective_rank(features) == pytest.approx(float((-(shares * shares.log()).sum()).exp()), rel=1e-3)
    same = torch.ones(10, 8)
    assert effective_rank(same) == pytest.approx(1, abs=1e-3)
    assert effective_rank(0 * same) == 1
    assert spread(same) == pytest.approx(0, abs=1e-6)
    everywhere = torch.randn(4000, 16, generator=torch.Generator().manual_seed(0))
    assert spread(everywhere) == pytest.approx(1, abs=0.02)
