"""Gaps between slices: how far the best and the worst are apart, and if by chance.

The largest of several noisy numbers is too large, the smallest too small: slices that
are alike have a gap, too. Its p-value comes from permutations, which give the slices of
a group to another group with as many samples of the class; it is exact if slices have
nothing to do with what a guard says, however samples of a group depend on each other.
Which slice differs from the others is told by the largest standardised deviation of
all of them (Westfall and Young 1993), so that one of many slices is no finding by
chance. The ends of a gap hold for all pairs of slices at once (Bonferroni).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from safebench.metrics.arrays import metric_interval
from safebench.statistics import holm
from safebench.statistics.resampling_weights import group_codes

from .slices import outcome_for_rows, slice_masks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.results.predictions import StoredPredictions
    from safebench.statistics import Interval
    from safebench.typing import Array, Floats

    from .slices import SliceMasks

MIN_A_CLASS = 20  # groups with a sample of the class, in each slice
METRICS = {"recall": ("unsafe",), "fpr": ("safe",), "auroc": ("unsafe", "safe")}
HIGHER_IS_BETTER = {"recall": True, "fpr": False, "auroc": True}
N_PERMUTATIONS = 999
MIN_PERMUTATIONS = 199
MAX_PRODUCTS = 3e9  # multiplications that all permutations of one AUROC may take
ALPHA = 0.05
MIN_SLICES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceValue:
    """A metric of one slice; the ends hold for all slices of the column at once.

    `p` is adjusted for the other slices of its column.
    """

    value: str
    n: int
    metric: float
    low: float | None
    high: float | None
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceGap:
    """A metric's largest minus its smallest value over the slices by a column.

    `expected` is the mean gap of slices that are alike, `p` how often theirs is at
    least as large, `holm` adjusted for all columns and metrics. `slices` are worst
    first, `left_out` slices are too small, each with the reason. None, and a `note`,
    where fewer than two slices are large enough.
    """

    column: str
    metric: str
    gap: float | None = None
    low: float | None = None
    high: float | None = None
    expected: float | None = None
    p: float | None = None
    holm: float | None = None
    slices: tuple[SliceValue, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    note: str = ""


def slice_gaps(
    predictions: StoredPredictions, columns: Sequence[str] = (), seed: int = 0
) -> tuple[SliceGap, ...]:
    """Return the gaps by each column, of recall, FPR and AUROC."""
    outcome = outcome_for_rows(predictions, np.arange(predictions.n))
    index = group_codes(outcome.groups)
    y = np.asarray(outcome.y, dtype=bool)
    inputs: dict[str, Floats | None] = dict.fromkeys(METRICS)
    if predictions.judged.any():
        inputs["recall"] = inputs["fpr"] = np.asarray(outcome.decision, dtype=float)
    if outcome.score is not None:
        inputs["auroc"] = np.where(outcome.failed, np.nan, outcome.score)
    gaps = []
    for by_column in slice_masks(predictions, columns):
        for metric, values in inputs.items():
            if values is None or not by_column.masks:
                reason = by_column.note or f"no {metric}: the strategy gives none"
                gaps.append(
                    SliceGap(column=by_column.column, metric=metric, note=reason)
                )
                continue
            gaps.append(slice_gap(metric, y, values, index, by_column, seed=seed))
    adjusted = holm([gap.p for gap in gaps])
    return tuple(replace(gap, holm=p) for gap, p in zip(gaps, adjusted, strict=True))


def slice_gap(
    metric: str,
    y: Array,
    values: Floats,
    index: Array,
    by_column: SliceMasks,
    *,
    seed: int = 0,
) -> SliceGap:
    """Return the gap of one metric; `values` (n,) are scores or decisions."""
    known = ~np.isnan(values)
    wanted = {"unsafe": y & known, "safe": ~y & known}
    classes = {name: wanted[name] for name in METRICS[metric]}
    masks, left_out = _large_enough(by_column, classes, index)
    gap = SliceGap(column=by_column.column, metric=metric, left_out=tuple(left_out))
    if len(masks) < MIN_SLICES:
        return replace(
            gap,
            note=f"{len(masks)} of {len(by_column.masks)} slices have {MIN_A_CLASS} "
            f"unrelated {' and '.join(classes)} samples: a gap takes two",
        )
    rows = np.flatnonzero(np.logical_or.reduce(list(classes.values())))
    members = np.stack([mask[rows] for mask in masks.values()]).astype(float)
    measure = _measure(metric, y[rows], values[rows])
    observed = measure(members)
    drawn = _permuted(members, y[rows], index[rows], metric, measure, seed)
    spread = np.nanmax(drawn, axis=0) - np.nanmin(drawn, axis=0)
    size = float(observed.max() - observed.min())
    low, high = _ends(metric, y, values, index, list(masks.values()))
    own = [
        _interval(metric, y, values, index, mask, 1 - ALPHA / len(masks))
        for mask in masks.values()
    ]
    ps = _single_step(observed, drawn)
    slices = [
        SliceValue(
            value=value,
            n=int((mask & np.logical_or.reduce(list(classes.values()))).sum()),
            metric=float(number),
            low=interval.low,
            high=interval.high,
            p=float(p),
        )
        for (value, mask), number, interval, p in zip(
            masks.items(), observed, own, ps, strict=True
        )
    ]
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    return replace(
        gap,
        gap=size,
        low=low,
        high=high,
        expected=float(np.nanmean(spread)),
        p=float((1 + (spread >= size - 1e-12).sum()) / (1 + drawn.shape[1])),
        slices=tuple(sorted(slices, key=lambda part: sign * part.metric)),
    )


def _large_enough(
    by_column: SliceMasks, classes: dict[str, Array], index: Array
) -> tuple[dict[str, Array], list[tuple[str, str]]]:
    """Return the slices with enough groups of each class, and why others are not."""
    masks, left_out = {}, []
    for value, mask in by_column.masks.items():
        counts = {
            name: len(np.unique(index[mask & members]))
            for name, members in classes.items()
        }
        if min(counts.values()) >= MIN_A_CLASS:
            masks[value] = mask
        else:
            few = ", ".join(f"{n} {name}" for name, n in counts.items())
            left_out.append((value, f"{few}, it takes {MIN_A_CLASS}"))
    return masks, left_out


def _measure(metric: str, y: Array, values: Floats) -> Callable[[Floats], Floats]:
    """Return what gives the metric of slices (K, n) of the rows, (K,) float."""
    if metric != "auroc":

        def share(members: Floats) -> Floats:
            ratio: Floats = (members @ values) / members.sum(axis=1)
            return ratio

        return share
    # how a positive and a negative compare: 1, or half for equal scores
    above = values[y][:, None] - values[~y][None, :]
    wins = (np.sign(above) + 1) / 2

    def auroc(members: Floats) -> Floats:
        pos, neg = members[:, y], members[:, ~y]
        won = ((pos @ wins) * neg).sum(axis=1)
        area: Floats = won / (pos.sum(axis=1) * neg.sum(axis=1))
        return area

    return auroc


def _permuted(
    members: Floats,
    y: Array,
    index: Array,
    metric: str,
    measure: Callable[[Floats], Floats],
    seed: int,
) -> Floats:
    """Return the metric of each slice when groups change their slices, (K, draws).

    A group gets those of a group with as many samples of each class; one that is alone
    in that keeps its own.
    """
    draws = N_PERMUTATIONS
    if metric == "auroc":
        products = len(members) * float(y.sum()) * float((~y).sum())
        fitting = int(MAX_PRODUCTS / max(products, 1))
        draws = int(np.clip(fitting, MIN_PERMUTATIONS, N_PERMUTATIONS))
    rng = np.random.default_rng(seed)
    blocks = _exchangeable(y, index)
    results = np.empty((len(members), draws))
    for draw in range(draws):
        source = np.arange(len(y))
        for block in blocks:
            source[block] = block[rng.permutation(len(block))]
        with np.errstate(invalid="ignore", divide="ignore"):
            results[:, draw] = measure(members[:, source])
    return results


def _exchangeable(y: Array, index: Array) -> list[Array]:
    """Return the rows of groups that may change places, (groups, samples) int each.

    Groups of one block have as many positives, and as many negatives; their rows are
    in the same order, positives first.
    """
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row in np.lexsort((~y, index)).tolist():
        rows_of[int(index[row])].append(row)
    blocks: dict[tuple[int, int], list[list[int]]] = defaultdict(list)
    for rows in rows_of.values():
        n_pos = int(y[rows].sum())
        blocks[n_pos, len(rows) - n_pos].append(rows)
    return [np.array(groups) for groups in blocks.values() if len(groups) > 1]


def _single_step(observed: Floats, drawn: Floats) -> Floats:
    """Return a p-value of each slice, adjusted for the others (Westfall and Young)."""
    centre = np.nanmean(drawn, axis=1)
    spread = np.nanstd(drawn, axis=1)
    spread = np.where(spread > 0, spread, np.inf)
    largest = np.nanmax(np.abs(drawn - centre[:, None]) / spread[:, None], axis=0)
    deviations = np.abs(observed - centre) / spread
    exceeding = (largest[None, :] >= deviations[:, None] - 1e-12).sum(axis=1)
    p: Floats = (1 + exceeding) / (1 + drawn.shape[1])
    return p


def _interval(
    metric: str, y: Array, values: Floats, index: Array, mask: Array, level: float
) -> Interval:
    rows = np.flatnonzero(mask)
    ranks = metric == "auroc"
    return metric_interval(
        metric,
        y[rows],
        score=values[rows] if ranks else None,
        decision=None if ranks else values[rows],
        groups=index[rows],
        level=level,
    )


def _ends(
    metric: str, y: Array, values: Floats, index: Array, masks: Sequence[Array]
) -> tuple[float | None, float | None]:
    """Return the ends of the largest difference of two slices.

    Those of each pair by MOVER (Zou and Donner 2008) at a level that holds for all
    pairs; if every difference lies between its ends, so does the largest.
    """
    n_pairs = len(masks) * (len(masks) - 1) / 2
    slices: list[tuple[float, float, float]] = []
    for mask in masks:
        ends = _interval(metric, y, values, index, mask, 1 - ALPHA / n_pairs)
        if ends.value is None or ends.low is None or ends.high is None:
            return None, None
        slices.append((ends.value, ends.low, ends.high))
    low, high = 0.0, 0.0
    for (b, b_low, b_high), (a, a_low, a_high) in combinations(sorted(slices), 2):
        # a is the larger one here; in truth it may be the smaller one
        down, up = np.hypot(a - a_low, b_high - b), np.hypot(a_high - a, b - b_low)
        low = max(low, a - b - down)
        high = max(high, a - b + up, down - (a - b))
    return low, min(high, 1.0)
