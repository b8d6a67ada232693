"""Points of curves against scikit-learn, and which curves are chosen to be drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn import metrics as sk

from safebench.analysis.selective import risk_coverage, risk_coverage_curve
from safebench.charts.curves import (
    CandidateCurve,
    ChartEntry,
    choice_notes,
    choose_curves,
    positions,
    pr_points,
    roc_points,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.typing import Array


def drawn(seed: int) -> tuple[Array, Array]:
    """Return labels of both classes and scores with many ties."""
    random = np.random.default_rng(seed)
    y = random.random(60) < 0.4
    y[:2] = True, False
    return y, np.round(random.normal(size=60) + y, 1)


@pytest.mark.parametrize("seed", range(5))
def test_roc_and_precision_recall_are_those_of_scikit_learn(seed: int) -> None:
    """All thresholds, ties as one step each."""
    y, score = drawn(seed)

    fpr, tpr = roc_points(y, score)
    recall, precision = pr_points(y, score)

    expected = sk.roc_curve(y, score, drop_intermediate=False)
    assert expected[0] == pytest.approx(fpr)
    assert expected[1] == pytest.approx(tpr)
    of_precision, of_recall, _ = sk.precision_recall_curve(y, score)
    assert of_precision[:-1][::-1] == pytest.approx(precision)
    assert of_recall[:-1][::-1] == pytest.approx(recall)


def test_infinite_costs_have_a_curve() -> None:
    """Only the order of scores counts."""
    y = np.array([True, False, True])

    fpr, tpr = roc_points(y, np.array([np.inf, 1e308, -np.inf]))

    assert [0.0, 0.0, 1.0, 1.0] == fpr.tolist()
    assert [0.0, 0.5, 0.5, 1.0] == tpr.tolist()


def test_risk_alone_is_that_of_the_whole_curve() -> None:
    """The cheap form says the same as the one with intervals."""
    y, score = drawn(0)
    flagged, uncertainty = score > 0.5, -np.abs(score - 0.5)

    coverage, risk = risk_coverage(y != flagged, uncertainty)

    whole = risk_coverage_curve(y, flagged, uncertainty)
    assert whole.coverage == pytest.approx(coverage)
    assert whole.risk == pytest.approx(risk)


def candidates(
    entry: Callable[..., ChartEntry], *orders: tuple[str, str, float]
) -> list[CandidateCurve]:
    """Return curves of guards and strategies, each at a height of its own order."""
    return [
        CandidateCurve(
            entry(classifier=guard, strategy=strategy), np.full(3, order), order
        )
        for guard, strategy, order in orders
    ]


def test_each_guard_has_its_best_curve_and_the_best_fill_the_rest(
    entry: Callable[..., Any],
) -> None:
    """Of five curves three are drawn, in order, and the others are counted."""
    choice = choose_curves(
        candidates(
            entry,
            ("a", "s1", 0.1),
            ("a", "s2", 0.2),
            ("a", "s3", 0.3),
            ("b", "s1", 0.8),
            ("b", "s2", 0.9),
        ),
        3,
    )

    assert ["a s1", "a s2", "b s1"] == [curve.name for curve in choice.curves]
    (note,) = choice_notes(choice)
    assert note.startswith("2 more curves are not drawn")


def test_curves_that_look_the_same_are_drawn_once_a_guard(
    entry: Callable[..., Any],
) -> None:
    """Two strategies of one guard share a line, two guards never."""
    choice = choose_curves(
        candidates(entry, ("a", "s1", 0.1), ("a", "s2", 0.101), ("b", "s1", 0.1)), 6
    )

    assert ["a s1 (+1)", "b s1"] == [curve.name for curve in choice.curves]
    assert ["a s1 looks like s2"] == choice_notes(choice)


def test_a_name_keeps_its_style_from_chart_to_chart() -> None:
    """As long as it is free; no two names of a chart have one."""
    known: dict[str, int] = {}

    assert [0, 1] == positions(["a", "b"], known, 3)
    assert [2, 1, 0] == positions(["c", "b", "a"], known, 3)
    later = positions(["d", "a", "b"], known, 3)
    assert 3 == len(set(later))
    assert [0, 1] == later[1:]
