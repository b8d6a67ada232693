"""Linear costs with a ranking term, against scikit-learn and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from safebench_cost_model.train.linear import LinearTerms


def terms(*, rank_weight: float = 2.0, sparse: bool = False) -> LinearTerms:
    """Return 40 responses, the first 30 of them in 15 pairs."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 4))
    features: Any = csr_matrix(x) if sparse else x
    return LinearTerms(
        features=features,
        unsafe=np.where(x[:, 0] + rng.normal(size=40) > 0, 1.0, 0.25),
        sign_weight=np.repeat([1.0, 0.5], [30, 10]),
        pairs=np.arange(30).reshape(-1, 2),
        p_first=rng.choice([0.0, 0.5, 1.0], size=15),
        margin=rng.uniform(0, 1, size=15),
        rank_weight=rank_weight,
    )


@pytest.mark.parametrize("sparse", [False, True])
def test_without_pairs_it_is_scikit_learns_logistic_regression(sparse: bool) -> None:
    """A soft label is two weighted rows there."""
    given = terms(rank_weight=0.0, sparse=sparse)
    x = np.asarray(given.features.todense()) if sparse else given.features
    y = np.repeat([1, 0], 40)
    weight = np.concatenate([given.unsafe, 1 - given.unsafe])
    expected = LogisticRegression(C=0.7, tol=1e-8, max_iter=1000).fit(
        np.tile(x, (2, 1)), y, sample_weight=weight * np.tile(given.sign_weight, 2)
    )
    weights, bias = given.fit(0.7)
    assert expected.coef_[0] == pytest.approx(weights, abs=2e-3)
    assert expected.intercept_[0] == pytest.approx(bias, abs=2e-3)


def test_the_ranking_term_is_a_logistic_regression_on_differences() -> None:
    """Without sign terms: no bias, and the margin as an offset of 0."""
    given = terms()
    given = LinearTerms(
        given.features, given.unsafe, 0 * given.sign_weight, given.pairs,
        given.p_first, 0 * given.margin, 2.0,
    )  # fmt: skip
    difference = given.features[0:30:2] - given.features[1:30:2]
    expected = LogisticRegression(
        C=1.0, tol=1e-8, max_iter=1000, fit_intercept=False
    ).fit(
        np.tile(difference, (2, 1)),
        np.repeat([1, 0], 15),
        sample_weight=2 * np.concatenate([given.p_first, 1 - given.p_first]),
    )
    assert expected.coef_[0] == pytest.approx(given.fit(1.0)[0], abs=2e-3)


def test_the_loss_is_that_of_its_formula() -> None:
    """Each term by hand, over the sum of all weights; the margin moves a difference."""
    given = terms()
    w, b, c = np.array([0.5, -1.0, 0.2, 2.0]), 0.3, 0.5

    def ce(x: float, q: float) -> float:
        return float(q * np.log1p(np.exp(-x)) + (1 - q) * np.log1p(np.exp(x)))

    total = w @ w / (2 * c)
    for i, row in enumerate(given.features):
        total += (1.0 if i < 30 else 0.5) * ce(row @ w + b, given.unsafe[i])
    for j, (first, second) in enumerate(given.pairs):
        gap = (given.features[first] - given.features[second]) @ w
        total += 2.0 * ce(gap - given.margin[j], given.p_first[j])
    differences = given.features[0:30:2] - given.features[1:30:2]
    value, _ = given._loss(np.append(w, b), c, differences)
    assert value == pytest.approx(total / (30 * 1.0 + 10 * 0.5 + 15 * 2.0))


def test_the_gradient_is_that_of_the_loss() -> None:
    """By finite differences, with all terms and the margin."""
    given = terms()
    differences = given.features[0:30:2] - given.features[1:30:2]
    x = np.random.default_rng(0).normal(size=5)
    error = check_grad(
        lambda v: given._loss(v, 0.5, differences)[0],
        lambda v: given._loss(v, 0.5, differences)[1],
        x,
    )
    assert error < 1e-6


def test_a_path_ends_where_each_fit_does() -> None:
    """Starting from the solution before it saves steps, and moves no optimum."""
    given = terms()
    path = given.fit_path([0.1, 1.0, 10.0])
    for c, (weights, bias) in path.items():
        alone = given.fit(c)
        assert weights == pytest.approx(alone[0], abs=5e-3)
        assert bias == pytest.approx(alone[1], abs=5e-3)
