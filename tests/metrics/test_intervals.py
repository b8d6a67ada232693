"""Intervals beside the metrics of an outcome."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from safebench.metrics import Outcome, compute
from safebench.metrics.catalog import SPECS
from safebench.metrics.intervals import intervals


def outcome(seed: int, **columns: Any) -> Outcome:
    """Build 240 samples with all that a strategy can give, a few of them failed."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=240)
    y = rng.random(240) < 1 / (1 + np.exp(-z))
    failed = rng.random(240) < 0.05
    score = np.where(failed, np.nan, 1 / (1 + np.exp(-1.3 * z)))
    gold = rng.random((240, 4)) < 0.3
    named = np.where(failed[:, None], ~gold, gold ^ (rng.random((240, 4)) < 0.2))
    given: dict[str, Any] = {
        "score": score,
        "probability": True,
        "decision": np.where(failed, ~y, score >= 0.5),
        "threshold": 0.5,
        "uncertainty": np.where(failed, np.nan, -np.abs(z)),
        "labels": list("abcd"),
        "gold": gold,
        "mask": rng.random((240, 4)) < 0.9,
        "predicted": named,
        "category_score": named * 1.0,
        "pairs": np.arange(240).reshape(120, 2),
    }
    groups = [str(group) for group in rng.integers(60, size=240)]
    return Outcome(y=y, failed=failed, groups=groups, **(given | columns))


WITHOUT = {
    *("tp", "fp", "tn", "fn", "mce", "rmsce_debiased", "e_aurc"),
    *("selective_accuracy_80", "selective_accuracy_90", "selective_accuracy_95"),
}


def test_values_are_those_of_the_metrics() -> None:
    """Every interval is around the number that the metric itself gives."""
    given = outcome(0)
    values = {spec.name: value.value for spec, value in compute(given, SPECS)}
    found = intervals(given)

    assert {name for name, value in values.items() if value is not None} - {
        *found
    } == WITHOUT
    for name, interval in found.items():
        assert values[name] == pytest.approx(interval.value), name
        if interval.value is not None and interval.method != "basic":
            assert interval.low <= interval.value <= interval.high  # type: ignore[operator]


def test_failed_samples_are_drawn_but_not_scored() -> None:
    """AUROC leaves failed samples out; accuracy counts them as wrong."""
    given = outcome(1)
    found = intervals(given)
    right = (given.decision == given.y).mean()  # type: ignore[union-attr]

    assert right == pytest.approx(found["accuracy"].value)
    assert found["auroc"].n_groups <= found["accuracy"].n_groups


def test_without_columns_there_are_no_intervals() -> None:
    """Uncertainty alone has none; an empty part neither."""
    bare = outcome(2, score=None, decision=None, gold=None, pairs=None)
    empty = Outcome(y=np.zeros(0, bool), failed=np.zeros(0, bool), groups=[])

    assert {} == intervals(bare) == intervals(empty)


def test_strategies_share_their_draws() -> None:
    """Two strategies with the same scores have the same interval to the last bit."""
    assert intervals(outcome(3))["auroc"] == intervals(outcome(3))["auroc"]


def test_a_score_that_only_ranks_has_no_interval_of_a_loss() -> None:
    """No probability: no Brier score and no ECE."""
    found = intervals(outcome(4, probability=False))
    assert not {"brier", "nll", "ece"} & found.keys()
