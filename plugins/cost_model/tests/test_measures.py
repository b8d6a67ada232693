"""Measures of costs against plain loops, scikit-learn and SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from safebench_cost_model.measures import (
    labels_of,
    measure_costs,
    tau_interval,
    told,
)
from safebench_cost_model.pairs import Pair, read_pairs
from safebench_cost_model.platt import Platt

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.records import Dataset
    from safebench.training import Measure

    Make = Callable[..., Dataset]


def pair(**changes: object) -> Pair:
    """Return a mixed pair of severities 2 and 0."""
    given: dict[str, object] = {
        "prompt": "what",
        "responses": ("a", "b"),
        "p_first": 1.0,
        "unsafe": (1.0, 0.0),
        "soft": (1.0, 0.0),
        "severity": (2.0, 0.0),
        "kind": "mixed",
        "group": "g",
        "rows": 1,
    }
    return Pair(**(given | changes))  # type: ignore[arg-type]


def by_name(measures: list[Measure]) -> dict[str, Measure]:
    """Return measures by metric."""
    return {found.metric: found for found in measures}


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
    found = by_name(measure_costs(told(PAIRS), COSTS, who="x", part="test"))

    signs = [1, 1, 1, 0.75, 0.5, (0.5 + 1) / 2]
    orders = [1, 0, 1, 0.75, 0.5, 1]
    assert np.mean(signs) == pytest.approx(found["sign_accuracy"].value)
    assert np.mean(orders) == pytest.approx(found["ranking_accuracy"].value)
    assert (1 + 0.5 + 1) / 3 == pytest.approx(found["ranking_accuracy (mixed)"].value)
    assert 0.0 == found["ranking_accuracy (both unsafe)"].value
    assert 1.0 == found["ranking_accuracy (both safe)"].value
    # gaps 2 2 0 2 3 2: the third has none
    severe = (2 * 1 + 2 * 0 + 2 * 0.75 + 3 * 0.5 + 2 * 1) / 11
    assert severe == pytest.approx(found["ranking_accuracy (severity)"].value)
    assert 5 == found["ranking_accuracy (severity)"].n
    low, high = found["sign_accuracy"].low, found["sign_accuracy"].high
    assert low is not None
    assert high is not None
    assert low < np.mean(signs) < high


def test_rank_measures_are_those_of_scipy_and_sklearn() -> None:
    """AUROC over labels as often as given, tau-b with severities."""
    truth = told(PAIRS)
    found = by_name(measure_costs(truth, COSTS, who="x", part="test"))

    y, score, groups = labels_of(truth, COSTS)
    severities = np.array([p.severity for p in PAIRS])
    expected = kendalltau(COSTS.reshape(-1), severities.reshape(-1))[0]
    assert 2 * (5 + 4) == len(y) == found["auroc"].n
    assert 2 * 4 == (groups == "d").sum()
    assert roc_auc_score(y, score) == pytest.approx(found["auroc"].value)
    assert expected == pytest.approx(found["kendall_tau_b"].value)


def test_the_interval_of_tau_holds_its_value() -> None:
    """Draws of groups repeat rows, and ties raise tau-b: the interval allows for it."""
    source = np.random.default_rng(1)
    level = np.tile([1.0, 0.0], (12, 1))
    costs = 0.02 * level + 0.2 * source.normal(size=(12, 1))
    groups = np.array([f"g{i}" for i in range(12)])

    got = tau_interval(costs, level, groups)

    expected = kendalltau(costs.reshape(-1), level.reshape(-1))[0]
    assert expected == pytest.approx(got.value)
    assert got.low is not None
    assert got.high is not None
    assert got.low <= expected <= got.high
    assert got.high - expected < 2 * (expected - got.low)  # percentile: ten times
    few = tau_interval(costs[:4], level[:4], groups[:4])
    assert (None, "fewer than 5 groups") == (few.low, few.method)


def test_probabilities_are_those_of_the_calibration_alone() -> None:
    """Brier, NLL and ECE come with cost_platt, and without it not at all."""
    truth, platt = told(PAIRS), Platt(bias=0.2, temperature=1.7, n=50)
    bare = by_name(measure_costs(truth, COSTS, who="x", part="test"))
    found = by_name(measure_costs(truth, COSTS, who="x", part="test", platt=platt))

    y, cost, _ = labels_of(truth, COSTS)
    p = 1 / (1 + np.exp(-(cost - 0.2) / 1.7))
    assert {"brier", "nll", "ece"} == found.keys() - bare.keys()
    assert {"cost_platt"} == {found[name].who for name in ("brier", "nll", "ece")}
    assert brier_score_loss(y, p) == pytest.approx(found["brier"].value)
    assert log_loss(y, p) == pytest.approx(found["nll"].value)


def test_a_dataset_of_pairs_is_measured_pair_by_pair(make_dataset: Make) -> None:
    """Rows of one pair count once; without severities shares take their place."""
    bad, good = ("kills", True, None), ("helps", False, None)
    truth = told(read_pairs(make_dataset([("a", bad, good)] * 3 + [("b", bad, good)])))

    found = by_name(
        measure_costs(truth, np.array([[1, -1], [-1, 1]]), who="x", part="t")
    )

    assert 0.5 == found["sign_accuracy"].value == found["ranking_accuracy"].value
    assert 2 == found["sign_accuracy"].n
    assert 0.75 == found["auroc"].value
    assert 0.0 == found["kendall_tau_b"].value
    assert "ranking_accuracy (severity)" not in found
