"""Rankings of category cells, against scikit-learn and against all corners."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from safebench.metrics import Outcome
from safebench.metrics.bounds import auprc_bounds
from safebench.metrics.catalog import SPECS
from safebench.metrics.category_ranking import (
    macro_auprc,
    macro_auroc,
    micro_auprc,
    micro_auroc,
)
from safebench.metrics.compute import compute
from safebench.metrics.intervals import sampling_intervals

METRICS = {
    "micro_auroc": micro_auroc,
    "macro_auroc": macro_auroc,
    "micro_auprc": micro_auprc,
    "macro_auprc": macro_auprc,
}


def make_outcome(seed: int, n: int = 60, n_categories: int = 4, **columns: Any) -> Any:
    """Build samples with ties, unknown cells, failed samples and cells unscored."""
    rng = np.random.default_rng(seed)
    gold = rng.random((n, n_categories)) < 0.3
    score = np.round(rng.random((n, n_categories)) + 0.4 * gold, 1)
    failed = rng.random(n) < 0.1
    score[failed] = np.nan
    score[rng.random(n) < 0.1, 0] = np.nan
    known = {
        "gold": gold,
        "mask": rng.random(gold.shape) < 0.8,
        "category_score": score,
    }
    y = gold.any(axis=1)
    groups = [str(i // 2) for i in range(n)]
    return Outcome(y=y, failed=failed, groups=groups, **(known | columns))


def cells(outcome: Any) -> tuple[Any, Any, Any]:
    """Return truth, use and scores of all cells, independently."""
    used = outcome.mask & ~np.isnan(outcome.category_score)
    return outcome.gold, used & ~outcome.failed[:, None], outcome.category_score


@pytest.mark.parametrize("seed", range(5))
def test_values_are_those_of_scikit_learn(seed: int) -> None:
    """Over known cells with a score at once, and as the mean over categories."""
    outcome = make_outcome(seed)
    gold, used, score = cells(outcome)

    for name, reference in (
        ("auroc", sk.roc_auc_score),
        ("auprc", sk.average_precision_score),
    ):
        micro = reference(gold[used], score[used])
        macro = np.mean(
            [reference(gold[u, k], score[u, k]) for k, u in enumerate(used.T)]
        )
        assert micro == pytest.approx(
            METRICS[f"micro_{name}"](outcome).value, abs=1e-12
        )
        assert macro == pytest.approx(
            METRICS[f"macro_{name}"](outcome).value, abs=1e-12
        )


def test_unknown_cells_never_count() -> None:
    """Whatever the score and the truth of a masked cell say."""
    outcome = make_outcome(7)
    odd = np.where(outcome.mask, outcome.category_score, 99.0)
    turned = np.where(outcome.mask, outcome.gold, ~outcome.gold)
    other = make_outcome(7, gold=turned, category_score=odd)

    for metric in METRICS.values():
        assert metric(outcome).value == metric(other).value


def test_categories_of_one_class_are_left_out_of_the_mean() -> None:
    """One is never positive, one always: two of four categories remain."""
    outcome = make_outcome(3)
    gold = outcome.gold.copy()
    gold[:, 1], gold[:, 2] = False, True
    value = macro_auroc(make_outcome(3, gold=gold))
    _, used, score = cells(outcome)
    areas = [
        sk.roc_auc_score(gold[used[:, k], k], score[used[:, k], k]) for k in (0, 3)
    ]

    assert np.mean(areas) == pytest.approx(value.value)
    assert "mean over 2 of 4 categories" == value.note
    one_class = make_outcome(3, gold=np.zeros_like(gold))
    assert "no sample with a category" == micro_auroc(one_class).note
    assert "no category has known cells of both classes" == macro_auprc(one_class).note


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_bounds_hold_wherever_the_scores_lie(seed: int) -> None:
    """Of all placements of five cells on a grid within bounds, none is outside.

    Those of AUROC are reached; without width all bounds are the value itself.
    """
    rng = np.random.default_rng(seed)
    gold = np.array([[True], [False], [True], [False], [True]])
    lower = rng.integers(0, 3, size=(5, 1)) / 4
    upper = np.minimum(lower + rng.integers(0, 3, size=(5, 1)) / 4, 1)
    bounds = {"category_lower": lower, "category_upper": upper}
    ranges = [
        np.arange(low, high + 0.1, 0.125)
        for low, high in zip(lower[:, 0], upper[:, 0], strict=True)
    ]
    values: dict[str, list[float]] = {name: [] for name in METRICS}
    for placed in product(*ranges):
        score = np.array(placed)[:, None]
        outcome = make_small(gold, score, **bounds)
        for name, metric in METRICS.items():
            values[name].append(metric(outcome).value)
        last = {name: metric(outcome) for name, metric in METRICS.items()}
        exact = make_small(gold, score, category_lower=score, category_upper=score)
        for name, metric in METRICS.items():
            value = metric(exact)
            assert value.bound_low == pytest.approx(value.value), name
            assert value.bound_high == pytest.approx(value.value), name
    for name, seen in values.items():
        low, high = last[name].bound_low, last[name].bound_high
        assert low <= min(seen) + 1e-12, name
        assert max(seen) - 1e-12 <= high, name
        if "auroc" in name:
            assert (min(seen), max(seen)) == pytest.approx((low, high)), name


def make_small(gold: Any, score: Any, **columns: Any) -> Any:
    """Build an outcome whose cells are all known."""
    return Outcome(
        y=gold[:, 0],
        failed=np.zeros(len(gold), bool),
        groups=[str(i) for i in range(len(gold))],
        gold=gold,
        mask=np.ones_like(gold),
        category_score=score,
        **columns,
    )


def test_average_precision_has_no_corners() -> None:
    """A positive that rises from a tie to the one above lowers average precision.

    Ten negatives tie above ten positives: all together have 10/20, and less if one
    joins the negatives. Bounds hold that, too.
    """
    y = np.repeat([False, True], 10)
    lower, upper = np.where(y, 0.2, 0.8), np.where(y, 0.2, 0.8)
    upper[-1] = 0.8
    moved = np.where(np.arange(20) == 19, upper, lower)
    values = [sk.average_precision_score(y, score) for score in (lower, moved)]
    low, high = auprc_bounds(y, lower, upper)

    assert values[1] < values[0]
    assert low <= values[1]
    assert values[0] <= high


def test_intervals_grow_with_groups_that_are_alike() -> None:
    """Each sample eight times in one group: as wide as once, not as eight times."""
    once = make_outcome(1, n=80)
    grown = {
        name: np.repeat(getattr(once, name), 8, axis=0)
        for name in ("gold", "mask", "category_score", "failed", "y")
    }
    copies = [str(i) for i in np.repeat(np.arange(80), 8)]
    alone = [str(i) for i in range(640)]
    specs = [spec for spec in SPECS if spec.name in METRICS]
    widths = []
    for groups, columns in (
        ([str(i) for i in range(80)], {n: getattr(once, n) for n in grown}),
        (copies, grown),
        (alone, grown),
    ):
        found = sampling_intervals(Outcome(groups=groups, **columns), specs)
        widths.append([found[name].high - found[name].low for name in METRICS])

    single, grouped, apart = np.array(widths)
    assert (0.8 * single < grouped).all()
    assert (grouped < 1.3 * single).all()
    assert (apart < 0.7 * single).all()


def test_without_category_scores_the_note_says_so() -> None:
    """Evidence that was cut short decides, and has no score to rank."""
    outcome = make_outcome(1, category_score=None)
    notes = {spec.name: value.note for spec, value in compute(outcome, SPECS)}

    assert "evidence was cut short" in notes["micro_auroc"]
    assert "a threshold means nothing" in notes["micro_f1"]
