"""AUROC and its variance, against R's pROC, the definition and a bootstrap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from safebench.metrics import metric_interval
from safebench.metrics.arrays import paired_difference
from safebench.statistics import (
    auroc_difference,
    auroc_interval,
    compute_auroc,
    delong,
    delong_unpaired,
)

if TYPE_CHECKING:
    from conftest import Asah


RNG = np.random.default_rng(3)
WRONG = RNG.random(400) < 0.25
UNCERTAINTY = np.round(RNG.normal(size=400) + WRONG, 1)  # with ties  # with ties
ALONE = [str(i) for i in range(400)]


@pytest.mark.parametrize("name", ["wfns", "ndka"])
def test_areas_are_those_of_proc(asah: Asah, name: str) -> None:
    """The areas that pROC publishes, to 1e-10."""
    expected = asah.expected["auc"][name]
    assert expected == pytest.approx(delong(asah.y, asah.scores[name]).value, abs=1e-10)


@pytest.mark.parametrize("pair", ["wfns-s100b", "wfns-ndka", "ndka-s100b"])
def test_paired_test_is_that_of_proc(asah: Asah, pair: str) -> None:
    """The z, p and interval of pROC's paired test, which takes second from first."""
    first, second = pair.split("-")
    expected = asah.expected["delong_paired"][pair]
    estimate = delong(asah.y, asah.scores[second], asah.scores[first])

    assert expected["z"] == pytest.approx(estimate.z, abs=1e-10)
    assert expected["p"] == pytest.approx(estimate.p, abs=1e-10)
    assert expected["ci"] == pytest.approx([estimate.low, estimate.high], abs=1e-10)


def test_unpaired_test_is_that_of_proc(asah: Asah) -> None:
    """The t and p of pROC's test of two areas on different samples."""
    expected = asah.expected["delong_unpaired"]["wfns-s100b"]
    y, scores = asah.y, asah.scores
    estimate = delong_unpaired(y, scores["s100b"], y, scores["wfns"])

    assert expected["d"] == pytest.approx(estimate.z, abs=1e-10)
    assert expected["p"] == pytest.approx(estimate.p, abs=1e-10)


def structural_components(y: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """Return area and variance from the full matrix of comparisons."""
    positive, negative = score[y], score[~y]
    won = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    m, k = won.shape
    variance = won.mean(axis=1).var(ddof=1) / m + won.mean(axis=0).var(ddof=1) / k
    return won.mean(), variance


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_midranks_give_the_definition(levels: int) -> None:
    """Area and standard error equal those of the m x k matrix, with many ties too."""
    rng = np.random.default_rng(levels)
    y = rng.random(60) < 0.4
    score = rng.integers(levels, size=60).astype(float)
    area, variance = structural_components(y, score)
    estimate = delong(y, score)

    assert (area, variance) == pytest.approx((estimate.value, estimate.se**2))


def test_perfect_order_has_no_interval() -> None:
    """At an area of 1 the variance is 0: no interval rather than one of no width."""
    estimate = delong(np.array([True, True, False, False]), np.array([4.0, 3, 2, 1]))

    assert (1.0, None, None) == (estimate.value, estimate.low, estimate.high)


def test_one_class_is_refused() -> None:
    """Without negatives there is no area."""
    with pytest.raises(ValueError, match="both classes"):
        delong(np.array([True, True]), np.array([1.0, 2.0]))


def test_one_sample_of_a_class_tells_no_spread() -> None:
    """One positive among 50 negatives: a value, and neither interval nor p-value."""
    y = np.arange(51) == 0
    score = np.r_[0.9, np.linspace(0, 1, 50)]
    estimate = delong(y, score)

    assert (None, None, 0.0) == (estimate.low, estimate.high, estimate.se)
    assert delong(y, score, -score).p is None


def test_rounding_is_no_spread() -> None:
    """Each positive passes one of three negatives: thirds that differ by rounding."""
    y = np.array([True, False] * 3)
    before, after = np.arange(6.0), np.array([1.0, 0.0, 3.0, 2.0, 5.0, 4.0])
    estimate = delong(y, before, after)

    assert 1 / 3 == pytest.approx(estimate.value)
    assert (None, None, 0.0) == (estimate.p, estimate.low, estimate.se)


def test_a_missing_score_is_refused() -> None:
    """NaN has no rank; it is not ranked in silence."""
    with pytest.raises(ValueError, match="NaN"):
        delong(np.array([True, False, True]), np.array([0.1, np.nan, 0.3]))


def test_area_is_that_of_sklearn() -> None:
    """Ties count as half, as everywhere."""
    assert roc_auc_score(WRONG, UNCERTAINTY) == pytest.approx(
        compute_auroc(WRONG, UNCERTAINTY)
    )


def test_interval_of_single_samples_has_the_variance_of_delong() -> None:
    """On the logit scale its half width is DeLong's error over theta (1 - theta)."""
    known = delong(WRONG, UNCERTAINTY)
    theta = known.value
    half = stats.norm.ppf(0.975) * known.se / (theta * (1 - theta))

    estimate = auroc_interval(WRONG, UNCERTAINTY, ALONE)

    middle = np.log(theta / (1 - theta))
    ends = [1 / (1 + np.exp(-(middle + sign * half))) for sign in (-1, 1)]
    assert ends == pytest.approx(estimate, rel=1e-9)


def test_interval_of_groups_agrees_with_a_bootstrap_of_groups() -> None:
    """Five copies of each sample are no five samples: the interval stays as wide."""
    groups = ALONE * 5
    wrong, uncertainty = np.tile(WRONG, 5), np.tile(UNCERTAINTY, 5)
    sampled = metric_interval("auroc", wrong, uncertainty, groups=groups)
    assert sampled.low is not None
    assert sampled.high is not None

    estimate = auroc_interval(wrong, uncertainty, groups)

    assert (sampled.low, sampled.high) == pytest.approx(estimate, abs=0.01)
    assert auroc_interval(WRONG, UNCERTAINTY, ALONE) == pytest.approx(
        estimate, abs=1e-3
    )


def test_difference_of_single_samples_is_that_of_delong() -> None:
    """Two uncertainties about the same decisions, as correlated as they are."""
    other = UNCERTAINTY + RNG.normal(size=400)
    known = delong(WRONG, other, UNCERTAINTY)
    half = stats.norm.ppf(0.975) * known.se

    estimate = auroc_difference(WRONG, other, UNCERTAINTY, ALONE)

    ends = (known.value, known.value - half, known.value + half)
    assert ends == pytest.approx(estimate, rel=1e-9)


def test_difference_of_groups_agrees_with_a_bootstrap_of_groups() -> None:
    """Copies of samples do not narrow the interval; the same order has no width."""
    groups, wrong = ALONE * 3, np.tile(WRONG, 3)
    one, other = np.tile(UNCERTAINTY, 3), np.tile(UNCERTAINTY + RNG.normal(size=400), 3)
    sampled = paired_difference("auroc", wrong, one, other, groups=groups)
    assert sampled.low is not None
    assert sampled.high is not None

    estimate = auroc_difference(wrong, one, other, groups)

    assert (sampled.value, sampled.low, sampled.high) == pytest.approx(
        estimate, abs=0.01
    )
    assert (0.0, 0.0, 0.0) == auroc_difference(wrong, one, np.exp(one), groups)


def test_no_interval_where_the_variance_says_nothing() -> None:
    """An area of 1, or one group of a class, gives none."""
    wrong = np.array([True, True, False, False])

    assert auroc_interval(wrong, wrong.astype(float), list("abcd")) is None
    assert auroc_interval(wrong, np.array([1.0, 0, 0, 1]), list("aabc")) is None
