"""Bootstrap intervals of means of grouped numbers, against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from safebench.statistics import bootstrap_interval, mean_difference, mean_interval


def test_bca_of_a_mean_is_scipys() -> None:
    """A skewed sample of 30: the ends are SciPy's, the upper one farther away."""
    rng = np.random.default_rng(0)
    values = rng.exponential(size=30)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, method="BCa", rng=rng
    ).confidence_interval
    interval = mean_interval(values, n_resamples=40_000)

    assert tuple(expected) == pytest.approx((interval.low, interval.high), abs=0.02)
    assert values.mean() == pytest.approx(interval.value)
    assert interval.high - interval.value > interval.value - interval.low  # type: ignore[operator]


def test_groups_widen_an_interval() -> None:
    """Ten equal numbers a group: as wide as the interval of the 40 groups' numbers."""
    values = np.random.default_rng(1).normal(size=40)
    alone = mean_interval(values)
    interval = mean_interval(np.repeat(values, 10), groups=np.repeat(np.arange(40), 10))

    assert (alone.low, alone.high) == pytest.approx((interval.low, interval.high))
    assert 40 == interval.n_groups


def test_missing_numbers_are_left_out() -> None:
    """NaN counts neither in the mean nor among the groups."""
    interval = mean_interval([1.0, 0.0, np.nan, 1.0, 0.5, 0.0, 1.0])

    assert (3.5 / 6, 6) == (pytest.approx(interval.value), interval.n_groups)


def test_all_right_is_exact() -> None:
    """20 of 20 pairs ranked right may still be 83 %."""
    interval = mean_interval(np.ones(20))
    assert (0.025 ** (1 / 20), 1.0) == (pytest.approx(interval.low), interval.high)


def test_paired_means() -> None:
    """The p-value of a shift in 60 pairs is near that of the paired t-test."""
    rng = np.random.default_rng(2)
    a = rng.normal(size=60)
    b = a + rng.normal(size=60) * 0.5 + 0.12
    interval = mean_difference(a, b, n_resamples=20_000)

    assert (b - a).mean() == pytest.approx(interval.value)
    assert stats.ttest_rel(b, a).pvalue == pytest.approx(interval.p, rel=0.25)


def test_nothing_known() -> None:
    """Only NaN: no mean and no interval."""
    interval = mean_interval([np.nan] * 10)
    assert (None, None) == (interval.value, interval.low)


def test_no_numbers_at_all() -> None:
    """An empty column is undefined, not an error."""
    assert (None, 0) == (mean_interval([]).value, mean_interval([]).n_groups)


def test_ends_keep_their_order_beyond_the_pole_of_bca() -> None:
    """One group with all influence and a value above every draw: ends at the draws."""
    draws, left_out = np.linspace(0, 1, 4000), np.r_[-1.0, np.zeros(500)]
    values = np.concatenate([[1.5], draws, left_out])
    interval = bootstrap_interval(values, 4000, 30, level=0.9999)

    assert 0 <= interval.low <= interval.high == 1  # type: ignore[operator]
