"""Points of the ROC curve, against a loop over every threshold."""

from __future__ import annotations

import numpy as np
import pytest

from safebench.metrics import Outcome
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
