"""Intervals of metrics by a bootstrap of groups, against SciPy and by hand."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from safebench.metrics.arrays import (
    GroupedSamples,
    metric_interval,
    metric_intervals,
    metric_value,
    paired_difference,
)
from safebench.statistics import delong, shared_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Asah, Grouped

    from safebench.statistics import Interval


@pytest.mark.parametrize("skew", [0.0, 1.0])
def test_bca_is_scipys(skew: float, bootstrapped: Callable[..., Interval]) -> None:
    """Ends of the Brier score of 40 samples lie where SciPy puts them."""
    rng = np.random.default_rng(7)
    y = np.arange(40) % 2 == 0
    p = np.clip(rng.beta(1 + 2 * y + skew, 2), 0.01, 0.99)
    expected = stats.bootstrap(
        ((p - y) ** 2,), np.mean, n_resamples=40_000, method="BCa", rng=rng
    ).confidence_interval
    interval = bootstrapped("brier", y, p, n_resamples=40_000)

    width = expected.high - expected.low
    assert "bca" == interval.method
    assert expected.low == pytest.approx(interval.low, abs=0.02 * width)
    assert expected.high == pytest.approx(interval.high, abs=0.02 * width)


def area(y: np.ndarray, score: np.ndarray) -> float:
    """Return the AUROC from the ranks of the positives."""
    m = y.sum()
    ranks = stats.rankdata(score)[y.astype(bool)].sum()
    return (ranks - m * (m + 1) / 2) / (m * (len(y) - m))


@pytest.mark.slow
def test_bca_of_an_area_is_scipys(bootstrapped: Callable[..., Interval]) -> None:
    """The ends of an AUROC of 60 samples, paired by SciPy, lie where it puts them."""
    rng = np.random.default_rng(3)
    y = np.arange(60) < 30
    score = rng.normal(size=60) + y
    expected = stats.bootstrap(
        (y, score),
        area,
        n_resamples=4_000,
        paired=True,
        vectorized=False,
        method="BCa",
        rng=rng,
    ).confidence_interval
    interval = bootstrapped("auroc", y, score, n_resamples=20_000)

    assert tuple(expected) == pytest.approx((interval.low, interval.high), abs=0.015)


def test_an_area_of_independent_samples_agrees_with_delong(
    asah: Asah, bootstrapped: Callable[..., Interval]
) -> None:
    """Bootstrap and DeLong agree on the width of an interval within a tenth."""
    expected = delong(asah.y, asah.scores["ndka"])
    interval = bootstrapped("auroc", asah.y, asah.scores["ndka"])

    width = expected.high - expected.low  # type: ignore[operator]
    assert width == pytest.approx(interval.high - interval.low, rel=0.1)  # type: ignore[operator]


def test_copies_in_groups_add_nothing(data: Grouped) -> None:
    """Each sample four times, in one group each: the interval stays as it was."""
    alone = metric_interval("f1", data.y, decision=data.decision)
    copies = np.repeat(np.arange(300), 4)
    together = metric_interval(
        "f1", data.y[copies], decision=data.decision[copies], groups=copies
    )
    apart = metric_interval("f1", data.y[copies], decision=data.decision[copies])

    assert (alone.low, alone.high) == pytest.approx((together.low, together.high))
    assert 0.6 > (apart.high - apart.low) / (alone.high - alone.low)


def test_names_and_order_of_groups_do_not_matter(data: Grouped) -> None:
    """No draw decides: the same samples have the same ends, in any order."""
    measure: Callable[..., Any] = partial(metric_interval, "auroc")
    named = np.array([f"g{group:03d}" for group in data.groups])
    order = np.random.default_rng(0).permutation(300)
    expected = measure(data.y, data.p, groups=data.groups)
    shuffled = measure(data.y[order], data.p[order], groups=named[order])

    assert expected == measure(data.y, data.p, groups=named, seed=2)
    assert (expected.low, expected.high) == pytest.approx((shuffled.low, shuffled.high))


def test_a_missing_score_is_left_out(data: Grouped) -> None:
    """NaN leaves a sample out of the value; it is lost to both sides of a pair."""
    holes = np.where(np.arange(300) < 50, np.nan, data.p)
    expected = sk.roc_auc_score(data.y[50:], data.p[50:])

    assert expected == pytest.approx(metric_interval("auroc", data.y, holes).value)
    assert 0 == paired_difference("auroc", data.y, holes, data.p).value


def test_all_right_has_an_exact_interval() -> None:
    """40 of 40 in 10 groups: what 10 of 10 leave open, not an interval of no width.

    Half of the probability of what was seen counts: 0.5 low^10 = 0.025.
    """
    y = np.arange(40) % 2 == 0
    groups = np.arange(40) // 4
    interval = metric_interval("accuracy", y, decision=y, groups=groups)

    assert 0.05 ** (1 / 10) == pytest.approx(interval.low)
    assert ("mid-p", 1.0, 10) == (interval.method, interval.high, interval.n_groups)


def test_perfect_f1_has_the_interval_of_its_jaccard_index() -> None:
    """30 of 30 positives, no false one: J above .05^(1/30), F1 = 2J/(1+J)."""
    y = np.arange(100) < 30
    jaccard = 0.05 ** (1 / 30)
    interval = metric_interval("f1", y, decision=y)

    assert 2 * jaccard / (1 + jaccard) == pytest.approx(interval.low)


@pytest.mark.parametrize("name", ["recall", "auroc", "f1", "mcc", "brier"])
def test_few_groups_of_a_class_are_said(name: str) -> None:
    """Four positives: no interval, and why; twelve: a note; twenty: nothing."""
    rng = np.random.default_rng(0)
    for positives in (4, 12, 20):
        y = np.arange(200) < positives
        score = np.clip(rng.beta(2, 5, size=200) + 0.4 * y, 0, 1)
        interval = metric_interval(name, y, score, score > 0.5)
        if positives == 4:
            assert (None, "4 positives, it takes 5") == (interval.low, interval.method)
        else:
            assert interval.low < interval.value <= interval.high  # type: ignore[operator]
        assert ("12 positives" in interval.note) == (positives == 12)


def test_few_groups_have_no_interval() -> None:
    """Four groups cannot tell how groups differ."""
    y = np.arange(40) % 2 == 0
    interval = metric_interval("accuracy", y, decision=~y, groups=np.arange(40) % 4)

    assert (None, "fewer than 5 groups") == (interval.low, interval.method)


def test_undefined_metrics_are_none() -> None:
    """No positives: no recall, and no area."""
    y = np.zeros(30, dtype=bool)
    interval = metric_intervals(
        ["recall", "auroc"], y, np.arange(30.0), y, shared_weights(y, n_resamples=50)
    )

    assert (None, None) == (interval["recall"].value, interval["auroc"].value)
    assert metric_value("recall", y, y) is None


def test_samples_share_their_resamples(data: Grouped) -> None:
    """Several metrics at once are those of one at a time; so is a difference."""
    groups = data.groups
    samples = GroupedSamples(data.y, groups, n_resamples=200, seed=5)
    options: dict[str, Any] = {"groups": groups, "n_resamples": 200, "seed": 5}

    together = samples.intervals("f1", "auroc", score=data.p, decision=data.decision)

    alone = metric_interval("f1", data.y, decision=data.decision, **options)
    assert alone == together["f1"]
    assert together["auroc"] == metric_interval("auroc", data.y, data.p, **options)
    other = 1 - data.p
    expected = paired_difference("auroc", data.y, data.p, other, **options)
    assert expected == samples.difference("auroc", data.p, other)
