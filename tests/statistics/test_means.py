"""Means of numbers that come in groups."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from safebench.statistics import mean_difference, mean_interval


def test_bca_of_a_mean_is_scipys() -> None:
    """A skewed sample of 30: the ends are SciPy's, the upper one farther away."""
    rng = np.random.default_rng(0)
    values = rng.exponential(size=30)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, method="BCa", rng=rng
    ).confidence_interval
    found = mean_interval(values, draws=40_000)

    assert tuple(expected) == pytest.approx((found.low, found.high), abs=0.02)
    assert values.mean() == pytest.approx(found.value)
    assert found.high - found.value > found.value - found.low  # type: ignore[operator]


def test_groups_widen_an_interval() -> None:
    """Ten equal numbers a group: as wide as the interval of the 40 groups' numbers."""
    values = np.random.default_rng(1).normal(size=40)
    alone = mean_interval(values)
    found = mean_interval(np.repeat(values, 10), groups=np.repeat(np.arange(40), 10))

    assert (alone.low, alone.high) == pytest.approx((found.low, found.high))
    assert 40 == found.n_groups


def test_missing_numbers_are_left_out() -> None:
    """NaN counts neither in the mean nor among the groups."""
    found = mean_interval([1.0, 0.0, np.nan, 1.0, 0.5, 0.0, 1.0])

    assert (3.5 / 6, 6) == (pytest.approx(found.value), found.n_groups)


def test_all_right_is_exact() -> None:
    """20 of 20 pairs ranked right may still be 83 %."""
    found = mean_interval(np.ones(20))
    assert (0.025 ** (1 / 20), 1.0) == (pytest.approx(found.low), found.high)


def test_paired_means() -> None:
    """The p-value of a shift in 60 pairs is near that of the paired t-test."""
    rng = np.random.default_rng(2)
    a = rng.normal(size=60)
    b = a + rng.normal(size=60) * 0.5 + 0.12
    found = mean_difference(a, b, draws=20_000)

    assert (b - a).mean() == pytest.approx(found.value)
    assert stats.ttest_rel(b, a).pvalue == pytest.approx(found.p, rel=0.25)


def test_nothing_known() -> None:
    """Only NaN: no mean and no interval."""
    found = mean_interval([np.nan] * 10)
    assert (None, None) == (found.value, found.low)


def test_no_numbers_at_all() -> None:
    """An empty column is undefined, not an error."""
    assert (None, 0) == (mean_interval([]).value, mean_interval([]).n_groups)
