"""Areas under risk-coverage curves, against every order of what ties."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest

from safebench.metrics import Outcome
from safebench.metrics.catalog import SPECS
from safebench.metrics.intervals import sampling_intervals
from safebench.metrics.selective import E_AURC, aurc, e_aurc, selective_accuracy_80


def make_outcome(wrong: object, sure: object, **columns: object) -> Outcome:
    """Build an outcome of negatives: wrong ones are flagged; NaN is failed."""
    errors, confidence = np.array(wrong, dtype=bool), np.array(sure, dtype=float)
    return Outcome(
        y=np.zeros(len(errors), dtype=bool),
        failed=np.isnan(confidence),
        groups=[str(i) for i in range(len(errors))],
        decision=errors,
        uncertainty=-confidence,
        **columns,  # type: ignore[arg-type]
    )


def area(wrong: list[bool]) -> float:
    """Return the mean over k of the error of the first k."""
    return float(np.mean(np.cumsum(wrong) / np.arange(1, len(wrong) + 1)))


def test_by_hand() -> None:
    """Right, wrong, right: errors 0, 1/2, 1/3; the best order would give 0 0 1/3."""
    outcome = make_outcome([0, 1, 0], [3, 2, 1])

    assert (0 + 1 / 2 + 1 / 3) / 3 == pytest.approx(aurc(outcome).value)
    assert (1 / 2 + 1 / 3 - 1 / 3) / 3 == pytest.approx(e_aurc(outcome).value)


@pytest.mark.parametrize("seed", range(6))
def test_ties_are_the_mean_of_all_orders(seed: int) -> None:
    """With equal confidence: the mean area over every order that respects it."""
    rng = np.random.default_rng(seed)
    wrong, sure = rng.random(6) < 0.5, rng.integers(3, size=6)
    areas = [
        area([bool(wrong[i]) for i in order])
        for order in permutations(range(6))
        if all(sure[a] >= sure[b] for a, b in pairwise(order))
    ]

    assert np.mean(areas) == pytest.approx(aurc(make_outcome(wrong, sure)).value)


def test_rows_in_another_order_change_nothing() -> None:
    """Shuffled rows, half of them tied: every metric stays."""
    rng = np.random.default_rng(3)
    wrong, sure = rng.random(200) < 0.3, rng.integers(8, size=200)
    for _ in range(5):
        order = rng.permutation(200)
        shuffled = make_outcome(wrong[order], sure[order])
        for metric in (aurc, e_aurc, selective_accuracy_80):
            expected = metric(make_outcome(wrong, sure)).value
            assert expected == pytest.approx(metric(shuffled).value)


def test_the_best_order_has_no_excess() -> None:
    """Wrong decisions last: E-AURC is 0; confidence that says nothing: the error."""
    wrong = [False] * 7 + [True] * 3

    assert 0 == pytest.approx(e_aurc(make_outcome(wrong, range(10, 0, -1))).value)
    assert 0.3 == pytest.approx(aurc(make_outcome(wrong, [1] * 10)).value)


def test_selective_accuracy() -> None:
    """Eight of ten are kept, one of them wrong; a level that is cut counts in part."""
    wrong = [False] * 7 + [True] * 3

    kept = selective_accuracy_80(make_outcome(wrong, range(10, 0, -1))).value
    assert 7 / 8 == pytest.approx(kept)
    assert 0.7 == pytest.approx(
        selective_accuracy_80(make_outcome(wrong, [1] * 10)).value
    )


def test_without_uncertainty_the_distance_counts() -> None:
    """A score is the surer the farther it is from its threshold; the note says so."""
    score = np.array([0.1, 0.45, 0.9])
    outcome = Outcome(
        y=np.array([False, True, True]),
        failed=np.zeros(3, dtype=bool),
        groups="abc",
        score=score,
        decision=score >= 0.5,
        threshold=0.5,
    )

    assert (0 + 0 + 1 / 3) / 3 == pytest.approx(aurc(outcome).value)
    assert "distance" in aurc(outcome).note


def test_nothing_to_be_sure_by() -> None:
    """Decisions alone have no confidence, failed ones no value."""
    bare = Outcome(
        y=np.array([True]),
        failed=np.array([False]),
        groups="a",
        decision=np.array([True]),
    )

    assert "neither an uncertainty nor" in aurc(bare).note
    assert (None, 0) == (
        aurc(make_outcome([1], [np.nan])).value,
        aurc(make_outcome([1], [np.nan])).n_scored,
    )


def test_failed_samples_are_left_out() -> None:
    """A decision without an uncertainty is in no order."""
    result = aurc(make_outcome([0, 1, 0, 1], [3, 2, 1, np.nan]))

    assert (0 + 1 / 2 + 1 / 3) / 3 == pytest.approx(result.value)
    assert 3 == result.n_scored


def test_the_interval_of_e_aurc_has_the_error_of_a_jackknife() -> None:
    """Its middle half is t errors wide, with as many degrees as errors count."""
    rng = np.random.default_rng(2)
    sure = rng.random(400)
    wrong = rng.random(400) < 0.3 * (1 - sure)
    interval = sampling_intervals(make_outcome(wrong, sure), SPECS)["e_aurc"]
    values = [E_AURC.value(np.delete(wrong, i), np.delete(sure, i)) for i in range(400)]
    error = np.sqrt(399 / 400 * ((np.array(values) - np.mean(values)) ** 2).sum())
    assert interval.low is not None
    assert interval.high is not None
    assert interval.value is not None

    # (end - value)^2 = t^2 error^2 end / value
    for end in (interval.low, interval.high):
        t = abs(end - interval.value) / error * np.sqrt(interval.value / end)
        assert 1.9 < t < 2.4


def test_a_confidence_that_finds_every_error_has_no_interval() -> None:
    """Nothing says how often an error would be confident; without errors 0 is low."""
    sure = np.arange(50.0)
    perfect = sampling_intervals(make_outcome(sure < 5, sure), SPECS)["e_aurc"]
    faultless = sampling_intervals(make_outcome(sure < 0, sure), SPECS)["e_aurc"]

    assert (None, None) == (perfect.low, perfect.high)
    assert "no error is more confident than a right decision" == perfect.method
    assert 0 == faultless.low == faultless.value
    assert faultless.high is not None
    assert 0 < faultless.high < 0.1
