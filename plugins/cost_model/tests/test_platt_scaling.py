"""Bias and temperature against scikit-learn's logistic regression."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from safebench_cost_model.model.platt_scaling import (
    fit_platt,
    platt_from_json,
    platt_targets,
)


def drawn(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Return costs and labels whose log odds are 1.5 c - 0.6."""
    source = np.random.default_rng(0)
    costs = source.normal(0.3, 2.0, n)
    chance = 1 / (1 + np.exp(-(1.5 * costs - 0.6)))
    return costs, (source.random(n) < chance).astype(float)


def test_constants_are_those_of_a_logistic_regression() -> None:
    """scikit-learn, with soft targets as weights, finds slope and offset."""
    costs, labels = drawn()
    target = platt_targets(labels)
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    twice = np.tile(costs, 2)[:, None]
    model.fit(
        twice,
        np.repeat([1, 0], len(costs)),
        sample_weight=np.concatenate([target, 1 - target]),
    )

    platt = fit_platt(costs, labels)

    assert platt is not None
    slope, offset = model.coef_[0, 0], model.intercept_[0]
    assert 1 / slope == pytest.approx(platt.temperature, rel=1e-4)
    assert -offset / slope == pytest.approx(platt.bias, abs=1e-4)
    assert len(costs) == platt.n


def test_soft_labels_are_fitted_by_log_loss() -> None:
    """No other bias and temperature has a lower mean log loss (Nelder-Mead)."""
    costs, labels = drawn()
    shares = 0.2 + 0.6 * labels
    target = platt_targets(shares)

    def loss(line: np.ndarray) -> float:
        logits = (costs - line[0]) / np.exp(line[1])
        return float((np.logaddexp(0, logits) - target * logits).mean())

    platt = fit_platt(costs, shares)

    assert platt is not None
    other = minimize(loss, [0.0, 0.0], method="Nelder-Mead")
    assert other.x[0] == pytest.approx(platt.bias, abs=1e-2)
    assert np.exp(other.x[1]) == pytest.approx(platt.temperature, rel=1e-2)
    assert loss(np.array([platt.bias, np.log(platt.temperature)])) <= other.fun + 1e-9


def test_classes_without_overlap_leave_the_temperature_above_0() -> None:
    """Platt's targets keep probabilities away from 0 and 1."""
    costs = np.linspace(-3, 3, 40)

    platt = fit_platt(costs, (costs > 0).astype(float))

    assert platt is not None
    assert 0 < platt.temperature < 1
    p = platt.probability(costs)
    assert 1e-3 < p.min() < p.max() < 1 - 1e-3
    assert platt == platt_from_json(platt.as_json())


@pytest.mark.parametrize(
    ("costs", "labels"),
    [
        (np.arange(5.0), np.array([0, 1, 0, 1, 1.0])),
        (np.arange(20.0), np.ones(20)),
        (np.ones(20), np.arange(20) % 2 * 1.0),
        (np.arange(20.0), (np.arange(20) < 10) * 1.0),
    ],
    ids=["few", "one class", "one cost", "upside down"],
)
def test_what_cannot_be_fitted_is_none(costs: np.ndarray, labels: np.ndarray) -> None:
    """No constants are better than arbitrary ones."""
    assert fit_platt(costs, labels) is None
    assert platt_from_json(None) is None
