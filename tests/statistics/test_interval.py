"""Closed intervals of proportions, against SciPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from safebench.statistics import clopper_pearson, wilson, wilson_interval


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (37, 100), (100, 100)])
@pytest.mark.parametrize("level", [0.95, 0.9])
def test_intervals_of_shares(k: int, n: int, level: float) -> None:
    """Clopper-Pearson and Wilson are SciPy's, at both edges too."""
    test = stats.binomtest(k, n)
    for method, interval in (
        ("exact", clopper_pearson(k, n, level)),
        ("wilson", wilson(k, n, level)),
    ):
        expected = test.proportion_ci(level, method=method)
        assert tuple(expected) == pytest.approx((interval.low, interval.high))
        assert (k / n, n) == (interval.value, interval.n_groups)


def test_one_of_a_hundred() -> None:
    """One false positive of 100 may be a rate of 5.4 %."""
    assert 0.0545 == pytest.approx(clopper_pearson(1, 100).high, abs=5e-5)


def test_no_samples_leave_all_open() -> None:
    """A share of nothing may be anything."""
    interval = clopper_pearson(0, 0)
    assert (None, 0.0, 1.0) == (interval.value, interval.low, interval.high)


def test_impossible_counts_are_refused() -> None:
    """More right answers than samples is a mistake of the caller."""
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


def test_arrays_of_counts() -> None:
    """Array in, array out; nothing is known of no samples."""
    known = stats.binomtest(7, 20).proportion_ci(0.95, method="wilson")

    low, high = wilson_interval(np.array([7, 0]), np.array([20, 0]))

    assert (known.low, known.high) == pytest.approx((low[0], high[0]))
    assert np.isnan([low[1], high[1]]).all()
