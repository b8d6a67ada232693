"""Metrics of decisions, against counts made by hand."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from safebench.metrics import MetricValue, Outcome
from safebench.metrics.catalog import SPECS
from safebench.metrics.compute import compute
from safebench.metrics.outcome import apply_threshold

RATES = {
    "accuracy",
    "precision",
    "recall",
    "f1",
    "mcc",
    "fpr",
    "fnr",
    "balanced_accuracy",
}


def bits(text: str) -> np.ndarray:
    """Turn a string of 0 and 1 into an array."""
    return np.array([char == "1" for char in text], dtype=bool)


def values(
    y: np.ndarray, decision: np.ndarray, failed: np.ndarray | None = None
) -> dict[str, MetricValue]:
    """Compute every decision metric."""
    outcome = Outcome(
        y=y,
        failed=np.zeros(len(y), dtype=bool) if failed is None else failed,
        groups=list(map(str, range(len(y)))),
        decision=decision,
    )
    specs = [spec for spec in SPECS if spec.load.startswith("safebench.metrics.dec")]
    return {spec.name: value for spec, value in compute(outcome, specs)}


def test_hand_counted() -> None:
    """Five positives (three found) and three negatives (one flagged)."""
    outcome = values(bits("11111000"), bits("11100100"))
    result = {name: value.value for name, value in outcome.items()}

    assert {"tp": 3, "fp": 1, "tn": 2, "fn": 2}.items() <= result.items()
    assert 5 / 8 == result["accuracy"]
    assert 3 / 4 == result["precision"]
    assert 3 / 5 == result["recall"]
    assert 6 / 9 == pytest.approx(result["f1"])
    assert 1 / 3 == result["fpr"]
    assert 2 / 5 == result["fnr"]
    assert (3 / 5 + 2 / 3) / 2 == pytest.approx(result["balanced_accuracy"])
    assert (3 * 2 - 1 * 2) / sqrt(4 * 5 * 3 * 4) == pytest.approx(result["mcc"])


def test_random_decisions_follow_the_definitions() -> None:
    """On random data every metric equals its formula over counted cells."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        y, flagged = rng.random(30) < 0.4, rng.random(30) < 0.5
        pairs = list(zip(y.tolist(), flagged.tolist(), strict=True))
        tp, fn = pairs.count((True, True)), pairs.count((True, False))
        fp, tn = pairs.count((False, True)), pairs.count((False, False))
        result = {name: value.value for name, value in values(y, flagged).items()}

        assert (tp, fp, tn, fn) == tuple(result[k] for k in ("tp", "fp", "tn", "fn"))
        assert 2 * tp / (2 * tp + fp + fn) == pytest.approx(result["f1"])
        assert fp / (fp + tn) == pytest.approx(result["fpr"])
        root = sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        assert (tp * tn - fp * fn) / root == pytest.approx(result["mcc"])


def test_decide_makes_each_failed_sample_wrong() -> None:
    """A failed positive is a false negative, a failed negative a false positive."""
    y, failed = bits("1100"), bits("1010")
    score = np.array([np.nan, 0.5, np.nan, 0.4])

    assert [False, True, True, False] == apply_threshold(y, failed, score, 0.5).tolist()


def test_failed_samples_stay_in_the_denominator() -> None:
    """Two right, one failed positive, one failed negative: accuracy is a half."""
    y, failed = bits("1100"), bits("0110")
    score = np.array([0.9, np.nan, np.nan, 0.1])
    result = values(y, apply_threshold(y, failed, score, 0.5), failed)

    assert 0.5 == result["accuracy"].value
    assert 0.5 == result["fnr"].value
    assert 0.5 == result["fpr"].value


@pytest.mark.parametrize(
    ("y", "decision", "undefined"),
    [
        ("11", "11", {"precision", "f1", "fpr", "balanced_accuracy", "mcc"}),
        ("00", "00", {"precision", "recall", "f1", "fnr", "balanced_accuracy", "mcc"}),
        ("00", "01", {"precision", "recall", "f1", "fnr", "balanced_accuracy", "mcc"}),
        ("10", "00", {"precision", "mcc"}),
        ("", "", RATES),
    ],
)
def test_undefined_is_null_with_a_note(y: str, decision: str, undefined: set) -> None:
    """A metric whose denominator is 0 has no value, and says why."""
    result = values(bits(y), bits(decision))

    assert undefined == {name for name, value in result.items() if value.value is None}
    assert all(result[name].note for name in undefined)


def test_f1_is_zero_where_positives_were_all_missed() -> None:
    """With positives present and nothing found F1 is defined, and 0."""
    assert 0.0 == values(bits("110"), bits("001"))["f1"].value
