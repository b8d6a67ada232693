"""Comparisons by categories and pairs, against swaps that are counted one by one."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from safebench.metrics import Outcome
from safebench.metrics.catalog import SPECS
from safebench.metrics.paired import compare_outcomes
from safebench.metrics.paired_difference import SwapPlan
from safebench.statistics import shared_weights
from safebench.statistics.paired_tests import StricterOf, SwapDistribution

if TYPE_CHECKING:
    from collections.abc import Callable

N, GROUPS = 36, 6
NAMES = {spec.name: spec for spec in SPECS}


@pytest.fixture
def sides() -> tuple[Outcome, Outcome]:
    """Return two guards of 36 samples in 6 groups; one cell in ten is unknown."""
    rng = np.random.default_rng(5)
    gold, mask = rng.random((N, 3)) < 0.5, rng.random((N, 3)) < 0.9
    y = rng.random(N) < 0.5
    pairs = np.arange(N).reshape(-1, 2)
    severity = rng.integers(4, size=N).astype(float)

    def judge() -> Outcome:
        z = 1.5 * gold + rng.normal(size=(N, 3))
        score = severity + 2 * rng.normal(size=N)
        return Outcome(
            y=y,
            failed=np.zeros(N, dtype=bool),
            groups=[str(row // 6) for row in range(N)],
            score=score,
            decision=score > 2,
            labels=("S1", "S2", "S3"),
            gold=gold,
            mask=mask,
            predicted=z > 0.75,
            category_score=z,
            pairs=pairs,
            severity=severity,
        )

    return judge(), judge()


def ranks(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return ranks among those that are known."""
    ranked = np.zeros(values.shape)
    ranked[known] = stats.rankdata(values[known])
    return ranked


def by_category(curve: Callable[..., float], side: Outcome, cells: np.ndarray) -> float:
    """Return the mean over categories."""
    return float(
        np.mean(
            [
                curve(side.gold[known, k], cells[known, k])  # type: ignore[index]
                for k, known in enumerate(side.mask.T)  # type: ignore[union-attr]
            ]
        )
    )


def pairs_in_order(side: Outcome, score: np.ndarray) -> float:
    """Return the share of pairs whose second answer scores higher."""
    return float((score[side.pairs[:, 1]] > score[side.pairs[:, 0]]).mean())  # type: ignore[index]


# the column that changes places, and the metric of it
METRICS: dict[str, tuple[str, Callable[[Outcome, Any], float]]] = {
    "micro_f1": ("predicted", lambda o, x: sk.f1_score(o.gold[o.mask], x[o.mask])),  # type: ignore[index]
    "macro_f1": ("predicted", lambda o, x: by_category(sk.f1_score, o, x)),
    "hamming_loss": ("predicted", lambda o, x: (o.gold != x)[o.mask].mean()),
    "subset_accuracy": (
        "predicted",
        lambda o, x: ((o.gold == x) | ~o.mask).all(axis=1).mean(),  # type: ignore[operator]
    ),
    "micro_auroc": (
        "category_score",
        lambda o, x: sk.roc_auc_score(o.gold[o.mask], x[o.mask]),  # type: ignore[index]
    ),
    "macro_auroc": (
        "category_score",
        lambda o, x: by_category(sk.roc_auc_score, o, x),
    ),
    "micro_auprc": (
        "category_score",
        lambda o, x: sk.average_precision_score(o.gold[o.mask], x[o.mask]),  # type: ignore[index]
    ),
    "macro_auprc": (
        "category_score",
        lambda o, x: by_category(sk.average_precision_score, o, x),
    ),
    "ranking_accuracy": ("score", pairs_in_order),
    "sign_accuracy": ("decision", lambda o, x: (x == o.y).mean()),
    "kendall_tau_b": (
        "score",
        lambda o, x: stats.kendalltau(o.severity, x).statistic,
    ),
}


@pytest.mark.parametrize("name", METRICS)
def test_swaps_of_groups_are_those_of_enumeration(
    name: str, sides: tuple[Outcome, Outcome]
) -> None:
    """All ways in which 6 groups can change sides give the null distribution."""
    a, b = sides
    column, metric = METRICS[name]
    weights = shared_weights(a.y, a.groups, n_resamples=10)
    pair = compare_outcomes(NAMES[name], a, b, weights, SwapPlan(200, sides=False))
    assert pair is not None
    of_a, of_b = getattr(a, column), getattr(b, column)
    if column == "category_score":
        of_a, of_b = ranks(of_a, a.mask), ranks(of_b, b.mask)  # type: ignore[arg-type]
    elif name == "kendall_tau_b":
        of_a, of_b = stats.rankdata(of_a), stats.rankdata(of_b)

    observed = metric(b, getattr(b, column)) - metric(a, getattr(a, column))
    expected = []
    for signs in product((False, True), repeat=GROUPS - 1):
        if name == "ranking_accuracy":  # of what both say of each pair
            order = [x[a.pairs[:, 1]] > x[a.pairs[:, 0]] for x in (of_a, of_b)]  # type: ignore[index]
            swapped = np.array([False, *signs])[a.pairs[:, 1] // 6]  # type: ignore[index]
            first = np.where(swapped, order[1], order[0]).mean()
            second = np.where(swapped, order[0], order[1]).mean()
        else:
            swapped = np.repeat([False, *signs], 6)
            swapped = swapped.reshape(-1, *[1] * (of_a.ndim - 1))
            first = metric(a, np.where(swapped, of_b, of_a))
            second = metric(a, np.where(swapped, of_a, of_b))
        expected.append(abs(second - first))

    null = pair.null.swaps if isinstance(pair.null, StricterOf) else pair.null
    assert isinstance(null, SwapDistribution)
    assert pair.difference.value == pytest.approx(observed)
    assert np.sort(null.differences) == pytest.approx(np.sort(expected))
    least = np.mean(np.array(expected) >= abs(observed) - 1e-9)
    assert null.p_value(observed) == pytest.approx(least)
    assert pair.difference.p >= least - 1e-9
