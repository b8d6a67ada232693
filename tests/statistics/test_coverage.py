"""How often intervals hold what they are about: simulation, known truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from safebench.metrics import metric_intervals, metric_value
from safebench.metrics.arrays import paired_difference
from safebench.statistics import mean_interval, shared_weights

NAMES = ("auroc", "auprc", "f1", "accuracy", "fpr", "brier", "ece", "ece_mass")
RUNS = 200


@dataclass(frozen=True)
class Data:
    """Truth, probability, decision and groups, (n,) each."""

    y: np.ndarray
    p: np.ndarray
    decision: np.ndarray
    groups: np.ndarray


def sample(rng: np.random.Generator, n: int, groups: int) -> Data:
    """Draw samples whose groups share half of the variance; P is overconfident."""
    group = rng.integers(groups, size=n)
    z = rng.normal(size=groups)[group] + rng.normal(size=n)
    y = rng.random(n) < 1 / (1 + np.exp(-z))
    p = 1 / (1 + np.exp(-1.6 * z - 0.2))
    return Data(y, p, p > 0.5, group)


@pytest.mark.slow
def test_intervals_of_groups_hold_the_truth() -> None:
    """Of 95 % intervals 89 to 99 % hold the truth; of errors of calibration, 82 %."""
    rng = np.random.default_rng(0)
    whole = sample(rng, 400_000, 400_000)
    truth = {
        name: metric_value(
            name,
            whole.y,
            whole.decision if name in ("f1", "accuracy", "fpr") else whole.p,
        )
        for name in NAMES
    }
    held: dict[str, list[bool]] = {name: [] for name in NAMES}
    for run in range(RUNS):
        data = sample(rng, 600, 200)
        shared = shared_weights(data.y, data.groups, n_resamples=500, seed=run)
        found = metric_intervals(NAMES, data.y, data.p, data.decision, shared)
        for name, each in found.items():
            held[name].append(each.low <= truth[name] <= each.high)  # type: ignore[operator]

    shares = {name: np.mean(each) for name, each in held.items()}
    errors = min(shares.pop("ece"), shares.pop("ece_mass"))
    assert all(0.89 <= share <= 0.99 for share in shares.values()), shares
    assert 0.82 <= errors


@pytest.mark.slow
def test_means_of_groups_need_groups() -> None:
    """Ten alike a group: by groups about 95 %, taken one by one far fewer."""
    rng = np.random.default_rng(1)
    together, apart = [], []
    for run in range(RUNS):
        group = np.repeat(np.arange(30), 10)
        values = rng.normal(size=30)[group] + 0.2 * rng.normal(size=300)
        by_group = mean_interval(values, group, n_resamples=400, seed=run)
        alone = mean_interval(values, n_resamples=400, seed=run)
        together.append(by_group.low <= 0 <= by_group.high)  # type: ignore[operator]
        apart.append(alone.low <= 0 <= alone.high)  # type: ignore[operator]

    assert 0.88 <= np.mean(together) <= 0.99
    assert np.mean(apart) < 0.7


@pytest.mark.slow
def test_false_findings_are_rare() -> None:
    """Two equally good scores: p is below .05 in about one case of 20."""
    rng = np.random.default_rng(2)
    found = []
    for run in range(RUNS):
        y = rng.random(150) < 0.5
        common = rng.normal(size=150) + y
        a, b = (common + 0.7 * rng.normal(size=150) for _ in range(2))
        difference = paired_difference("auroc", y, a, b, n_resamples=400, seed=run)
        found.append(difference.p < 0.05)  # type: ignore[operator]

    assert 0.01 <= np.mean(found) <= 0.1
