"""Bounds of metrics on bounded scores, against every corner of the box."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from safebench.metrics import Outcome
from safebench.metrics.bounds import gap_mean, gap_p95
from safebench.metrics.calibration import brier, nll
from safebench.metrics.decision import accuracy, f1, fnr, fpr, recall
from safebench.metrics.outcome import apply_threshold
from safebench.metrics.ranking import auroc

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.metrics import MetricValue

    Metric = Callable[[Outcome], MetricValue]


def bounded(
    y: list[bool], lower: list[float], upper: list[float], threshold: float = 0.5
) -> Outcome:
    """Build an outcome whose score is the lower bound; NaN is a failed sample."""
    truth, low, high = np.array(y), np.array(lower), np.array(upper)
    failed = np.isnan(low)
    return Outcome(
        y=truth,
        failed=failed,
        groups=list(map(str, range(len(y)))),
        score=low,
        probability=True,
        threshold=threshold,
        decision=apply_threshold(truth, failed, low, threshold),
        lower=low,
        upper=high,
    )


def corners(metric: Metric, outcome: Outcome) -> tuple[float, float]:
    """Return the least and largest value over all 2^n choices of an end."""
    ends = np.stack([outcome.lower, outcome.upper])
    result = []
    for choice in product((0, 1), repeat=outcome.n):
        score = ends[list(choice), range(outcome.n)]
        decision = apply_threshold(
            outcome.y, outcome.failed, score, outcome.threshold or 0.5
        )
        exact = Outcome(
            y=outcome.y,
            failed=outcome.failed,
            groups=outcome.groups,
            score=score,
            probability=True,
            decision=decision,
        )
        value = metric(exact).value
        assert value is not None
        result.append(value)
    return min(result), max(result)


def test_all_lower_and_all_upper_are_no_interval() -> None:
    """Four samples with 1.0 at all-lower and .75 at all-upper range over [.25, 1]."""
    y = [True, True, False, False]
    outcome = bounded(y, [0.9, 0.3, 0.2, 0.1], [0.95, 0.7, 0.6, 0.92])

    assert 1.0 == roc_auc_score(y, outcome.lower)
    assert 0.75 == roc_auc_score(y, outcome.upper)
    assert (0.25, 1.0) == corners(auroc, outcome)
    assert (0.25, 1.0) == (auroc(outcome).bound_low, auroc(outcome).bound_high)


@pytest.mark.slow
@pytest.mark.parametrize(
    "metric",
    [auroc, accuracy, f1, recall, fpr, fnr, brier, nll],
    ids=lambda m: m.__name__,
)
def test_bounds_are_the_extreme_corners(metric: Metric) -> None:
    """No choice inside the bounds does better or worse, and both ends are reached."""
    rng = np.random.default_rng(11)
    for _ in range(6):
        y = [True, False, *(rng.random(3) < 0.5).tolist()]
        low, high = np.sort(rng.random((2, 5)), axis=0)
        outcome = bounded(y, low.tolist(), high.tolist())
        result = metric(outcome)

        assert corners(metric, outcome) == pytest.approx(
            (result.bound_low, result.bound_high)
        )
        assert result.bound_low <= result.value <= result.bound_high


def test_failed_samples_keep_their_wrong_decision_at_both_corners() -> None:
    """A failed sample widens nothing: it is wrong whatever the bounds say."""
    outcome = bounded([True, True, False], [0.6, np.nan, 0.1], [0.9, np.nan, 0.2])
    result = accuracy(outcome)

    assert (2 / 3, 2 / 3, 2 / 3) == (result.bound_low, result.value, result.bound_high)


def test_a_sample_without_bounds_stands_at_its_score() -> None:
    """NaN bounds on a scored sample mean that its score is exact."""
    exact = bounded([True, False], [0.8, 0.3], [0.8, 0.6])
    outcome = Outcome(
        y=exact.y,
        failed=exact.failed,
        groups=exact.groups,
        score=exact.score,
        lower=np.array([np.nan, 0.3]),
        upper=np.array([np.nan, 0.9]),
    )

    assert (0.0, 1.0) == (auroc(outcome).bound_low, auroc(outcome).bound_high)


def test_without_threshold_decisions_have_no_bounds() -> None:
    """Bounds on the score say nothing of decisions made in another way."""
    outcome = Outcome(
        y=np.array([True, False]),
        failed=np.zeros(2, dtype=bool),
        groups=["a", "b"],
        score=np.array([0.2, 0.1]),
        lower=np.array([0.1, 0.0]),
        upper=np.array([0.9, 0.8]),
        decision=np.array([True, False]),
    )

    assert accuracy(outcome).bound_low is None


def test_gap_is_the_width_of_the_bounds() -> None:
    """Widths 0, .1, .2 and a failed sample: mean .1, 95th percentile .19."""
    outcome = bounded([True] * 4, [0.5, 0.5, 0.5, np.nan], [0.5, 0.6, 0.7, np.nan])

    assert 0.1 == pytest.approx(gap_mean(outcome).value)
    assert 0.19 == pytest.approx(gap_p95(outcome).value)
    assert 3 == gap_mean(outcome).n_scored
