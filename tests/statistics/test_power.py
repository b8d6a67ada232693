"""Power of paired tests, against enumeration, formulas and simulation."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from safebench.metrics.arrays import metric_definition
from safebench.metrics.catalog import SPECS
from safebench.metrics.definition import truth_and
from safebench.metrics.paired import compare_columns, compare_outcomes
from safebench.metrics.paired_difference import SwapPlan
from safebench.statistics import shared_weights
from safebench.statistics.power import PairedSpread, mcnemar_power

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


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


def test_the_power_of_average_precision_takes_positives() -> None:
    """Of 12 in either class nothing is said of what they show; of 60, and AUROC, it is.

    How many more would show a difference is known, but never fewer than 40.
    """
    rng = np.random.default_rng(4)

    def spread(name: str, size: int, per_group: int) -> PairedSpread:
        group = np.repeat(np.arange(size), per_group)
        y = (np.arange(size) % 2 == 0)[group]
        weights = shared_weights(y, group, n_resamples=10)
        a, b = (truth_and(y, y + rng.normal(size=len(y))) for _ in range(2))
        plan = SwapPlan(200, sides=False)
        pair = compare_columns(metric_definition(name), a, b, weights, plan)
        assert pair.spread is not None
        return pair.spread

    for per_group in (1, 5):
        few = spread("auprc", 24, per_group)
        assert few.unknown == (
            "the power of 12 independent samples of a class is not known, it takes 40"
        )
        assert few.smallest_difference() is None
        needed = few.units_needed(0.02)
        assert needed is not None
        assert few.power(0.02, needed) == pytest.approx(0.8, abs=0.01)
        assert 40 == few.units_needed(0.5)
    assert spread("auprc", 120, 1).smallest_difference() is not None
    assert spread("auroc", 24, 5).smallest_difference() is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["auroc", "auprc"])
def test_forty_of_a_class_show_what_is_stated(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A guard that is much better is found at least as often as is stated."""
    monkeypatch.syspath_prepend(BENCHMARKS / "coverage")
    paired = importlib.import_module("paired")
    spec = next(spec for spec in SPECS if spec.name == name)
    rng = np.random.default_rng(5)
    cell, shown, stated = paired.PairCell(90, 0.5), [], []
    for seed in range(80):
        a, b = paired.draw_pair(rng, cell, better=2.0)
        weights = shared_weights(a.y, a.groups, n_resamples=1)
        pair = compare_outcomes(spec, a, b, weights, SwapPlan(99, seed, sides=False))
        assert pair is not None
        assert pair.spread is not None
        assert pair.difference.p is not None
        shown.append(pair.difference.p <= 0.05)
        # of AUROCs: Phi(4 / root 2) - Phi(2 / root 2); of average precisions about it
        stated.append(pair.spread.power(0.075, pair.spread.units))

    assert 0.55 < np.mean(stated) < 0.85
    assert np.mean(shown) > np.mean(stated) - 0.05
