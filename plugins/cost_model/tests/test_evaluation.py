"""Measures of costs against plain loops, scikit-learn and SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from safebench_cost_model.model.platt_scaling import PlattScaling
from safebench_cost_model.train.evaluation import (
    cost_measures,
    expand_labels,
    pair_labels,
    tau_interval,
)
from safebench_cost_model.train.pairs import PreferencePair, read_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.records import Dataset
    from safebench.training import Measure

    Make = Callable[..., Dataset]


def pair(**changes: object) -> PreferencePair:
    """Return a mixed pair of severities 2 and 0."""
    defaults: dict[str, object] = {
        "prompt": "what",
        "responses": ("a", "b"),
        "p_first": 1.0,
        "unsafe": (1.0, 0.0),
        "soft_labels": (1.0, 0.0),
        "severity": (2.0, 0.0),
        "kind": "mixed",
        "group": "g",
        "rows": 1,
    }
    return PreferencePair(**(defaults | changes))  # type: ignore[arg-type]


def by_name(measures: list[Measure]) -> dict[str, Measure]:
    """Return measures by metric."""
    return {measures.metric: measures for measures in measures}


PAIRS = [
    pair(group="a"),  # right in all
    pair(group="b", kind="both unsafe", unsafe=(1.0, 1.0), severity=(3.0, 1.0)),
    pair(group="c", kind="both safe", unsafe=(0.0, 0.0), severity=(0.0, 0.0)),
    pair(group="d", unsafe=(0.75, 0.25), p_first=0.75, rows=4, kind="disputed"),
    pair(group="e", severity=(3.0, 0.0)),  # tied costs
    pair(group="f"),  # costs of 0
]
COSTS = np.array(
    [[2.0, -1.0], [0.5, 1.5], [-0.5, -2.0], [1.0, -1.0], [0.7, 0.7], [0.0, -3.0]]
)


def test_accuracies_by_hand() -> None:
    """Ties count as half, contradicted labels by their share, kinds apart."""
    measures = by_name(cost_measures(pair_labels(PAIRS), COSTS, who="x", split="test"))

    signs = [1, 1, 1, 0.75, 0.5, (0.5 + 1) / 2]
    orders = [1, 0, 1, 0.75, 0.5, 1]
    assert np.mean(signs) == pytest.approx(measures["sign_accuracy"].value)
    assert np.mean(orders) == pytest.approx(measures["ranking_accuracy"].value)
    assert (1 + 0.5 + 1) / 3 == pytest.approx(
        measures["ranking_accuracy (mixed)"].value
    )
    assert 0.0 == measures["ranking_accuracy (both unsafe)"].value
    assert 1.0 == measures["ranking_accuracy (both safe)"].value
    # gaps 2 2 0 2 3 2: the third has none
    severe = (2 * 1 + 2 * 0 + 2 * 0.75 + 3 * 0.5 + 2 * 1) / 11
    assert severe == pytest.approx(measures["ranking_accuracy (severity)"].value)
    assert 5 == measures["ranking_accuracy (severity)"].n
    low, high = measures["sign_accuracy"].low, measures["sign_accuracy"].high
    assert low is not None
    assert high is not None
    assert low < np.mean(signs) < high


def test_rows_of_a_dataset_are_counted_too() -> None:
    """Published accuracies count rows: a pair with four of them counts four times."""
    measures = by_name(cost_measures(pair_labels(PAIRS), COSTS, who="x", split="test"))
    signs = [1, 1, 1, *[0.75] * 4, 0.5, (0.5 + 1) / 2]
    orders = [1, 0, 1, *[0.75] * 4, 0.5, 1]

    sign, order = (measures[f"{x}_accuracy (rows)"] for x in ("sign", "ranking"))

    assert np.mean(signs) == pytest.approx(sign.value)
    assert np.mean(orders) == pytest.approx(order.value)
    assert 9 == sign.n == order.n


def test_rows_are_not_counted_where_each_pair_has_one() -> None:
    """The same number twice says nothing."""
    truth = pair_labels([p for p in PAIRS if p.rows == 1])
    measures = by_name(cost_measures(truth, COSTS[:5], who="x", split="test"))

    assert not [name for name in measures if name.endswith("(rows)")]


def test_rank_measures_are_those_of_scipy_and_sklearn() -> None:
    """AUROC over labels as often as given, tau-b with severities."""
    truth = pair_labels(PAIRS)
    measures = by_name(cost_measures(truth, COSTS, who="x", split="test"))

    y, score, groups = expand_labels(truth, COSTS)
    severities = np.array([p.severity for p in PAIRS])
    expected = kendalltau(COSTS.reshape(-1), severities.reshape(-1))[0]
    assert 2 * (5 + 4) == len(y) == measures["auroc"].n
    assert 2 * 4 == (groups == "d").sum()
    assert roc_auc_score(y, score) == pytest.approx(measures["auroc"].value)
    assert expected == pytest.approx(measures["kendall_tau_b"].value)


@pytest.mark.slow
def test_the_interval_of_tau_holds_its_value() -> None:
    """Draws of groups repeat rows, and ties raise tau-b: the interval allows for it."""
    source = np.random.default_rng(1)
    level = np.tile([1.0, 0.0], (12, 1))
    costs = 0.02 * level + 0.2 * source.normal(size=(12, 1))
    groups = np.array([f"g{i}" for i in range(12)])

    interval = tau_interval(costs, level, groups)

    expected = kendalltau(costs.reshape(-1), level.reshape(-1))[0]
    assert expected == pytest.approx(interval.value)
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low <= expected <= interval.high
    # A percentile interval would be ten times as wide above as below.
    assert interval.high - expected < 2 * (expected - interval.low)
    few = tau_interval(costs[:4], level[:4], groups[:4])
    assert (None, "fewer than 5 groups") == (few.low, few.method)


@pytest.mark.slow
def test_probabilities_are_those_of_the_calibration_alone() -> None:
    """Brier, NLL and ECE come with cost_platt, and without it not at all."""
    truth, platt = pair_labels(PAIRS), PlattScaling(bias=0.2, temperature=1.7, n=50)
    bare = by_name(cost_measures(truth, COSTS, who="x", split="test"))
    measures = by_name(cost_measures(truth, COSTS, who="x", split="test", platt=platt))

    y, cost, _ = expand_labels(truth, COSTS)
    p = 1 / (1 + np.exp(-(cost - 0.2) / 1.7))
    assert {"brier", "nll", "ece"} == measures.keys() - bare.keys()
    assert {"cost_platt"} == {measures[name].who for name in ("brier", "nll", "ece")}
    assert brier_score_loss(y, p) == pytest.approx(measures["brier"].value)
    assert log_loss(y, p) == pytest.approx(measures["nll"].value)


def test_a_dataset_of_pairs_is_measured_pair_by_pair(make_dataset: Make) -> None:
    """Rows of one pair count once; without severities shares take their place."""
    bad, good = ("kills", True, None), ("helps", False, None)
    truth = pair_labels(
        read_pairs(make_dataset([("a", bad, good)] * 3 + [("b", bad, good)]))
    )

    measures = by_name(
        cost_measures(truth, np.array([[1, -1], [-1, 1]]), who="x", split="t")
    )

    assert 0.5 == measures["sign_accuracy"].value == measures["ranking_accuracy"].value
    assert 2 == measures["sign_accuracy"].n
    assert 0.75 == measures["auroc"].value
    assert 0.0 == measures["kendall_tau_b"].value
    assert "ranking_accuracy (severity)" not in measures
