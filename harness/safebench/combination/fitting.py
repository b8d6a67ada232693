"""Combinations with parameters, which are fitted on the calibration part alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench.errors import DataError
from safebench.statistics.resampling_weights import count_groups, group_codes

from .rules import BoundedScores, Combined, any_failed, decide, every_part_asked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array, Floats

    from .rules import HeldOut, Part

MIN_GROUPS = 20  # of each class
PENALTY = 1.0  # of squared weights of standardised columns, as in scikit-learn's C=1
MAX_STEPS = 100
SMALLEST_STEP, TOLERANCE = 1e-10, 1e-12
LARGEST = 1e300  # stored scores have 1e308 for infinity


def stack(parts: Sequence[Part], held_out: HeldOut) -> Combined:
    """Logistic regression on the log-odds of the parts, or scores if no probabilities.

    Wolpert (1992), "Stacked Generalization". Raises DataError where there is too
    little to fit it to.
    """
    for part in parts:
        if not part.ranks:
            raise DataError(f"stack takes scores, and {part.label} has none")
    failed = any_failed(parts)
    rows = fitting_rows(held_out, failed, "stack")
    columns = [_feature(part, part.score) for part in parts]
    x = np.stack(columns, axis=1)
    weights, intercept = logistic_regression(x[rows], held_out.y[rows] == 1)
    ends = [
        # a larger score of a part with a negative weight lowers the sum
        (_feature(p, low), _feature(p, high))[:: 1 if w >= 0 else -1]
        for p, w in zip(parts, weights, strict=True)
        for low, high in [p.ends()]
    ]
    score, lower, upper = (
        np.where(failed, np.nan, _expit(intercept + np.stack(column, 1) @ weights))
        for column in (columns, *zip(*ends, strict=True))
    )
    if not any(part.bounded for part in parts):
        lower = upper = np.full(len(score), np.nan)
    n_pos = int((held_out.y[rows] == 1).sum())
    listed = ", ".join(
        f"{part.label} {w:.3g}" for part, w in zip(parts, weights, strict=True)
    )
    note = (
        f"logistic regression fitted on {len(rows)} labels ({n_pos} unsafe) of the "
        f"calibration part; weights {listed}, intercept {intercept:.3g}"
    )
    combined = every_part_asked(
        parts,
        decide(score, 0.5),
        BoundedScores(score, lower, upper),
        0.5,
        [note],
        probability=True,
    )
    combined.fitted.update(
        weights=weights.tolist(), intercept=intercept, n=len(rows), n_pos=n_pos
    )
    return combined


def _feature(part: Part, values: Floats) -> Floats:
    """Return what the regression reads: log-odds, or the score itself."""
    from safebench.calibration.methods import log_odds

    if part.probability:
        return log_odds(values)
    return np.clip(values, -LARGEST, LARGEST)


def _expit(z: Floats) -> Floats:
    from scipy.special import expit

    p: Floats = expit(z)
    return p


def fitting_rows(held_out: HeldOut, failed: Array, rule: str) -> Array:
    """Return the samples that a rule is fitted to: held out, labelled, not failed.

    Raises ValueError for a sample that metrics are computed on, and DataError where
    groups of either class are too few.
    """
    rows = np.flatnonzero(held_out.rows & ~failed & ~np.isnan(held_out.y))
    seen = rows[~held_out.allowed[rows]].tolist()
    if seen:
        raise ValueError(
            f"{held_out.ids[seen[0]]} is no sample of the calibration part: nothing is "
            "fitted to samples that metrics are computed on"
        )
    codes = group_codes(held_out.groups)[rows]
    n_pos, n_neg = (count_groups(codes[held_out.y[rows] == label]) for label in (1, 0))
    if min(n_pos, n_neg) < MIN_GROUPS:
        raise DataError(
            f"{rule} takes {MIN_GROUPS} unsafe and {MIN_GROUPS} safe samples that are "
            f"not related: the calibration part has {n_pos} unsafe and {n_neg} safe; a "
            "larger --limit or --calibration-fraction gives more"
        )
    return rows


def logistic_regression(x: Floats, y: Array) -> tuple[Floats, float]:
    """Return the weights (K,) of columns `x` (n, K), and the intercept.

    Least sum of log losses plus half the squared weights of standardised columns:
    without a penalty there is no best one where the classes can be separated. Newton's
    method; the objective is strictly convex.
    """
    centre, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    z = np.column_stack([(x - centre) / spread, np.ones(len(x))])
    penalty = np.diag([PENALTY] * x.shape[1] + [0.0])
    sign = np.where(y, 1.0, -1.0)

    def loss(w: Floats) -> float:
        return float(np.logaddexp(0, -sign * (z @ w)).sum() + w @ penalty @ w / 2)

    w = np.zeros(z.shape[1])
    for _ in range(MAX_STEPS):
        p = _expit(z @ w)
        gradient = z.T @ (p - y) + penalty @ w
        hessian = (z * (p * (1 - p))[:, None]).T @ z + penalty
        step = np.linalg.solve(hessian, gradient)
        scale, before = 1.0, loss(w)
        while loss(w - scale * step) > before and scale > SMALLEST_STEP:
            scale /= 2
        w -= scale * step
        if np.abs(step).max() < TOLERANCE:
            break
    weights: Floats = w[:-1] / spread
    return weights, float(w[-1] - weights @ centre)


def find_band(
    first: Part, second: Part, budget: float, held_out: HeldOut
) -> tuple[float, float, str]:
    """Return the ends of the band that corrects most within a budget, and a note.

    Of all bands between two scores of the calibration part that hold at most a share
    `budget` of its samples: the one with most right decisions, of equals the one that
    escalates least. Raises DataError where none is better than the first part alone.
    """
    unknown = np.isnan(first.score) | np.isnan(first.decision)
    rows = fitting_rows(held_out, unknown | np.isnan(second.decision), "cascade:auto")
    y, score = held_out.y[rows], first.score[rows]
    gain = (second.decision[rows] == y).astype(int) - (first.decision[rows] == y)
    levels, place = np.unique(score, return_inverse=True)
    counts = np.bincount(place)
    # before[i]: of all samples below level i
    before = np.concatenate([[0], np.cumsum(counts)])
    gained = np.concatenate([[0], np.cumsum(np.bincount(place, weights=gain))])
    most = budget * len(rows)
    best: tuple[float, int, int, int] | None = None
    for end in range(len(levels)):
        start = int(np.searchsorted(before, before[end + 1] - most))
        if start > end:  # so many equal scores that they alone exceed the budget
            continue
        gains = gained[end + 1] - gained[start : end + 1]
        # of equal gains the last one starts latest, and escalates least
        pick = start + len(gains) - 1 - int(np.argmax(gains[::-1]))
        size = int(before[end + 1] - before[pick])
        candidate = (float(gains[pick - start]), -size, pick, end)
        if best is None or candidate[:2] > best[:2]:
            best = candidate
    if best is None or best[0] <= 0:
        raise DataError(
            f"no band of at most {budget:.0%} of the calibration part is worth "
            f"escalating: {second.label} corrects no more there than it spoils"
        )
    low, high = float(levels[best[2]]), float(levels[best[3]])
    note = (
        f"band {low:.4g} to {high:.4g} chosen on the calibration part: "
        f"{-best[1]} of {len(rows)} escalated, {best[0]:.0f} more right decisions"
    )
    return low, high, note
