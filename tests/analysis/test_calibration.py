"""Reliability bins, their intervals, and what chance alone would show."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss

from safebench.analysis.calibration import BINS, calibration
from safebench.statistics import metric_value


def test_bins_by_hand() -> None:
    """Two samples at 0.01 and 0.05, one of them positive; one at 1, negative."""
    found = calibration(np.array([True, False, False]), np.array([0.01, 0.05, 1.0]))

    assert 15 == len(found.count)
    assert [2, 1] == found.count[[0, -1]].tolist()
    assert [0.03, 1.0] == pytest.approx(found.said[[0, -1]])
    assert [0.5, 0.0] == pytest.approx(found.seen[[0, -1]])
    assert (2 * 0.47 + 1 * 1.0) / 3 == pytest.approx(found.ece)
    known = stats.binomtest(1, 2).proportion_ci(0.95, method="wilson")
    assert (known.low, known.high) == pytest.approx((found.low[0], found.high[0]))
    assert np.isnan(found.seen[1:-1]).all()


def test_ece_and_brier_of_many_samples() -> None:
    """Against a loop over the bins, and sklearn."""
    rng = np.random.default_rng(0)
    p = rng.random(500)
    y = rng.random(500) < p**2
    inside = np.ceil(p * BINS) - 1
    gaps = [
        abs(y[inside == b].mean() - p[inside == b].mean()) * (inside == b).mean()
        for b in range(BINS)
    ]

    found = calibration(y, p)

    assert sum(gaps) == pytest.approx(found.ece)
    assert metric_value("ece", y, p) == pytest.approx(found.ece)
    assert brier_score_loss(y, p) == pytest.approx(found.brier)


def test_perfect_probabilities_score_what_the_null_says() -> None:
    """The mean ECE of true probabilities is the null's, far from 0 at n = 300."""
    rng = np.random.default_rng(1)
    p = rng.random(300)
    eces = [calibration(rng.random(300) < p, p).ece for _ in range(60)]
    found = calibration(rng.random(300) < p, p)

    assert np.mean(eces) == pytest.approx(found.null_mean, abs=0.004)
    assert 0.03 < found.null_mean < found.null_p95
    assert 0.85 < np.mean(np.array(eces) < found.null_p95) <= 1


def test_values_outside_are_counted() -> None:
    """A probability of 1.5 is read as 1 and said to be odd."""
    found = calibration(np.array([True, False]), np.array([1.5, 0.0]))

    assert 1 == found.clipped
    assert 0 == found.ece
