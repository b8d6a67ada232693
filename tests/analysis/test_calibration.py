"""Reliability diagrams: bins, intervals, and the ECE of calibrated scores."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from safebench.analysis.calibration import reliability_diagram

N_BINS = 15


def test_bins_by_hand() -> None:
    """Two samples at 0.01 and 0.05, one of them positive; one at 1, negative."""
    diagram = reliability_diagram(
        np.array([True, False, False]), np.array([0.01, 0.05, 1.0])
    )

    assert 15 == len(diagram.count)
    assert [2, 1] == diagram.count[[0, -1]].tolist()
    assert [0.03, 1.0] == pytest.approx(diagram.mean_predicted[[0, -1]])
    assert [0.5, 0.0] == pytest.approx(diagram.fraction_positive[[0, -1]])
    assert (2 * 0.47 + 1 * 1.0) / 3 == pytest.approx(diagram.ece)
    # mid-P of 1 of 2: half the probability of what was seen, and all of 2 of 2
    low, high = diagram.low[0], diagram.high[0]
    assert 0.025 == pytest.approx(low * (1 - low) + low**2)
    assert 0.025 == pytest.approx(high * (1 - high) + (1 - high) ** 2)
    assert np.isnan(diagram.fraction_positive[1:-1]).all()


def test_bins_of_groups_are_wider() -> None:
    """Ten copies of each of twelve samples tell no more than the twelve do."""
    y = np.repeat([True, False, True, True, False, False] * 2, 10)
    p = np.full(120, 0.5)
    names = [str(i) for i in np.repeat(np.arange(12), 10)]
    alone, grouped = reliability_diagram(y, p), reliability_diagram(y, p, names)
    once = reliability_diagram(y[::10], p[::10])

    filled = np.flatnonzero(alone.count)
    widths = [(d.high - d.low)[filled[0]] for d in (alone, grouped, once)]
    assert 2 * widths[0] < widths[1]
    assert widths[2] <= widths[1] + 1e-9


def test_ece_and_brier_of_many_samples() -> None:
    """Against a loop over the bins, and sklearn."""
    rng = np.random.default_rng(0)
    p = rng.random(500)
    y = rng.random(500) < p**2
    inside = np.ceil(p * N_BINS) - 1
    gaps = [
        abs(y[inside == b].mean() - p[inside == b].mean()) * (inside == b).mean()
        for b in range(N_BINS)
    ]

    diagram = reliability_diagram(y, p)

    assert sum(gaps) == pytest.approx(diagram.ece)
    assert brier_score_loss(y, p) == pytest.approx(diagram.brier)


def test_bins_are_those_of_the_ece() -> None:
    """What is drawn gives the number beside it, for scores on edges of bins, too."""
    p = np.repeat([0.19, 0.2, 0.21], 10)  # 0.2 is an edge
    y = np.arange(30) < 15

    diagram = reliability_diagram(y, p)

    gaps = np.abs(diagram.fraction_positive - diagram.mean_predicted)
    assert np.nansum(gaps * diagram.count) / 30 == pytest.approx(diagram.ece)


def test_calibrated_probabilities_have_the_simulated_ece() -> None:
    """Their mean ECE is the simulated one, which is far from 0 at n = 300."""
    rng = np.random.default_rng(1)
    p = rng.random(300)
    eces = [reliability_diagram(rng.random(300) < p, p).ece for _ in range(60)]
    diagram = reliability_diagram(rng.random(300) < p, p)

    assert np.mean(eces) == pytest.approx(diagram.null_mean, abs=0.004)
    assert 0.03 < diagram.null_mean < diagram.null_p95
    assert 0.85 < np.mean(np.array(eces) < diagram.null_p95) <= 1


def test_values_outside_the_unit_interval_are_clipped_and_counted() -> None:
    """A probability of 1.5 is read as 1."""
    diagram = reliability_diagram(np.array([True, False]), np.array([1.5, 0.0]))

    assert 1 == diagram.clipped
    assert 0 == diagram.ece
