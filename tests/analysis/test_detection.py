"""Uncertainty of right against wrong decisions, and intervals without resampling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from safebench.analysis.detection import detection
from safebench.analysis.intervals import (
    area,
    area_difference,
    area_interval,
    wilson,
)
from safebench.statistics import delong, metric_interval, paired_difference

RNG = np.random.default_rng(3)
WRONG = RNG.random(400) < 0.25
DOUBT = np.round(RNG.normal(size=400) + WRONG, 1)  # with ties
ALONE = [str(i) for i in range(400)]


def test_area_is_that_of_sklearn() -> None:
    """Ties count as half, as everywhere."""
    assert roc_auc_score(WRONG, DOUBT) == pytest.approx(area(WRONG, DOUBT))


def test_interval_of_single_samples_has_the_variance_of_delong() -> None:
    """On the logit scale its half width is DeLong's error over theta (1 - theta)."""
    known = delong(WRONG, DOUBT)
    theta = known.value
    half = stats.norm.ppf(0.975) * known.se / (theta * (1 - theta))

    found = area_interval(WRONG, DOUBT, ALONE)

    middle = np.log(theta / (1 - theta))
    ends = [1 / (1 + np.exp(-(middle + sign * half))) for sign in (-1, 1)]
    assert ends == pytest.approx(found, rel=1e-9)


def test_interval_of_groups_agrees_with_a_bootstrap_of_groups() -> None:
    """Five copies of each sample are no five samples: the interval stays as wide."""
    groups = ALONE * 5
    wrong, doubt = np.tile(WRONG, 5), np.tile(DOUBT, 5)
    sampled = metric_interval("auroc", wrong, doubt, groups=groups)
    assert sampled.low is not None
    assert sampled.high is not None

    found = area_interval(wrong, doubt, groups)

    assert (sampled.low, sampled.high) == pytest.approx(found, abs=0.01)
    assert area_interval(WRONG, DOUBT, ALONE) == pytest.approx(found, abs=1e-3)


def test_difference_of_single_samples_is_that_of_delong() -> None:
    """Two uncertainties about the same decisions, as correlated as they are."""
    other = DOUBT + RNG.normal(size=400)
    known = delong(WRONG, other, DOUBT)
    half = stats.norm.ppf(0.975) * known.se

    found = area_difference(WRONG, other, DOUBT, ALONE)

    ends = (known.value, known.value - half, known.value + half)
    assert ends == pytest.approx(found, rel=1e-9)


def test_difference_of_groups_agrees_with_a_bootstrap_of_groups() -> None:
    """Copies of samples do not narrow the interval; the same order has no width."""
    groups, wrong = ALONE * 3, np.tile(WRONG, 3)
    one, other = np.tile(DOUBT, 3), np.tile(DOUBT + RNG.normal(size=400), 3)
    sampled = paired_difference("auroc", wrong, one, other, groups=groups)
    assert sampled.low is not None
    assert sampled.high is not None

    found = area_difference(wrong, one, other, groups)

    assert (sampled.value, sampled.low, sampled.high) == pytest.approx(found, abs=0.01)
    assert (0.0, 0.0, 0.0) == area_difference(wrong, one, np.exp(one), groups)


def test_no_interval_where_the_variance_says_nothing() -> None:
    """An area of 1, or one group of a class, gives none."""
    wrong = np.array([True, True, False, False])

    assert area_interval(wrong, wrong.astype(float), list("abcd")) is None
    assert area_interval(wrong, np.array([1.0, 0, 0, 1]), list("aabc")) is None


def test_wilson_is_that_of_scipy() -> None:
    """Array in, array out; nothing is known of no samples."""
    known = stats.binomtest(7, 20).proportion_ci(0.95, method="wilson")

    low, high = wilson(np.array([7, 0]), np.array([20, 0]))

    assert (known.low, known.high) == pytest.approx((low[0], high[0]))
    assert np.isnan([low[1], high[1]]).all()


def test_quartiles_by_hand() -> None:
    """Right decisions at 1 2 3 4 5, wrong ones at 4 6."""
    wrong = np.array([False] * 5 + [True] * 2)
    doubt = np.array([1.0, 2, 3, 4, 5, 4, 6])

    found = detection(wrong, doubt, list("abcdefg"))

    assert (2, 3, 4) == found.right.quartiles
    assert (4.5, 5, 5.5) == found.wrong.quartiles
    assert (5, 2) == (found.right.n, found.wrong.n)
    assert 8.5 / 10 == pytest.approx(found.auroc)  # 4 beats 3, ties 1; 6 beats 5
    assert 5 == sum(found.right.counts)
    assert 2 == sum(found.wrong.counts)


@pytest.mark.parametrize(("wrong", "note"), [(False, "no"), (True, "every")])
def test_one_kind_of_decision_has_no_area(wrong: bool, note: str) -> None:
    """Nothing can be told apart; the note says which kind there is."""
    found = detection(np.full(4, wrong), np.arange(4.0), list("abcd"))

    assert found.auroc is None
    assert f"{note} decision is wrong" == found.note


def test_equal_uncertainty_is_drawn_and_says_nothing() -> None:
    """One value for all: an area of one half, and one bin for all of them."""
    found = detection(np.array([True, False]), np.zeros(2), ["a", "b"])

    assert 0.5 == found.auroc
    assert 1 == sum(found.right.counts)
