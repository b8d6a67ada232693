"""Tests of paired differences, against enumeration, SciPy and scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from safebench.metrics import Outcome
from safebench.metrics.arrays import metric_definition
from safebench.metrics.catalog import SPECS
from safebench.metrics.definition import truth_and
from safebench.metrics.paired import compare_columns, compare_outcomes
from safebench.metrics.paired_difference import PairedTest, SwapPlan
from safebench.statistics import shared_weights
from safebench.statistics.paired_tests import (
    StricterOf,
    StudentDistribution,
    draw_swaps,
    jackknife_error,
    left_out_values,
    sign_flips,
    swap_distribution,
)
from safebench.statistics.sufficient_statistics import mean_of_first, value_sums


def compared(
    name: str, y: Any, a: Any, b: Any, groups: Any = None, draws: int = 499
) -> PairedTest:
    """Compare two columns by a metric of the core."""
    weights = shared_weights(y, groups, n_resamples=100)
    columns = truth_and(y, a), truth_and(y, b)
    return compare_columns(metric_definition(name), *columns, weights, SwapPlan(draws))


@pytest.mark.parametrize(
    ("only_a", "only_b"), [(0, 1), (3, 0), (5, 2), (10, 30), (400, 470)]
)
def test_sign_flips_of_single_samples_are_mcnemar(only_a: int, only_b: int) -> None:
    """Of samples that one side alone has right: SciPy's binomial test with 1/2."""
    signs = np.repeat([-1, 1, 0], [only_a, only_b, 50])
    expected = stats.binomtest(only_b, only_a + only_b).pvalue

    assert expected == pytest.approx(sign_flips(signs).p_value(only_b - only_a))


@pytest.mark.parametrize("seed", range(4))
def test_sign_flips_of_groups_are_enumerated(seed: int) -> None:
    """All 2^9 signs of nine groups of different size: the same share is as large."""
    sums = np.random.default_rng(seed).integers(-5, 6, size=9)
    flips = np.array([np.dot(sums, signs) for signs in product([-1, 1], repeat=9)])
    null = sign_flips(sums)

    for difference in range(int(np.abs(sums).sum()) + 1):
        share = float((np.abs(flips) >= difference).mean())
        assert share == pytest.approx(null.p_value(difference))
    assert flips.std() == pytest.approx(null.spread)
    critical = null.critical(0.05)
    assert null.p_value(critical) > 0.05 or not critical
    assert null.p_value(critical + 1) <= 0.05


@pytest.mark.parametrize(
    ("name", "rate", "kind"),
    [("recall", True, True), ("fpr", False, False), ("accuracy", None, None)],
)
def test_rates_are_tested_within_their_class(
    name: str, rate: bool | None, kind: bool | None
) -> None:
    """Recall among positives, FPR among negatives: the binomial test of these alone."""
    rng = np.random.default_rng(3)
    y = rng.random(120) < 0.4
    a, b = y ^ (rng.random(120) < 0.35), y ^ (rng.random(120) < 0.2)
    rows = np.ones(120, dtype=bool) if kind is None else y == kind
    right_a, right_b = (side[rows] == y[rows] for side in (a, b))
    only_a, only_b = (right_a & ~right_b).sum(), (right_b & ~right_a).sum()
    pair = compared(name, y, a, b)

    assert "exact McNemar" == pair.test
    expected = stats.binomtest(int(only_b), int(only_a + only_b)).pvalue
    assert expected == pytest.approx(pair.difference.p)
    sign = -1 if rate is False else 1
    assert sign * (only_b - only_a) / rows.sum() == pytest.approx(pair.difference.value)


SCIKIT = {
    "auprc": sk.average_precision_score,
    "auroc": sk.roc_auc_score,
    "brier": sk.brier_score_loss,
    "nll": sk.log_loss,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCIKIT)
def test_swaps_of_groups_are_enumerated(name: str) -> None:
    """All 2^8 ways to exchange what both say of a group, by scikit-learn's metrics.

    Ranking metrics exchange ranks, so that b may be scaled as it likes.
    """
    rng = np.random.default_rng(5)
    groups = np.arange(24) // 3
    y = np.arange(24) % 3 == 0
    a = np.clip(rng.beta(2, 3, size=24) + 0.3 * y, 0.01, 0.99).round(2)
    b = np.clip(rng.beta(2, 3, size=24) + 0.2 * y, 0.01, 0.99).round(2)
    ranked = name.startswith("au")
    sides = [stats.rankdata(side) if ranked else side for side in (a, b)]
    measure = SCIKIT[name]
    observed = measure(y, b) - measure(y, a)
    differences = []
    for swapped in product([False, True], repeat=8):
        rows = np.array(swapped)[groups]
        first, second = np.where(rows, sides[::-1], sides)
        differences.append(measure(y, second) - measure(y, first))
    expected = np.mean(np.abs(differences) >= abs(observed) - 1e-12)
    pair = compared(name, y, a, 100 * b if ranked else b, groups, draws=2**7)

    assert isinstance(pair.null, StricterOf)
    assert expected == pytest.approx(pair.null.swaps.p_value(observed), abs=1e-9)
    assert pair.difference.p is not None
    assert pair.difference.p >= expected - 1e-9
    assert observed == pytest.approx(pair.difference.value)


def test_p_is_never_below_one_of_the_swaps() -> None:
    """A difference beyond every swap: 1 / (draws + 1), and no less."""
    rng = np.random.default_rng(0)
    y = np.arange(400) < 200
    bad, good = rng.random(400), y + 0.1 * rng.random(400)
    pair = compared("auprc", y, bad, good, draws=499)

    assert 1 / 500 == pair.difference.p
    assert "swapped samples" == pair.test


def test_few_groups_are_enumerated() -> None:
    """Seven groups have 64 ways up to the mirror image, of which each is one."""
    swaps, drawn = draw_swaps(7, 100)

    assert (7, 64) == swaps.shape
    assert 0 == drawn
    both = {tuple(way) for way in swaps.T} | {tuple(~way) for way in swaps.T}
    assert 2**7 == len(both)
    assert 100 == draw_swaps(8, 100)[1]
    assert 64 == draw_swaps(7, 64)[0].shape[1]
    assert (20_000, 3) == draw_swaps(20_000, 3)[0].shape


@pytest.mark.parametrize(("groups", "draws"), [(20, 3), (4097, 77), (9001, 5)])
def test_swaps_in_bits_are_those_that_are_drawn(groups: int, draws: int) -> None:
    """Drawn some groups at a time, they are those of one draw of all."""
    rng = np.random.default_rng(3)
    whole = rng.integers(2, size=(groups, draws), dtype=np.uint8) == 1

    swaps, _ = draw_swaps(groups, draws, 3)

    np.testing.assert_array_equal(whole, swaps[:, :])
    np.testing.assert_array_equal(whole[:, 1:3], swaps[:, 1:3])


def test_a_swap_without_a_value_counts_against_every_difference() -> None:
    """NaN is as large as anything; of the others the spread is taken."""
    null = swap_distribution(np.array([1.0, -1.0, np.nan, 0.0]), 0)

    assert (0.25, 0.75) == (null.p_value(2.0), null.p_value(1.0))
    assert np.sqrt(2 / 3) == pytest.approx(null.spread)


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    """Of 40 samples: the standard deviation of their differences over root 40."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 40))
    index = np.arange(40)
    sums = value_sums(np.r_[index, index + 40], 80, np.r_[a, b])
    expected = (b - a).std(ddof=1) / np.sqrt(40)

    assert expected == pytest.approx(
        jackknife_error(*left_out_values(sums, mean_of_first, 40))
    )


def test_the_stricter_test_decides() -> None:
    """Five groups that all differ: t says 0.0001, and flips no less than 2 / 2^5."""
    swaps = swap_distribution(np.array([1.0] + [0.2] * 15), 0)
    both = StricterOf(swaps, StudentDistribution(0.05, 4))

    assert 1 / 16 == both.p_value(1.0)
    t = float(2 * stats.t.sf(0.1 / 0.05, 4))
    assert max(t, swaps.p_value(0.1)) == pytest.approx(both.p_value(0.1))


@pytest.mark.parametrize("name", ["auroc", "auprc", "recall", "f1", "brier", "aurc"])
def test_interval_and_p_agree(name: str) -> None:
    """The interval leaves 0 out exactly where p is at most 5 %."""
    rejected = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        groups = np.arange(120) // 2
        y = (rng.random(60) < 0.5)[groups]
        a = np.clip(0.5 + 0.20 * (y - 0.5) + 0.2 * rng.normal(size=120), 0, 1)
        b = np.clip(0.5 + 0.32 * (y - 0.5) + 0.2 * rng.normal(size=120), 0, 1)
        if name in ("recall", "f1"):
            a, b = a > 0.5, b > 0.5
        difference = compared(name, y, a, b, groups, draws=199).difference
        assert difference.p is not None
        assert difference.excludes_zero == (difference.p <= 0.05)
        rejected.append(difference.excludes_zero)
    assert {True, False} == set(rejected)


def test_too_few_groups_of_a_class_are_refused() -> None:
    """Five groups of positives cannot reach 0.05: no p, and the reason."""
    groups = np.arange(120) // 4
    y = groups < 5
    pair = compared("recall", y, np.zeros(120), np.ones(120), groups)

    reason = "no test: 5 groups of positives, it takes 6"
    assert (None, reason, 1.0) == (
        pair.difference.p,
        pair.difference.method,
        pair.difference.value,
    )
    six = compared("recall", groups < 6, np.zeros(120), np.ones(120), groups)
    assert 2 / 2**6 == pytest.approx(six.difference.p)


def test_areas_of_many_independent_samples_are_tested_by_delong() -> None:
    """20 of each class; with 19 the ranks of samples are swapped."""
    rng = np.random.default_rng(1)
    for positives, test in ((20, "DeLong"), (19, "swapped samples")):
        y = np.arange(100) < positives
        a, b = rng.normal(size=(2, 100)) + y
        assert test == compared("auroc", y, a, b).test


def test_equal_decisions_leave_open_what_was_not_seen() -> None:
    """No sample of 58 tells both apart: a share of 1 - .05^(1/58) may, in truth.

    A margin of 2 % is excluded only if 58 samples without a difference are rare then.
    """
    y = np.arange(100) < 58
    pair = compared("recall", y, y, y)

    assert (0.0, 1.0) == (pair.difference.value, pair.difference.p)
    assert 1 - 0.05 ** (1 / 58) == pytest.approx(pair.difference.high)
    assert -pair.difference.high == pytest.approx(pair.difference.low)  # type: ignore[operator]
    assert 0.98**58 == pytest.approx(pair.equivalence_p(0.02))
    assert 0.9**58 == pytest.approx(pair.equivalence_p(0.1))


def test_equivalence_by_two_one_sided_tests() -> None:
    """Of 5 and 3 discordant samples of 200, by the binomial distribution.

    A difference of 1 %, a margin of 5 %: P(b - a <= -8) of eight fair signs.
    """
    y = np.ones(200, dtype=bool)
    a, b = y.copy(), y.copy()
    a[:5], b[5:8] = False, False
    pair = compared("accuracy", y, a, b)

    assert 0.01 == pytest.approx(pair.difference.value)
    one_sided = float(stats.binom.cdf(0, 8, 0.5))
    unseen = float(stats.binom.cdf(2, int(pair.spread.units), 0.05))  # type: ignore[union-attr]
    assert max(one_sided, unseen) == pytest.approx(pair.equivalence_p(0.05))
    assert pair.equivalence_p(0.005) > 0.5  # type: ignore[operator]


def test_uncertainties_are_compared_by_each_side_s_own_errors() -> None:
    """Error AUROC and AURC of both are scikit-learn's and the definition's."""
    rng = np.random.default_rng(4)
    wrong_a, wrong_b = rng.random((2, 150)) < 0.3
    a, b = rng.normal(size=(2, 150)) + 1.0 * np.stack([wrong_a, wrong_b])
    weights = shared_weights(wrong_a, n_resamples=100)
    columns = truth_and(wrong_a, a), truth_and(wrong_b, b)
    plan = SwapPlan(199)
    pair = compare_columns(metric_definition("error_auroc"), *columns, weights, plan)

    areas = sk.roc_auc_score(wrong_a, a), sk.roc_auc_score(wrong_b, b)
    assert areas == pytest.approx((pair.a.value, pair.b.value))
    assert areas[1] - areas[0] == pytest.approx(pair.difference.value)
    assert "swapped samples" == pair.test


@pytest.mark.parametrize("name", ["auprc", "brier"])
def test_a_metric_that_is_called_is_tested_alike(name: str) -> None:
    """A plugin's function, called on each of 2^7 swaps, has the p of the formula.

    Of ranks it says the same as of scores, so that b may be scaled as it likes.
    """
    rng = np.random.default_rng(6)
    groups = np.arange(24) // 3
    y = np.arange(24) % 3 == 0
    scale = 50.0 if name == "auprc" else 1.0
    sides = [
        Outcome(
            y=y,
            failed=np.zeros(24, dtype=bool),
            groups=groups.tolist(),
            score=factor * rng.random(24),
            probability=name == "brier",
        )
        for factor in (1.0, scale)
    ]
    (spec,) = (spec for spec in SPECS if spec.name == name)
    weights = shared_weights(y, groups, n_resamples=200)
    plan = SwapPlan(2**7)
    formula = compare_outcomes(spec, *sides, weights, plan)
    called = compare_outcomes(replace(spec, interval=""), *sides, weights, plan)

    assert formula is not None
    assert called is not None
    assert isinstance(formula.null, StricterOf)
    assert isinstance(called.null, StricterOf)
    value = called.difference.value
    assert value is not None
    assert value == pytest.approx(formula.difference.value)
    expected = formula.null.swaps.p_value(value)
    assert expected == pytest.approx(called.null.swaps.p_value(value))
