"""Promises of rates: on simulated splits, against SciPy and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from safebench.decision.risk_control import (
    Losses,
    control,
    group_losses,
    least_n,
    p_values,
)
from safebench.decision.thresholds import Rule, ScoredSamples
from safebench.errors import DataError

ALPHA = 0.1
FPR, RECALL = Rule(name="max_fpr", value=ALPHA), Rule(name="min_recall", value=0.9)


def draw(
    rng: np.random.Generator, n: int, *, sizes: int = 1, ties: bool = False
) -> ScoredSamples:
    """Return n groups of 1 to `sizes` samples whose scores go together."""
    group = np.repeat(np.arange(n), rng.integers(1, sizes + 1, size=n))
    y = (rng.random(n) < 0.5)[group]
    score = rng.normal(size=n)[group] + 0.3 * rng.normal(size=len(group)) + 1.5 * y
    if ties:
        score = np.round(score, 1)
    return ScoredSamples(y, score, list(map(str, group)))


@pytest.mark.parametrize("rule", [FPR, RECALL], ids=["fpr", "recall"])
def test_the_least_strict_threshold_that_is_promised(rule: Rule) -> None:
    """Of independent samples: (errors + 1) / (n + 1), and SciPy's exact binomial."""
    rng = np.random.default_rng(3)
    for _ in range(10):
        known = draw(rng, 160, ties=True)
        among = known.y if rule is RECALL else ~known.y
        scores, n = known.score[among], int(among.sum())
        cuts = np.unique(known.score)
        strict_first = cuts if rule is RECALL else cuts[::-1]
        errors = [
            int((scores < cut).sum() if rule is RECALL else (scores >= cut).sum())
            for cut in strict_first
        ]
        crc = [
            cut
            for cut, k in zip(strict_first, errors, strict=True)
            if (k + 1) / (n + 1) <= ALPHA
        ]
        ltt = []
        for cut, k in zip(strict_first, errors, strict=True):
            if binomtest(k, n, ALPHA, alternative="less").pvalue > 0.05:
                break
            ltt.append(cut)
        assert control("crc", rule, known).threshold == crc[-1]
        assert control("ltt", rule, known).threshold == ltt[-1]


def simulate(
    method: str, rule: Rule, *, runs: int, sizes: int, seed: int
) -> tuple[float, float]:
    """Return the mean risk of new groups, and how often it is above alpha."""
    rng = np.random.default_rng(seed)
    fresh = draw(rng, 20_000, sizes=sizes)
    losses = group_losses(rule, fresh)
    order = np.argsort(losses.thresholds)
    cuts, total = losses.thresholds[order], losses.total[order]
    risks = []
    for _ in range(runs):
        choice = control(method, rule, draw(rng, 160, sizes=sizes))
        # Rates of thresholds between two scores are those of the next one above.
        at = min(int(np.searchsorted(cuts, choice.threshold)), len(cuts) - 1)
        risks.append(total[at] / losses.n)
    return float(np.mean(risks)), float(np.mean(np.array(risks) > ALPHA))


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [1, 4], ids=["independent", "grouped"])
@pytest.mark.parametrize("rule", [FPR, RECALL], ids=["fpr", "recall"])
def test_promises_hold_on_simulated_splits(rule: Rule, sizes: int) -> None:
    """A cut of benchmarks/decision: mean risk at most alpha; ltt is rarely above it.

    Of 300 splits the mean risk has a standard error of 0.002, the share of 5 % one of
    1.3 points.
    """
    mean, _ = simulate("crc", rule, runs=300, sizes=sizes, seed=7)
    assert 0.6 * ALPHA < mean <= ALPHA + 0.004

    mean, above = simulate("ltt", rule, runs=300, sizes=sizes, seed=8)
    assert mean <= ALPHA
    assert above <= 0.05 + 3 * 0.0126


def test_groups_are_counted_whole() -> None:
    """Ten samples of one group are one loss, their mean."""
    y = np.array([False] * 30 + [True] * 5)
    score = np.r_[np.tile([0.2, 0.8, 0.9], 10), np.full(5, 1.0)]
    groups = [str(row // 3) for row in range(30)] + [f"p{row}" for row in range(5)]

    losses = group_losses(FPR, ScoredSamples(y, score, groups))

    assert (10, True, "negatives") == (losses.n, losses.grouped, losses.kind)
    assert [1.0, 0.9, 0.8, 0.2] == losses.thresholds.tolist()
    assert np.allclose([0, 10 / 3, 20 / 3, 10], losses.total)


def test_the_p_value_of_means_bounds_the_exact_one() -> None:
    """Hoeffding and Bentkus hold for any losses from 0 to 1, those of 0 and 1 too."""
    rng = np.random.default_rng(0)
    losses = group_losses(FPR, draw(rng, 200))
    exact = p_values(losses, ALPHA)
    bounded = p_values(losses._replace(grouped=True), ALPHA)

    assert (bounded >= exact - 1e-12).all()
    assert bounded[0] < 0.001


def test_p_values_are_those_of_mapie() -> None:
    """Of 100 losses with these means; computed with MAPIE 1.6.0."""
    losses = Losses(np.zeros(3), np.array([2.0, 5.0, 8.0]), 100, "negatives", True)
    expected = [0.00528674, 0.1565102, 0.78906151]

    assert np.allclose(expected, p_values(losses, ALPHA), atol=1e-8)


def test_failed_samples_are_errors_of_every_threshold() -> None:
    """With more of them than the budget has, nothing can be promised."""
    known = draw(np.random.default_rng(1), 100)
    score = known.score.copy()
    score[np.flatnonzero(~known.y)[:15]] = np.nan

    with pytest.raises(DataError, match=r"no threshold keeps --max-fpr 0\.1"):
        control("crc", FPR, ScoredSamples(known.y, score, known.groups))


def test_what_it_takes_without_an_error() -> None:
    """One sample fewer, and not even the strictest threshold is promised."""
    for alpha in (0.01, 0.05, 0.1, 0.25):
        assert 1 / (least_n("crc", alpha) + 1) <= alpha < 1 / least_n("crc", alpha)
        n = least_n("ltt", alpha)
        assert (1 - alpha) ** n <= 0.05 < (1 - alpha) ** (n - 1)
        assert math.isclose(
            binomtest(0, n, alpha, alternative="less").pvalue, (1 - alpha) ** n
        )
