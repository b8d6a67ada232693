"""Quantiles and their intervals, against the binomial distribution of SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from safebench.statistics.order_statistics import fewest_samples, quantile_interval


@pytest.mark.parametrize("share", [0.5, 0.95])
@pytest.mark.parametrize("n", [3, 5, 6, 7, 30, 71, 72, 73, 200])
def test_the_ends_hold_what_the_binomial_says(n: int, share: float) -> None:
    """Each tail has at most 2.5 %, and one sample further in it would have more."""
    values = np.random.default_rng(n).permutation(n) + 1.0  # value k is the k-th

    interval = quantile_interval(list(values), share, range(n))

    assert interval.value == pytest.approx(np.percentile(values, 100 * share))
    below = binom(n, share)
    possible = below.cdf(0) <= 0.025 and below.cdf(n - 1) >= 0.975
    assert (interval.low is not None) == possible == (n >= fewest_samples(share))
    if interval.low is None or interval.high is None:
        assert interval.high is None
        assert f"needs {fewest_samples(share)} samples" in interval.method
        return
    low, high = int(interval.low), int(interval.high)
    # the quantile lies below the low-th smallest if fewer than `low` are below it
    assert below.cdf(low - 1) <= 0.025 < below.cdf(low)
    assert 1 - below.cdf(high - 1) <= 0.025 < 1 - below.cdf(high - 2)


def test_how_many_samples_it_takes() -> None:
    """.5 ** 6 is below 2.5 %, and so is .95 ** 72."""
    assert (6, 72) == (fewest_samples(0.5), fewest_samples(0.95))


def test_samples_of_a_group_count_once_if_they_are_alike() -> None:
    """Forty groups of four equal samples tell what forty samples tell."""
    rng = np.random.default_rng(0)
    values = rng.exponential(size=40)
    alone = quantile_interval(list(values), 0.5, range(40))
    repeated = quantile_interval(
        list(values.repeat(4)), 0.5, list(np.arange(40).repeat(4))
    )
    as_if_independent = quantile_interval(list(values.repeat(4)), 0.5, range(160))
    assert (alone.low, alone.high) != (None, None)

    order = np.sort(values)
    places = [np.searchsorted(order, end) for end in (repeated.low, repeated.high)]
    expected = [np.searchsorted(order, end) for end in (alone.low, alone.high)]
    narrow = [
        np.searchsorted(order, end)
        for end in (as_if_independent.low, as_if_independent.high)
    ]

    assert np.abs(np.subtract(places, expected)).max() <= 1
    assert places[0] < narrow[0]
    assert narrow[1] < places[1]
    assert repeated.n_groups == 40


def test_few_groups_have_no_interval() -> None:
    """However many samples they have."""
    interval = quantile_interval([1.0, 2.0, 3.0] * 30, 0.5, [0, 1, 2] * 30)

    assert (2.0, None, None) == (interval.value, interval.low, interval.high)
    assert "needs 6 groups" in interval.method
