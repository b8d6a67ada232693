"""Selective prediction against hand counts, and against the metrics."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from safebench.analysis.selective import risk_coverage_curve
from safebench.metrics import metric_value

Y = np.array([True, True, False, False, True])
FLAGGED = np.array([True, False, False, True, True])  # wrong at 1 and 3
UNCERTAINTY = np.array([0.1, 0.5, 0.2, 0.3, 0.4])  # order: 0 2 3 4 1


def test_areas_are_those_by_hand() -> None:
    """Errors among the k most certain are 0 0 1 1 2, and at best 0 0 0 1 2."""
    curve = risk_coverage_curve(Y, FLAGGED, UNCERTAINTY)

    assert [0, 0, 1 / 3, 1 / 4, 2 / 5] == pytest.approx(curve.risk)
    assert (1 / 3 + 1 / 4 + 2 / 5) / 5 == pytest.approx(curve.aurc)
    assert (1 / 4 + 2 / 5) / 5 == pytest.approx(curve.optimal_aurc)
    assert 1 / 3 / 5 == pytest.approx(curve.e_aurc)
    assert (0 + 0 + 1 + 1 + 2) / 5 / 5 == pytest.approx(curve.augrc)


def test_a_perfect_uncertainty_has_no_excess() -> None:
    """Where every error is less certain than every right decision, E-AURC is 0."""
    curve = risk_coverage_curve(Y, FLAGGED, (Y != FLAGGED).astype(float))

    assert 0 == pytest.approx(curve.e_aurc, abs=1e-15)


def test_ties_give_the_mean_over_all_their_orders() -> None:
    """AURC and accuracy with ties are averages over every way to break them."""
    uncertainty = np.array([1.0, 1.0, 1.0, 0.0, 0.0])
    wrong = Y != FLAGGED
    orders = [p for p in permutations(range(5)) if {p[0], p[1]} == {3, 4}]
    risks = [np.cumsum(wrong[list(order)]) / np.arange(1, 6) for order in orders]

    curve = risk_coverage_curve(Y, FLAGGED, uncertainty)

    assert np.mean(risks, axis=0) == pytest.approx(curve.risk)
    assert np.mean(risks) == pytest.approx(curve.aurc)
    at_80 = {point.coverage: point for point in curve.points}[0.8]
    assert 1 - np.mean([risk[3] for risk in risks]) == pytest.approx(at_80.accuracy)


def test_points_agree_with_sorting_by_hand() -> None:
    """Without ties, accuracy and F1 are those of the most certain samples alone."""
    rng = np.random.default_rng(5)
    y, flagged = rng.random(200) < 0.4, rng.random(200) < 0.5
    uncertainty = rng.permutation(200) / 200
    order = np.argsort(uncertainty)

    for point in risk_coverage_curve(y, flagged, uncertainty).points:
        kept = order[: round(point.coverage * 200)]
        right = (y == flagged)[kept].mean()
        assert len(kept) == point.n_kept
        assert right == pytest.approx(point.accuracy)
        assert point.low < right < point.high
        assert f1_score(y[kept], flagged[kept]) == pytest.approx(point.f1)


def test_f1_is_none_without_positives_and_zero_without_hits() -> None:
    """No positive: nothing to find. Positives and no hit: 0, not undefined."""
    none = np.zeros(4, dtype=bool)
    some = np.array([True, False, False, False])
    uncertainty = np.arange(4.0)

    assert risk_coverage_curve(none, none, uncertainty).points[0].f1 is None
    assert 0 == risk_coverage_curve(some, none, uncertainty).points[0].f1


def test_coverage_at_a_risk_is_the_largest_share() -> None:
    """Risk 0 at two of five, and never at or below 1 % after that."""
    curve = risk_coverage_curve(Y, FLAGGED, UNCERTAINTY)

    assert {0.01: 2 / 5, 0.05: 2 / 5} == pytest.approx(curve.coverage_at_risk)
    assert {0.01: 0.0, 0.05: 0.0} == risk_coverage_curve(
        ~FLAGGED, FLAGGED, UNCERTAINTY
    ).coverage_at_risk


def test_areas_are_those_of_the_result_tables() -> None:
    """`aurc` and `e_aurc` of the metrics come another way to the same numbers."""
    rng = np.random.default_rng(8)
    y, flagged = rng.random(300) < 0.4, rng.random(300) < 0.5
    uncertainty = np.round(rng.random(300), 1)  # many ties

    curve = risk_coverage_curve(y, flagged, uncertainty)

    wrong = y != flagged
    assert metric_value("aurc", wrong, -uncertainty) == pytest.approx(curve.aurc)
    assert metric_value("e_aurc", wrong, -uncertainty) == pytest.approx(curve.e_aurc)


def test_f1_is_none_of_positives_alone() -> None:
    """It would be recall in other words."""
    y = np.ones(4, dtype=bool)
    flagged = np.array([True, True, False, True])

    points = risk_coverage_curve(y, flagged, np.arange(4.0)).points

    assert {None} == {point.f1 for point in points}
    assert 0.75 == points[0].accuracy
