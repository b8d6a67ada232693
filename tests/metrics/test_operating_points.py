"""Points of the ROC curve, against a loop over every threshold."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from safebench.metrics import Outcome
from safebench.metrics.arrays import metric_interval, metric_value
from safebench.metrics.partial_auroc import mean_recall, partial_auroc
from safebench.metrics.ranking import fpr_at_tpr, tpr_at_fpr


def make_outcome(y: np.ndarray, score: np.ndarray, **columns: object) -> Outcome:
    """Build an outcome without failures."""
    return Outcome(
        y=y,
        failed=np.zeros(len(y), dtype=bool),
        groups=[str(i) for i in range(len(y))],
        score=score,
        **columns,  # type: ignore[arg-type]
    )


def rates(y: np.ndarray, score: np.ndarray) -> list[tuple[float, float]]:
    """Return recall and false positive rate at each threshold, infinity included."""
    cuts = [*np.unique(score), np.inf]
    return [((score[y] >= t).mean(), (score[~y] >= t).mean()) for t in cuts]


@pytest.mark.parametrize("levels", [5, 30, 10_000])
def test_every_threshold_tried(levels: int) -> None:
    """The best recall within 1 % false positives, the fewest with 95 % recall."""
    rng = np.random.default_rng(levels)
    y = rng.random(500) < 0.4
    score = np.round((rng.normal(size=500) + 1.5 * y) * levels / 20)
    points = rates(y, score)

    recall = max(tpr for tpr, fpr in points if fpr <= 0.01)
    alarms = min(fpr for tpr, fpr in points if tpr >= 0.95)
    assert recall == pytest.approx(tpr_at_fpr(make_outcome(y, score)).value)
    assert alarms == pytest.approx(fpr_at_tpr(make_outcome(y, score)).value)


def test_exactly_one_percent_is_allowed() -> None:
    """One of 100 negatives may be flagged: half of the positives lie above two."""
    y = np.arange(104) >= 100
    score = np.concatenate([np.zeros(98), [5, 7], [9, 6, 4, 3]])

    assert 2 / 4 == tpr_at_fpr(make_outcome(y, score)).value


def test_too_few_of_a_class() -> None:
    """With 99 negatives or 19 positives a rate of 1 % or 5 % cannot be seen."""
    y = np.arange(118) >= 99
    few = tpr_at_fpr(make_outcome(y, np.arange(118.0)))
    result = fpr_at_tpr(make_outcome(y, np.arange(118.0)))

    assert (None, "99 negatives, too few: it takes 100") == (few.value, few.note)
    assert (None, "19 positives, too few: it takes 20") == (result.value, result.note)


def test_bounds_hold_every_score_within_them() -> None:
    """Scores drawn within their bounds never leave the metric's bounds."""
    rng = np.random.default_rng(1)
    y = np.arange(300) < 120
    score = rng.normal(size=300) + y
    width = rng.random(300) * 0.3
    lower, upper = score - width, score + width
    result = tpr_at_fpr(make_outcome(y, score, lower=lower, upper=upper))

    assert result.bound_low is not None
    assert result.bound_high is not None
    assert result.bound_low < result.bound_high
    for _ in range(30):
        drawn = rng.uniform(lower, upper)
        value = tpr_at_fpr(make_outcome(y, drawn)).value
        assert result.bound_low - 1e-12 <= value <= result.bound_high + 1e-12  # type: ignore[operator]


@pytest.mark.parametrize("levels", [2, 9, 10_000])
def test_partial_area_is_that_of_sklearn(levels: int) -> None:
    """Up to 10 % FPR in McClish's scale, ties and all, with bounds at its corners."""
    rng = np.random.default_rng(levels)
    for _ in range(20):
        y = rng.random(90) < 0.4
        score = np.round((rng.normal(size=90) + y) * levels / 4)
        lower, upper = score - 1, score + 1
        value = partial_auroc(make_outcome(y, score, lower=lower, upper=upper))

        assert value.value == pytest.approx(roc_auc_score(y, score, max_fpr=0.1))
        worst, best = np.where(y, lower, upper), np.where(y, upper, lower)
        assert value.bound_low == pytest.approx(roc_auc_score(y, worst, max_fpr=0.1))
        assert value.bound_high == pytest.approx(roc_auc_score(y, best, max_fpr=0.1))


def test_partial_area_takes_ten_negatives() -> None:
    """Of nine one alone is more than 10 %."""
    few = partial_auroc(make_outcome(np.arange(14) >= 9, np.arange(14.0)))

    assert (None, "9 negatives, too few: it takes 10") == (few.value, few.note)


def test_influence_on_a_partial_area_is_a_derivative() -> None:
    """One sample with a little more weight moves the mean recall by its influence."""
    rng = np.random.default_rng(3)
    y = np.arange(80) < 30
    score = np.round(3 * (rng.normal(size=80) + y))
    value, influence = mean_recall(y, score, 0.1)

    assert value == pytest.approx(weighted_mean_recall(y, score, np.ones(80)))
    for row in range(80):
        weights = np.ones(80)
        weights[row] += 1e-6
        moved = weighted_mean_recall(y, score, weights)
        assert (moved - value) / 1e-6 == pytest.approx(influence[row], abs=1e-5)


def weighted_mean_recall(
    y: np.ndarray, score: np.ndarray, weights: np.ndarray
) -> float:
    """Integrate the curve of weighted samples from 0 to 10 %, point by point."""
    curve = [(0.0, 0.0)]
    for cut in np.unique(score)[::-1]:
        above = weights * (score >= cut)
        curve.append(
            (above[~y].sum() / weights[~y].sum(), above[y].sum() / weights[y].sum())
        )
    fpr, tpr = np.array(curve).T
    grid = np.union1d(fpr[fpr < 0.1], [0.1])
    area = 0.0
    for left, right in pairwise(grid):
        # within a piece the curve is a line: from its height after a jump at the left
        start = tpr[fpr == left].max() if (fpr == left).any() else np.nan
        after = np.flatnonzero(fpr > left)[0]
        slope = (tpr[after] - start) / (fpr[after] - left)
        area += (right - left) * (start + slope * (right - left) / 2)
    return area / 0.1


def test_partial_area_of_few_high_negatives_has_no_interval() -> None:
    """Four of 40 negatives are all that a tenth of them is."""
    y, score = np.arange(80) >= 40, np.arange(80.0) % 40
    interval = metric_interval("pauroc_fpr_0.1", y, score)

    assert interval.low is None
    assert interval.method == "4 negatives in the highest 10 %, it takes 5"
    assert interval.value == metric_value("pauroc_fpr_0.1", y, score)
