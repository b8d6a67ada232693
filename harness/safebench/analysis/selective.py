"""Selective prediction: the risk-coverage curve.

Decisions are kept in order of certainty, the others are left to somebody else. Samples
of equal uncertainty have no order, so every number is its mean over all their orders:
a strategy with few distinct values is neither helped nor hurt by how rows are sorted.

Areas are means of the curve. The metrics `aurc` and `e_aurc` reach the same numbers
from sums that can be resampled; tests hold both together.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from safebench.metrics.column_intervals import own_intervals
from safebench.metrics.definition import truth_and
from safebench.metrics.selective import selective_accuracy
from safebench.statistics.resampling_weights import group_codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

COVERAGE_LEVELS = (1.0, 0.9, 0.8, 0.7, 0.6)
RISK_LEVELS = (0.01, 0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoveragePoint:
    """The `n_kept` most certain decisions: accuracy with its interval, and F1.

    The interval is that of the metrics ``selective_accuracy_*``, None where groups are
    too few.
    """

    coverage: float
    n_kept: int
    accuracy: float
    low: float | None
    high: float | None
    f1: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskCoverageCurve:
    """Risk (share of wrong decisions) against coverage (share of decisions kept).

    `coverage`, `risk` (k,) are those of the 1, 2, ... k most certain decisions. `aurc`
    is the mean risk, `optimal_aurc` that of an uncertainty that finds every error
    (Geifman, Uziel and El-Yaniv 2019); `augrc` the mean of wrong decisions kept over
    all decisions (Traub et al. 2024). `coverage_at_risk` maps a risk to the largest
    coverage that stays at or below it (0: none does).
    """

    coverage: Array
    risk: Array
    aurc: float
    optimal_aurc: float
    augrc: float
    points: tuple[CoveragePoint, ...]
    coverage_at_risk: dict[float, float]

    @property
    def e_aurc(self) -> float:
        """AURC above the best possible."""
        return self.aurc - self.optimal_aurc


def risk_coverage_curve(
    y: Array, flagged: Array, uncertainty: Array, groups: Sequence[str] | None = None
) -> RiskCoverageCurve:
    """Return the risk-coverage curve of k decisions, all arrays (k,).

    `groups` (k,) are dependent samples; without them each is alone.
    """
    wrong = y != flagged
    n_kept = np.arange(1, len(y) + 1)
    errors = _expected_cumulative(uncertainty, wrong)
    risk = errors / n_kept
    # the best order keeps all right decisions first, so errors start after the last
    optimal_risk = np.maximum(n_kept - (len(y) - wrong.sum()), 0) / n_kept
    # mean errors of ties are sums of fractions: 1e-12 forgives their rounding
    within = {level: np.flatnonzero(risk <= level + 1e-12) for level in RISK_LEVELS}
    return RiskCoverageCurve(
        coverage=n_kept / len(y),
        risk=risk,
        aurc=float(risk.mean()),
        optimal_aurc=float(optimal_risk.mean()),
        augrc=float((errors / len(y)).mean()),
        points=_coverage_points(y, flagged, uncertainty, errors, groups),
        coverage_at_risk={
            level: float((rows[-1] + 1) / len(y)) if rows.size else 0.0
            for level, rows in within.items()
        },
    )


def risk_coverage(wrong: Array, uncertainty: Array) -> tuple[Array, Array]:
    """Return coverage and risk (k,) alone, of k decisions of which some are `wrong`.

    Those of `risk_coverage_curve`, at the cost of one sort.
    """
    n_kept = np.arange(1, len(wrong) + 1)
    return n_kept / len(wrong), _expected_cumulative(uncertainty, wrong) / n_kept


def _expected_cumulative(uncertainty: Array, counted: Array) -> Array:
    """Return the expected count among the 1, 2, ... most certain decisions, (k,).

    `counted` (k,) bool. Within ties each sample counts as the mean of its block.
    """
    order = np.argsort(uncertainty, kind="stable")
    _, block, sizes = np.unique(
        uncertainty[order], return_inverse=True, return_counts=True
    )
    block_mean = np.bincount(block, counted[order].astype(float)) / sizes
    return np.cumsum(block_mean[block])


def _coverage_points(
    y: Array,
    flagged: Array,
    uncertainty: Array,
    errors: Array,
    groups: Sequence[str] | None,
) -> tuple[CoveragePoint, ...]:
    true_positives = _expected_cumulative(uncertainty, y & flagged)
    positives = _expected_cumulative(uncertainty, y)
    intervals = own_intervals(
        {str(share): selective_accuracy(share) for share in COVERAGE_LEVELS},
        truth_and(y != flagged, -uncertainty),
        np.arange(len(y)) if groups is None else group_codes(groups),
    )
    points = []
    for coverage in COVERAGE_LEVELS:
        # the product may round to just above a whole number: keep no decision more
        n_kept = max(1, ceil(coverage * len(y) - 1e-9))
        last = n_kept - 1
        n_right = n_kept - errors[last]
        interval = intervals[str(coverage)]
        twice_tp = 2 * true_positives[last]
        f1 = None
        # F1 = 2 TP / (2 TP + FP + FN); of positives alone it would be recall
        if positives[last] and not y.all():
            f1 = float(twice_tp / (twice_tp + errors[last]))
        points.append(
            CoveragePoint(
                coverage=coverage,
                n_kept=n_kept,
                accuracy=float(n_right / n_kept),
                low=interval.low,
                high=interval.high,
                f1=f1,
            )
        )
    return tuple(points)
