"""Intervals beside the metrics of an outcome."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from safebench.metrics import Outcome
from safebench.metrics.catalog import SPECS
from safebench.metrics.compute import compute
from safebench.metrics.intervals import sampling_intervals


def make_outcome(seed: int, **columns: Any) -> Outcome:
    """Build 240 samples with all that a strategy can give, a few of them failed."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=240)
    y = rng.random(240) < 1 / (1 + np.exp(-z))
    failed = rng.random(240) < 0.05
    score = np.where(failed, np.nan, 1 / (1 + np.exp(-1.3 * z)))
    gold = rng.random((240, 4)) < 0.3
    named = np.where(failed[:, None], ~gold, gold ^ (rng.random((240, 4)) < 0.2))
    defaults: dict[str, Any] = {
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
    return Outcome(y=y, failed=failed, groups=groups, **(defaults | columns))


WITHOUT = {
    *("tp", "fp", "tn", "fn"),
}


def test_values_are_those_of_the_metrics() -> None:
    """Every interval is around the number that the metric itself gives."""
    outcome = make_outcome(0)
    values = {spec.name: value.value for spec, value in compute(outcome, SPECS)}
    result = sampling_intervals(outcome, SPECS)

    assert {name for name, value in values.items() if value is not None} - {
        *result
    } == WITHOUT
    for name, interval in result.items():
        assert values[name] == pytest.approx(interval.value), name
        if interval.value is not None and name != "mce":
            assert interval.low <= interval.value <= interval.high  # type: ignore[operator]


def test_failed_samples_are_drawn_but_not_scored() -> None:
    """AUROC leaves failed samples out; accuracy counts them as wrong."""
    outcome = make_outcome(1)
    result = sampling_intervals(outcome, SPECS)
    right = (outcome.decision == outcome.y).mean()  # type: ignore[union-attr]

    assert right == pytest.approx(result["accuracy"].value)
    assert result["auroc"].n_groups <= result["accuracy"].n_groups


def test_without_columns_there_are_no_intervals() -> None:
    """Uncertainty alone has none; an empty part neither."""
    bare = make_outcome(2, score=None, decision=None, gold=None, pairs=None)
    empty = Outcome(y=np.zeros(0, bool), failed=np.zeros(0, bool), groups=[])

    assert {} == sampling_intervals(bare, SPECS) == sampling_intervals(empty, SPECS)


def test_strategies_share_their_draws() -> None:
    """Two strategies with the same scores have the same interval to the last bit."""
    assert (
        sampling_intervals(make_outcome(3), SPECS)["auroc"]
        == sampling_intervals(make_outcome(3), SPECS)["auroc"]
    )


def test_a_score_that_only_ranks_has_no_interval_of_a_loss() -> None:
    """No probability: no Brier score and no ECE."""
    result = sampling_intervals(make_outcome(4, probability=False), SPECS)
    assert not {"brier", "nll", "ece"} & result.keys()


def test_a_resample_repeats_samples_and_whole_pairs() -> None:
    """Samples 0 to 3 once, twice, never, twice: the pair (1, 3) is there twice."""
    y = np.array([False, False, True, True])
    drawn = Outcome(
        y=y,
        failed=np.zeros(4, bool),
        groups="abcb",
        score=np.array([0.1, 0.2, 0.3, 0.4]),
        pairs=np.array([[0, 2], [1, 3]]),
    ).resample(np.array([1, 2, 0, 2]))

    assert [0.1, 0.2, 0.2, 0.4, 0.4] == drawn.score.tolist()  # type: ignore[union-attr]
    assert ["a", "b", "b", "b", "b"] == drawn.groups
    assert [[1, 3], [2, 4]] == drawn.pairs.tolist()  # type: ignore[union-attr]
    assert drawn.decision is None


@pytest.mark.slow
def test_a_called_metric_has_the_interval_of_the_same_draws() -> None:
    """Accuracy, called on resamples, has the ends of its own method, nearly."""
    outcome = make_outcome(5)
    accuracy = next(spec for spec in SPECS if spec.name == "accuracy")
    called = sampling_intervals(outcome, [replace(accuracy, interval="")])["accuracy"]
    defined = sampling_intervals(outcome, [accuracy])["accuracy"]

    assert ("percentile", "mid-p") == (called.method, defined.method)
    assert defined.value == called.value
    assert (defined.low, defined.high) == pytest.approx(
        (called.low, called.high), abs=0.02
    )
