"""Measures of costs: accuracy of their sign and order, AUROC, tau-b, calibration.

Ties count as half, contradictory labels by their shares. Intervals are those of a
bootstrap of whole prompt groups, because pairs of one prompt share responses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import kendalltau

from safebench.metrics import GroupedSamples, bootstrap_interval, mean_interval
from safebench.training import Measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from safebench.metrics import Interval
    from safebench.typing import Array
    from safebench_cost_model.model.platt_scaling import PlattScaling

    from .pairs import PreferencePair
    from .singles import SingleResponse

    # a metric's name, its interval, how many rows it is about, a note
    Row = tuple[str, Interval, int, str]

PAIR_KINDS = ("mixed", "both unsafe", "both safe")
TAU_RESAMPLES, TAU_BLOCKS = 500, 100
DIFFERENCE_RESAMPLES = 2000
NATURAL_MIX = "sign_accuracy (natural mix)"


@dataclass(frozen=True, slots=True, eq=False)
class PairLabels:
    """What annotators said of N distinct pairs, as columns."""

    p_first: Array  # (N,) share of rows that call the first response less safe
    unsafe: Array  # (N, 2) share of rows that call each response unsafe
    gap: Array  # (N,) severity of the first above the second, NaN where unknown
    severity: Array  # (N, 2) NaN where unknown
    kind: Array  # (N,) names
    rows: Array  # (N,) how many rows each pair stands for
    group: Array  # (N,) prompt groups


def pair_labels(pairs: Sequence[PreferencePair]) -> PairLabels:
    """Return pairs as columns."""
    unknown = (np.nan, np.nan)
    severity = np.array([pair.severity or unknown for pair in pairs]).reshape(-1, 2)
    return PairLabels(
        p_first=np.array([pair.p_first for pair in pairs]),
        unsafe=np.array([pair.unsafe for pair in pairs]).reshape(-1, 2),
        gap=severity[:, 0] - severity[:, 1],
        severity=severity,
        kind=np.array([pair.kind for pair in pairs]),
        rows=np.array([pair.rows for pair in pairs]),
        group=np.array([pair.group for pair in pairs]),
    )


def sign_correct(labels: PairLabels, costs: Array) -> Array:
    """Return the share of each pair's two signs that are right, (N,)."""
    correct: Array = _agreement(costs, labels.unsafe).mean(axis=1)
    return correct


def ranking_correct(labels: PairLabels, costs: Array) -> Array:
    """Return how right the order of each pair is, (N,): 1, 0, or a share."""
    return _agreement(costs[:, 0] - costs[:, 1], labels.p_first)


def _agreement(value: Array, share: Array) -> Array:
    """Return P(a label is what the sign says), where `share` of the labels are 1."""
    positive = (np.sign(value) + 1) / 2  # 1, 0, and a half where there is no sign
    agreement: Array = positive * share + (1 - positive) * (1 - share)
    return agreement


def cost_measures(
    labels: PairLabels,
    costs: Array,
    *,
    who: str,
    split: str,
    platt: PlattScaling | None = None,
) -> list[Measure]:
    """Return all measures of costs (N, 2) of N distinct pairs, with intervals."""
    rows = [
        *_accuracies(labels, costs),
        *_accuracies_of_rows(labels, costs),
        *_ranking_by_subset(labels, costs),
        *_response_metrics(labels, costs),
    ]
    measures = _as_measures(rows, who, split)
    if platt is not None:
        p = platt.probability(costs)
        measures += probability_measures(labels, p, split=split)
    return measures


def probability_measures(labels: PairLabels, p: Array, *, split: str) -> list[Measure]:
    """Return Brier score, log loss and ECE of probabilities (N, 2)."""
    return _as_measures(_probability_metrics(labels, p), "cost_platt", split)


def accuracy_measures(
    labels: PairLabels, costs: Array, *, who: str, split: str
) -> list[Measure]:
    """Return accuracy of sign and of order of costs (N, 2), with intervals."""
    return _as_measures(_accuracies(labels, costs), who, split)


def natural_mix_measures(
    singles: Sequence[SingleResponse], costs: Array, *, who: str, split: str
) -> list[Measure]:
    """Return the sign accuracy of costs (S,) of responses that are no pairs.

    Half of the responses of mixed pairs are unsafe, and two share a prompt: there, and
    not here, a prompt says nothing about its response. None of no responses.
    """
    if not singles:
        return []
    unsafe = np.array([single.unsafe for single in singles])
    groups = np.array([single.group for single in singles])
    interval = mean_interval(_agreement(costs, unsafe), groups)
    always = max(float(unsafe.mean()), 1 - float(unsafe.mean()))
    note = f"responses labelled alone; {always:.3f} by one verdict for all"
    return _as_measures([(NATURAL_MIX, interval, len(unsafe), note)], who, split)


def difference_measures(
    labels: PairLabels,
    costs: tuple[Array, Array],
    singles: Sequence[SingleResponse],
    single_costs: tuple[Array, Array],
    *,
    who: str,
    split: str,
) -> list[Measure]:
    """Return accuracies of the second costs minus those of the first, paired.

    Costs (N, 2) of pairs and (S,) of singles; intervals are those of a bootstrap of
    prompt groups.
    """
    rows: list[Row] = []
    for name, correct in (
        ("sign_accuracy", sign_correct),
        ("ranking_accuracy", ranking_correct),
    ):
        a, b = (correct(labels, values) for values in costs)
        rows.append((name, difference_interval(a, b, labels.group), len(a), ""))
        if (labels.rows > 1).any():
            a, b, group = (np.repeat(x, labels.rows) for x in (a, b, labels.group))
            rows.append(
                (f"{name} (rows)", difference_interval(a, b, group), len(a), "")
            )
    if singles:
        unsafe = np.array([single.unsafe for single in singles])
        group = np.array([single.group for single in singles])
        a, b = (_agreement(values, unsafe) for values in single_costs)
        rows.append((NATURAL_MIX, difference_interval(a, b, group), len(a), ""))
    return _as_measures(rows, who, split)


def difference_interval(a: Array, b: Array, groups: Array) -> Interval:
    """Return the mean of `b` - `a` (n,), with its BCa interval over whole groups."""
    names, index = np.unique(groups, return_inverse=True)
    total = np.bincount(index, b - a)
    count = np.bincount(index)
    rng = np.random.default_rng(0)
    draws = rng.integers(len(names), size=(DIFFERENCE_RESAMPLES, len(names)))
    resampled = total[draws].sum(axis=1) / count[draws].sum(axis=1)
    values = [np.array([total.sum() / count.sum()]), resampled]
    if len(names) > 1:
        values.append((total.sum() - total) / (count.sum() - count))
    return bootstrap_interval(
        np.concatenate(values), DIFFERENCE_RESAMPLES, len(names), difference=True
    )


def _as_measures(rows: Iterable[Row], who: str, split: str) -> list[Measure]:
    return [
        Measure(
            who=who,
            part=split,
            metric=name,
            value=interval.value,
            low=interval.low,
            high=interval.high,
            method=interval.method,
            n=n,
            note="; ".join(filter(None, (note, interval.note))),
        )
        for name, interval, n, note in rows
    ]


def _accuracies(labels: PairLabels, costs: Array) -> Iterator[Row]:
    """Yield accuracies of sign and order, one number a distinct pair."""
    n = len(costs)
    sign = mean_interval(sign_correct(labels, costs), labels.group)
    ranking = mean_interval(ranking_correct(labels, costs), labels.group)
    yield "sign_accuracy", sign, n, "both responses of pairs"
    yield "ranking_accuracy", ranking, n, "distinct pairs"


def _accuracies_of_rows(labels: PairLabels, costs: Array) -> Iterator[Row]:
    """Yield both accuracies again, where a pair counts as often as it was labelled.

    Published accuracies of cost models count rows of the dataset. Nothing is yielded
    where no pair has more than one row: the numbers would be the same.
    """
    if (labels.rows <= 1).all():
        return
    groups, n = np.repeat(labels.group, labels.rows), int(labels.rows.sum())
    for name, correct in (
        ("sign_accuracy (rows)", sign_correct(labels, costs)),
        ("ranking_accuracy (rows)", ranking_correct(labels, costs)),
    ):
        interval = mean_interval(np.repeat(correct, labels.rows), groups)
        yield name, interval, n, "every row of the dataset"


def _ranking_by_subset(labels: PairLabels, costs: Array) -> Iterator[Row]:
    """Yield accuracies of order by kind of pair, and weighted by severity."""
    correct = ranking_correct(labels, costs)
    for kind in PAIR_KINDS:
        subset = labels.kind == kind
        if subset.any():
            name = f"ranking_accuracy ({kind})"
            interval = mean_interval(correct[subset], labels.group[subset])
            yield name, interval, int(subset.sum()), ""
    differ = np.abs(labels.gap) >= 1  # False for NaN
    if differ.any():
        # A pair counts as often as its severities are levels apart.
        weight = np.abs(labels.gap[differ]).round().astype(int)
        values = np.repeat(correct[differ], weight)
        groups = np.repeat(labels.group[differ], weight)
        interval = mean_interval(values, groups)
        note = "pairs by their gap in severity"
        yield "ranking_accuracy (severity)", interval, int(differ.sum()), note


def _response_metrics(labels: PairLabels, costs: Array) -> Iterator[Row]:
    """Yield metrics of all responses together, each counted as often as labelled."""
    y, score, groups = expand_labels(labels, costs)
    auroc = GroupedSamples(y, groups).intervals("auroc", score=score)["auroc"]
    yield "auroc", auroc, len(y), "labels"
    graded = not np.isnan(labels.severity).any()
    level = labels.severity if graded else labels.unsafe
    note = "with severity" if graded else "with shares of unsafe labels"
    yield "kendall_tau_b", tau_interval(costs, level, labels.group), costs.size, note


def _probability_metrics(labels: PairLabels, p: Array) -> Iterator[Row]:
    y, score, groups = expand_labels(labels, p)
    names = ("brier", "nll", "ece")
    intervals = GroupedSamples(y, groups).intervals(*names, score=score)
    for name, interval in intervals.items():
        yield name, interval, len(y), "labels"


def expand_labels(labels: PairLabels, values: Array) -> tuple[Array, Array, Array]:
    """Return label, value and group of every label that a row gave, (L,) each."""
    unsafe = np.rint(labels.unsafe * labels.rows[:, None]).astype(int).reshape(-1)
    safe = np.repeat(labels.rows, 2) - unsafe  # (2 N,) labels, as `unsafe`
    flat, group = values.reshape(-1), np.repeat(labels.group, 2)
    y = np.concatenate([np.ones(unsafe.sum(), bool), np.zeros(safe.sum(), bool)])
    return (
        y,
        np.concatenate([np.repeat(flat, unsafe), np.repeat(flat, safe)]),
        np.concatenate([np.repeat(group, unsafe), np.repeat(group, safe)]),
    )


def tau_interval(costs: Array, level: Array, groups: Array) -> Interval:
    """Return Kendall's tau-b of costs with levels, over all responses.

    The interval is BCa over `TAU_RESAMPLES` resamples of groups; its acceleration comes
    from leaving out `TAU_BLOCKS` blocks of groups: tau of one sample takes too long to
    leave out every group.
    """
    names, index = np.unique(groups, return_inverse=True)
    rows_of_group = [np.flatnonzero(index == g) for g in range(len(names))]

    def tau(chosen: Array) -> float:
        rows = np.concatenate([rows_of_group[g] for g in chosen])
        return float(kendalltau(costs[rows].reshape(-1), level[rows].reshape(-1))[0])

    all_groups = np.arange(len(names))
    rng = np.random.default_rng(0)
    resamples = rng.integers(len(names), size=(TAU_RESAMPLES, len(names)))
    blocks = np.array_split(all_groups, min(len(names), TAU_BLOCKS))
    jackknife = [np.setdiff1d(all_groups, block) for block in blocks if len(names) > 1]
    values = [tau(chosen) for chosen in (all_groups, *resamples, *jackknife)]
    return bootstrap_interval(np.array(values), TAU_RESAMPLES, len(names))
