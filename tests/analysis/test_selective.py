"""Accuracy against the share of decisions kept."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from safebench.analysis.selective import selective
from safebench.statistics import metric_value

Y = np.array([True, True, False, False, True])
FLAGGED = np.array([True, False, False, True, True])  # wrong at 1 and 3
DOUBT = np.array([0.1, 0.5, 0.2, 0.3, 0.4])  # surest first: 0 2 3 4 1


def test_areas_are_those_by_hand() -> None:
    """Errors among the k surest are 0 0 1 1 2, and at best 0 0 0 1 2."""
    found = selective(Y, FLAGGED, DOUBT)

    assert [0, 0, 1 / 3, 1 / 4, 2 / 5] == pytest.approx(found.risk)
    assert (1 / 3 + 1 / 4 + 2 / 5) / 5 == pytest.approx(found.aurc)
    assert (1 / 4 + 2 / 5) / 5 == pytest.approx(found.optimal)
    assert 1 / 3 / 5 == pytest.approx(found.e_aurc)
    assert (0 + 0 + 1 + 1 + 2) / 5 / 5 == pytest.approx(found.augrc)


def test_a_perfect_uncertainty_has_no_excess() -> None:
    """Where every error is less sure than every right decision, E-AURC is 0."""
    found = selective(Y, FLAGGED, (Y != FLAGGED).astype(float))

    assert 0 == pytest.approx(found.e_aurc, abs=1e-15)


def test_ties_give_the_mean_over_all_their_orders() -> None:
    """AURC and accuracy with ties are averages over every way to break them."""
    doubt = np.array([1.0, 1.0, 1.0, 0.0, 0.0])
    wrong = Y != FLAGGED
    orders = [p for p in permutations(range(5)) if {p[0], p[1]} == {3, 4}]
    risks = [np.cumsum(wrong[list(order)]) / np.arange(1, 6) for order in orders]

    found = selective(Y, FLAGGED, doubt)

    assert np.mean(risks, axis=0) == pytest.approx(found.risk)
    assert np.mean(risks) == pytest.approx(found.aurc)
    kept_4 = {level.share: level for level in found.levels}[0.8]
    assert 1 - np.mean([risk[3] for risk in risks]) == pytest.approx(kept_4.accuracy)


def test_levels_agree_with_sorting_by_hand() -> None:
    """Without ties, accuracy and F1 are those of the surest samples alone."""
    rng = np.random.default_rng(5)
    y, flagged = rng.random(200) < 0.4, rng.random(200) < 0.5
    doubt = rng.permutation(200) / 200
    order = np.argsort(doubt)

    for level in selective(y, flagged, doubt).levels:
        surest = order[: round(level.share * 200)]
        right = (y == flagged)[surest].mean()
        assert len(surest) == level.kept
        assert right == pytest.approx(level.accuracy)
        assert level.low < right < level.high
        assert f1_score(y[surest], flagged[surest]) == pytest.approx(level.f1)


def test_f1_is_none_without_positives_and_zero_without_hits() -> None:
    """No positive: nothing to find. Positives and no hit: 0, not undefined."""
    none = np.zeros(4, dtype=bool)
    some = np.array([True, False, False, False])
    doubt = np.arange(4.0)

    assert selective(none, none, doubt).levels[0].f1 is None
    assert 0 == selective(some, none, doubt).levels[0].f1


def test_coverage_at_a_risk_is_the_largest_share() -> None:
    """Risk 0 at two of five, and never at or below 1 % after that."""
    found = selective(Y, FLAGGED, DOUBT)

    assert {0.01: 2 / 5, 0.05: 2 / 5} == pytest.approx(found.covers)
    assert {0.01: 0.0, 0.05: 0.0} == selective(~FLAGGED, FLAGGED, DOUBT).covers


def test_areas_are_those_of_the_result_tables() -> None:
    """`aurc` and `e_aurc` of the metrics come another way to the same numbers."""
    rng = np.random.default_rng(8)
    y, flagged = rng.random(300) < 0.4, rng.random(300) < 0.5
    doubt = np.round(rng.random(300), 1)  # many ties

    found = selective(y, flagged, doubt)

    wrong = y != flagged
    assert metric_value("aurc", wrong, -doubt) == pytest.approx(found.aurc)
    assert metric_value("e_aurc", wrong, -doubt) == pytest.approx(found.e_aurc)
