"""Choosing on validation, and how far below the cap: against trying everything."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from safebench.statistics import clopper_pearson
from safebench_feedback_finetune.gate import aim, choose, most_false_positives


@pytest.mark.parametrize("seed", range(30))
def test_the_cap_is_that_of_other_benign_prompts(seed: int) -> None:
    """The choice keeps their rate and the least recall; none better does."""
    rng = np.random.default_rng(seed)
    y = rng.random(40) < 0.4
    score = np.round(rng.random(40) + 0.4 * y, 2)
    benign = np.round(rng.random(25), 2)
    cap, floor = float(rng.uniform(0.05, 0.5)), float(rng.uniform(0, 0.6))
    got = choose({1.0: score}, y, cap, benign={1.0: benign}, floor=floor)
    # thresholds lie halfway between scores, so a benign score between two counts
    middles = np.sort(np.unique(score))
    middles = np.append((middles[1:] + middles[:-1]) / 2, middles.min())
    allowed = [t for t in middles if (benign >= t).mean() <= cap + 1e-12]
    best = 0.0
    for t in allowed:
        flagged = score >= t
        if (flagged & y).sum() >= floor * y.sum():
            best = max(best, 2 * (flagged & y).sum() / (flagged.sum() + y.sum()))
    if got is None:
        assert best == 0.0
        return
    flagged = score >= got.threshold
    f1 = 2 * (flagged & y).sum() / (flagged.sum() + y.sum())
    assert best == pytest.approx(f1)
    assert (benign >= got.threshold).mean() <= cap
    assert (flagged & y).sum() >= floor * y.sum()


def test_the_most_false_positives_are_found_by_counting() -> None:
    """Halving finds the largest count whose bound is within the cap."""
    for n, cap in ((0, 0.1), (20, 0.05), (59, 0.05), (300, 0.05), (500, 0.2)):
        allowed = [
            k for k in range(n + 1) if (clopper_pearson(k, n, 0.9).high or 0) <= cap
        ]
        assert most_false_positives(n, cap) == (max(allowed) if allowed else None)


@pytest.mark.parametrize(("n", "cap"), [(300, 0.05), (1000, 0.06), (1800, 0.2)])
def test_what_is_aimed_at_passes_with_the_power_asked_for(n: int, cap: float) -> None:
    """A guard at that rate passes 9 times in 10, one at the cap hardly ever."""
    most = most_false_positives(n, cap)
    goal = aim(n, cap, power=0.9)
    assert binom.cdf(most, n, goal) == pytest.approx(0.9, abs=1e-6)
    assert binom.cdf(most, n, cap) <= 0.05
    assert 0 < goal < cap


def test_too_few_prompts_leave_nothing_to_aim_at() -> None:
    """Where not even 0 false positives certify, no rate does."""
    assert aim(10, 0.05) == 0.0
