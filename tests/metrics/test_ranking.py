"""AUROC and average precision, against pair counting and the definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from safebench.metrics import MetricDefinition, Outcome
from safebench.metrics.ranking import (
    AUPRC,
    AUROC,
    auprc,
    auroc,
    binomial_quantile,
)


def make_outcome(y: list[bool], score: list[float]) -> Outcome:
    """Build an outcome; a NaN score is a failed sample."""
    scores = np.array(score, dtype=float)
    return Outcome(
        y=np.array(y, dtype=bool),
        failed=np.isnan(scores),
        groups=list(map(str, y)),
        score=scores,
    )


def pair_share(y: np.ndarray, score: np.ndarray) -> float:
    """Count pairs: a positive above a negative is 1, equal is a half."""
    pairs = [(p, n) for p in score[y] for n in score[~y]]
    return sum((p > n) + 0.5 * (p == n) for p, n in pairs) / len(pairs)


def step_precision(y: np.ndarray, score: np.ndarray) -> float:
    """Sum precision x step in recall over the distinct scores, highest first."""
    total, before = 0.0, 0.0
    for cut in sorted(set(score.tolist()), reverse=True):
        above = score >= cut
        recall = (y & above).sum() / y.sum()
        total += (recall - before) * (y & above).sum() / above.sum()
        before = recall
    return total


@pytest.mark.parametrize("levels", [2, 3, 7, 1000])
def test_brute_force(levels: int) -> None:
    """Both areas equal their definitions, with few and with many ties."""
    rng = np.random.default_rng(levels)
    for _ in range(20):
        y = np.array([True, False, *(rng.random(40) < 0.3)])
        score = rng.integers(levels, size=42) / levels
        outcome = make_outcome(y.tolist(), score.tolist())

        assert pair_share(y, score) == pytest.approx(auroc(outcome).value)
        assert step_precision(y, score) == pytest.approx(auprc(outcome).value)


def test_published_example() -> None:
    """The example of scikit-learn's own documentation: AUROC .75, AP .8333."""
    outcome = make_outcome([False, False, True, True], [0.1, 0.4, 0.35, 0.8])

    assert 0.75 == auroc(outcome).value
    assert 0.8333333 == pytest.approx(auprc(outcome).value)


def test_infinite_scores_rank() -> None:
    """Infinities are the lowest and highest ranks; the value is that of the ranks."""
    y = [True, False, True, False, True]
    outcome = make_outcome(y, [np.inf, -np.inf, 3.0, 4.0, 1e300])

    assert 5 / 6 == pytest.approx(auroc(outcome).value)  # only 3.0 against 4.0 is lost


def test_only_scored_samples_count_and_are_counted() -> None:
    """A failed sample leaves score metrics, and `n_scored` says how many stayed."""
    outcome = make_outcome([True, True, False, False], [0.9, np.nan, 0.1, 0.95])

    assert (0.5, 3) == (auroc(outcome).value, auroc(outcome).n_scored)
    assert (0.5, 3) == (auprc(outcome).value, auprc(outcome).n_scored)


def test_two_valued_score_is_named() -> None:
    """A 0/1 score has the balanced accuracy as its AUROC, and the note says so."""
    result = auroc(make_outcome([True, True, False, False], [1, 0, 0, 0]))

    assert (0.5 + 1.0) / 2 == result.value
    assert "balanced accuracy" in result.note
    assert not auroc(make_outcome([True, False, False], [1, 0.5, 0])).note


@pytest.mark.parametrize("metric", [auroc, auprc])
def test_undefined(metric: object) -> None:
    """One class only, or no score at all: no value, and a note."""
    one_class = metric(make_outcome([True, True, False], [0.1, 0.9, np.nan]))  # type: ignore[operator]
    unscored = metric(make_outcome([True, False], [np.nan, np.nan]))  # type: ignore[operator]

    assert (None, 2) == (one_class.value, one_class.n_scored)
    assert "one class" in one_class.note
    assert (None, 0) == (unscored.value, unscored.n_scored)
    assert unscored.note


def test_two_samples_are_no_two_valued_score() -> None:
    """Two scores of two samples say nothing about how many values there could be."""
    assert not auroc(make_outcome([True, False], [0.8, 0.3])).note


@pytest.mark.parametrize("definition", [AUROC, AUPRC])
def test_no_ranking_metric_has_a_value_of_one_class(
    definition: MetricDefinition,
) -> None:
    """Comparisons read the definition alone: average precision would be 1 there."""
    score = np.array([0.9, 0.4, 0.6])

    for y in (np.ones(3, dtype=bool), np.zeros(3, dtype=bool)):
        assert definition.value(y, score) is None


@pytest.mark.parametrize("size", [0, 1, 2, 37, 999, 123_456])
@pytest.mark.parametrize("chance", [0.001, 0.05, 0.5, 0.95])
def test_quantiles_of_hits_are_those_of_scipy(size: int, chance: float) -> None:
    """Also the middle of an odd number with 1/2, which is met exactly."""
    levels = [0.005, 0.025, 0.5, 0.975, 0.995]

    found = [binomial_quantile(level, size, chance) for level in levels]

    assert binom.ppf(levels, size, chance).tolist() == found
