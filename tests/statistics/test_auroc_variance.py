"""AUROC and its variance, against R's pROC, the definition and a bootstrap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from safebench.metrics.arrays import metric_value, paired_difference
from safebench.statistics import (
    auroc_difference,
    auroc_interval,
    compute_auroc,
    delong,
    delong_unpaired,
)
from safebench.statistics.auroc_variance import average_ranks, partial_auroc

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Asah

    from safebench.statistics import Interval


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


def hanley_mcneil(area: float, m: int, n: int) -> float:
    """Return their variance with both sizes replaced by their mean: Newcombe 2006."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    rest = ((m + n) / 2 - 1) * (q1 + q2 - 2 * area**2)
    return (area * (1 - area) + rest) / (m * n)


def test_interval_of_many_samples_is_as_wide_as_delongs() -> None:
    """Of 400 in one class and more in the other: within 5 %, and not symmetric."""
    rng = np.random.default_rng(1)
    y = np.arange(1200) < 400
    score = rng.normal(size=1200) + 2 * y
    known = delong(y, score)
    low, high = auroc_interval(y, score, np.arange(1200))  # type: ignore[misc]

    assert high - low == pytest.approx(4 * 0.98 * known.se, rel=0.05)
    assert known.value - low > high - known.value


def test_interval_of_few_positives_is_newcombes() -> None:
    """Where placements show less spread than his formula, its ends are fixed points."""
    y = np.arange(60) < 6
    score = np.r_[np.linspace(60, 90, 6), np.arange(54) + 11.5]
    area = compute_auroc(y, score)
    estimate = delong(y, score)
    ratio = estimate.se**2 / hanley_mcneil(area, 6, 54)
    assert 0.5 < area < 1
    trust = 6 / 26
    factor = trust * ratio + (1 - trust) * max(ratio, 1)

    for end in auroc_interval(y, score, np.arange(60)):  # type: ignore[union-attr]
        error = (factor * hanley_mcneil(end, 6, 54)) ** 0.5
        assert 1.959964 == pytest.approx(abs(end - area) / error, rel=1e-5)


def test_interval_of_groups_agrees_with_a_bootstrap_of_groups(
    bootstrapped: Callable[..., Interval],
) -> None:
    """Five copies of each sample are no five samples: the interval stays as wide."""
    groups = ALONE * 5
    wrong, uncertainty = np.tile(WRONG, 5), np.tile(UNCERTAINTY, 5)
    sampled = bootstrapped("auroc", wrong, uncertainty, groups)
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


def test_a_perfect_order_has_an_exact_end() -> None:
    """7 positives above all others: had one in 20 been below, 0.95^7 would show it.

    The least area that would give an order this good in one case of 20 is .05^(1/7),
    if what goes wrong is a positive below every negative.
    """
    y = np.arange(90) < 7
    score = y + np.arange(90) / 1000

    assert (0.05 ** (1 / 7), 1.0) == pytest.approx(auroc_interval(y, score, range(90)))
    assert (0.0, 1 - 0.05 ** (1 / 7)) == pytest.approx(
        auroc_interval(y, -score, range(90))
    )


def test_no_interval_where_one_group_has_a_class() -> None:
    """Both positives in one group: there is no spread to see."""
    wrong = np.array([True, True, False, False])

    assert auroc_interval(wrong, np.array([1.0, 0, 0, 1]), list("aabc")) is None


@pytest.mark.parametrize("name", ["wfns", "ndka"])
@pytest.mark.parametrize(("low", "high"), [(0.0, 0.1), (0.1, 0.2)])
def test_partial_areas_are_those_of_proc(
    asah: Asah, name: str, low: float, high: float
) -> None:
    """Specificity from 1 to 0.9, or 0.9 to 0.8; from 1 to 0 it is the area."""
    key = "spec 1..0.9" if low == 0 else "spec 0.9..0.8"
    area = partial_auroc(asah.y, asah.scores[name], low, high)

    assert asah.expected["partial_auc"][name][key] == pytest.approx(area, abs=1e-10)
    assert compute_auroc(asah.y, asah.scores[name]) == pytest.approx(
        partial_auroc(asah.y, asah.scores[name])
    )


@pytest.mark.parametrize("name", ["wfns", "ndka"])
def test_the_metric_of_partial_area_is_procs_in_another_scale(
    asah: Asah, name: str
) -> None:
    """From the area a of pROC: 1/2 + (a - 0.005) / 0.19, by McClish."""
    area = asah.expected["partial_auc"][name]["spec 1..0.9"]

    assert 0.5 + (area - 0.005) / 0.19 == pytest.approx(
        metric_value("pauroc_fpr_0.1", asah.y, asah.scores[name]), abs=1e-10
    )


@pytest.mark.parametrize("digits", [0, 1, 9])
def test_ranks_are_those_of_scipy(digits: int) -> None:
    """To the last bit, with many ties and without; nothing has a rank beside NaN."""
    values = np.round(np.random.default_rng(4).normal(size=200), digits)
    values[:4] = (np.inf, -np.inf, 0.0, -0.0)

    assert average_ranks(values).tolist() == stats.rankdata(values).tolist()
    values[7] = np.nan
    assert np.isnan(average_ranks(values)).all()
    assert np.isnan(stats.rankdata(values)).all()
