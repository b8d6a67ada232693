"""Intervals of shares against the binomial distribution, and functions of shares."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from safebench.statistics.interval import (
    clustered_share,
    function_of_shares,
    mid_p_interval,
)


@pytest.mark.parametrize(("hits", "size"), [(1, 10), (9, 10), (5, 40), (77, 80)])
def test_ends_are_those_of_the_binomial_distribution(hits: int, size: int) -> None:
    """At each end, more hits and half of as many have a probability of 2.5 %."""
    low, high = mid_p_interval(hits, size)
    for end, tail in ((low, 0.025), (high, 0.975)):
        at_end = stats.binom(size, end)
        assert tail == pytest.approx(at_end.sf(hits) + at_end.pmf(hits) / 2)


def test_an_edge_is_an_end() -> None:
    """0 of 12 may be 0; all of 12 may be 1."""
    assert (0.0, 1 - 0.05 ** (1 / 12)) == pytest.approx(mid_p_interval(0, 12))
    assert (0.05 ** (1 / 12), 1.0) == pytest.approx(mid_p_interval(12, 12))


@pytest.mark.parametrize("size", [8, 30, 100])
def test_it_covers_every_share(size: int) -> None:
    """By enumeration: never below 91 %, 94 % at least on average."""
    ends = np.array([mid_p_interval(hits, size) for hits in range(size + 1)])
    covered = []
    for share in np.linspace(0.005, 0.995, 199):
        inside = (ends[:, 0] <= share) & (share <= ends[:, 1])
        covered.append(stats.binom.pmf(np.flatnonzero(inside), size, share).sum())

    assert 0.91 < min(covered)
    assert 0.94 < np.mean(covered) < 0.98


def test_copies_in_groups_are_worth_one() -> None:
    """Each of 60 samples four times: what 60 samples say, with the t of 60 groups."""
    hits = (np.arange(60) % 3 > 0).astype(float)
    index = np.repeat(np.arange(60), 4)
    together = clustered_share(index, np.repeat(hits, 4), 60)
    alone = clustered_share(np.arange(60), hits, 60)
    apart = clustered_share(np.arange(240), np.repeat(hits, 4), 240)

    assert (alone.low, alone.high) == pytest.approx((together.low, together.high))
    assert 0.6 > (apart.high - apart.low) / (alone.high - alone.low)


def test_unlike_members_are_worth_no_more_than_samples() -> None:
    """Groups of one hit and one miss vary less than chance: that is not believed."""
    hits = np.tile([1.0, 0.0], 50)
    grouped = clustered_share(np.arange(100) // 2, hits, 50)
    alone = clustered_share(np.arange(100), hits, 100)

    assert grouped.low <= alone.low <= alone.high <= grouped.high


def test_a_function_of_one_share_has_its_ends() -> None:
    """A rising function maps the ends, a falling one swaps them."""
    share = clustered_share(np.arange(30), (np.arange(30) < 21).astype(float), 30)

    assert (2 * share.low, 2 * share.high) == pytest.approx(
        function_of_shares(lambda x: 2 * x[0], [share])
    )
    assert (1 - share.high, 1 - share.low) == pytest.approx(
        function_of_shares(lambda x: 1 - x[0], [share])
    )


def test_errors_of_independent_shares_add_as_squares() -> None:
    """Half widths of a mean: by Pythagoras; of one share twice, they add up."""
    first = clustered_share(np.arange(30), (np.arange(30) < 21).astype(float), 80)
    second = clustered_share(np.arange(30, 80), (np.arange(50) < 48).astype(float), 80)
    mean = (first.value + second.value) / 2
    low, high = function_of_shares(lambda x: sum(x) / 2, [first, second])
    twice = function_of_shares(lambda x: sum(x) / 2, [first, first])

    down = np.hypot(first.value - first.low, second.value - second.low) / 2
    up = np.hypot(first.high - first.value, second.high - second.value) / 2
    assert (mean - down, mean + up) == pytest.approx((low, high))
    assert (first.low, first.high) == pytest.approx(twice)
