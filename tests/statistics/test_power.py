"""Power of paired tests, against enumeration, formulas and simulation."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import stats

from safebench.metrics.arrays import metric_definition
from safebench.metrics.definition import truth_and
from safebench.metrics.paired import SwapPlan, compare_columns
from safebench.statistics import shared_weights
from safebench.statistics.power import PairedSpread, mcnemar_power


@cache
def rejects(right: int, discordant: int) -> bool:
    """Tell whether SciPy's binomial test is below 5 %."""
    return bool(discordant and stats.binomtest(right, discordant).pvalue <= 0.05)


@pytest.mark.parametrize(
    ("units", "discordant", "difference"),
    [(40, 0.3, 0.2), (25, 0.5, 0.0), (60, 0.15, 0.15)],
)
def test_power_of_mcnemar_is_enumerated(
    units: int, discordant: float, difference: float
) -> None:
    """Every number of discordant samples, and of those that b has right."""
    share = (1 + difference / discordant) / 2
    expected = sum(
        stats.binom.pmf(count, units, discordant) * stats.binom.pmf(right, count, share)
        for count in range(units + 1)
        for right in range(count + 1)
        if rejects(right, count)
    )

    assert expected == pytest.approx(
        mcnemar_power(units, discordant, difference), abs=1e-6
    )


def test_units_for_a_mean_are_those_of_the_normal_formula() -> None:
    """(1.96 + 0.84)^2 v / d^2, if the difference is small beside the variance."""
    spread = PairedSpread(500, variance=1.0, difference=0.0, is_share=False)
    expected = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) ** 2 / 0.05**2
    strict = (stats.norm.ppf(0.995) + stats.norm.ppf(0.9)) ** 2 / 0.05**2

    assert expected == pytest.approx(spread.units_needed(0.05), rel=0.01)
    assert strict == pytest.approx(spread.units_needed(0.05, 0.9, 0.01), rel=0.01)


@pytest.mark.parametrize("is_share", [True, False])
def test_smallest_difference_and_units_are_inverse(is_share: bool) -> None:
    """What 300 units show takes 300 units."""
    spread = PairedSpread(300, 0.2, 0.02, is_share)
    smallest = spread.smallest_difference()

    assert smallest is not None
    assert 300 == pytest.approx(spread.units_needed(smallest), rel=0.03)
    assert 0.8 == pytest.approx(spread.power(smallest, 300), abs=0.02)


def test_without_a_difference_a_share_takes_six_of_one_kind() -> None:
    """No discordant sample was seen: 80 % power for at least six that are."""
    spread = PairedSpread(100, 0.0, 0.0, is_share=True)
    smallest = spread.smallest_difference()

    assert smallest is not None
    assert 0.8 == pytest.approx(stats.binom.sf(5, 100, smallest), abs=0.001)


def test_what_is_not_known_is_none() -> None:
    """No spread at all: nothing says how others would differ."""
    spread = PairedSpread(100, 0.0, 0.0, is_share=False)

    assert spread.smallest_difference() is None
    assert spread.units_needed(0.1) is None


@pytest.mark.slow
def test_stated_power_is_that_of_the_test() -> None:
    """Of 300 datasets that differ by what 80 % should show, 74 to 86 % do."""
    rng = np.random.default_rng(0)
    n, discordant = 150, 0.25
    spread = PairedSpread(n, discordant, 0.0, is_share=True)
    difference = spread.smallest_difference()
    assert difference is not None
    counts = rng.binomial(n, discordant, size=2000)
    right = rng.binomial(counts, (1 + difference / discordant) / 2)
    shown = [rejects(int(r), int(c)) for r, c in zip(right, counts, strict=True)]

    assert 0.77 <= np.mean(shown) <= 0.83


def test_the_power_of_average_precision_takes_groups() -> None:
    """In 24 groups nothing is said of other differences; in 60, and of AUROC, it is."""
    rng = np.random.default_rng(4)

    def spread(name: str, n_groups: int) -> PairedSpread:
        group = np.repeat(np.arange(n_groups), 5)
        y = (np.arange(n_groups) % 2 == 0)[group]
        weights = shared_weights(y, group, n_resamples=10)
        a, b = (truth_and(y, y + rng.normal(size=len(y))) for _ in range(2))
        plan = SwapPlan(200, sides=False)
        pair = compare_columns(metric_definition(name), a, b, weights, plan)
        assert pair.spread is not None
        return pair.spread

    few = spread("auprc", 24)
    assert few.unknown == "the power of 12 groups of a class is not known, it takes 20"
    assert few.smallest_difference() is None
    assert few.units_needed(0.1) is None
    assert spread("auprc", 60).smallest_difference() is not None
    assert spread("auroc", 24).smallest_difference() is not None
