"""Paired comparison of stored predictions, sample by sample: which are better."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from safebench.errors import DataError, PluginError, RunFolderError, SafebenchError
from safebench.metrics import Outcome
from safebench.metrics.intervals import (
    SIGN_FLIPS,
    can_compare,
    definition_of,
    paired_intervals,
)
from safebench.statistics import default_n_resamples, holm, mcnemar, shared_weights

from .predictions import (
    PredictionFile,
    prediction_files,
    read_prediction_file,
)
from .runs import run_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safebench.specs import MetricSpec
    from safebench.statistics import Interval, McNemar, ResamplingWeights

    from .predictions import StoredPredictions
    from .rows import Row


ALPHA = 0.05
DEFAULT_METRICS = ("auroc", "auprc", "f1", "accuracy", "recall", "fpr")
NO_SCORES = "one of both has no score"
NO_DECISIONS = "one of both has no decision"
NO_PROBABILITIES = "scores are no probabilities"
NO_UNCERTAINTIES = "one of both has no uncertainty"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricComparison:
    """One metric of both on the same samples, and their difference, b minus a.

    `test` names the test that `p` comes from, `holm` is p adjusted for all lines of
    the comparison. `better` is ``a``, ``b``, or None where the difference is not
    significant; `note` says why there is no number.
    """

    metric: str
    a: Interval | None = None
    b: Interval | None = None
    difference: Interval | None = None
    p: float | None = None
    test: str = ""
    holm: float | None = None
    better: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two combinations on one dataset.

    `n` samples that both have, in `groups` groups; `left_out` samples only one has.
    `discordant` counts decisions that one of both gets right.
    """

    a: str
    b: str
    dataset: str
    task: str
    n: int
    groups: int
    left_out: int
    failed: tuple[int, int]
    discordant: McNemar | None
    lines: tuple[MetricComparison, ...]


def compare(
    pairs: Sequence[tuple[PredictionFile, PredictionFile]],
    metrics: Sequence[MetricSpec],
    *,
    n_resamples: int | None = None,
    seed: int = 0,
) -> list[Comparison]:
    """Compare each pair; the p-values of all are adjusted together, by Holm.

    `metrics` are those that `safebench.metrics.intervals.can_compare` allows. Raises
    DataError where two files contradict each other or share no sample.
    """
    read = lru_cache(maxsize=2)(read_prediction_file)  # A is often the same in all
    comparisons = [
        _compare_pair((a, read(a.path)), (b, read(b.path)), metrics, n_resamples, seed)
        for a, b in pairs
    ]
    p_values = [line.p for comparison in comparisons for line in comparison.lines]
    adjusted = iter(holm(p_values))
    return [
        replace(
            comparison,
            lines=tuple(
                _with_verdict(line, next(adjusted), spec.higher_is_better)
                for line, spec in zip(comparison.lines, metrics, strict=True)
            ),
        )
        for comparison in comparisons
    ]


def _with_verdict(
    line: MetricComparison, adjusted: float | None, higher: bool | None
) -> MetricComparison:
    """Name the better one where the adjusted p is below 5 %."""
    better = None
    if adjusted is not None and adjusted < ALPHA and line.difference is not None:
        value = line.difference.value
        if value and higher is not None:
            better = "b" if (value > 0) == higher else "a"
    return replace(line, holm=adjusted, better=better)


def _compare_pair(
    a: tuple[PredictionFile, StoredPredictions],
    b: tuple[PredictionFile, StoredPredictions],
    metrics: Sequence[MetricSpec],
    n_resamples: int | None,
    seed: int,
) -> Comparison:
    (file_a, all_a), (file_b, all_b) = a, b
    shared_a, shared_b, left_out = _align(all_a, all_b)
    if not shared_a.n:
        raise DataError(f"{file_a.path} and {file_b.path} share no sample")
    if (shared_a.y != shared_b.y).any():
        row = int(np.flatnonzero(shared_a.y != shared_b.y)[0])
        raise DataError(
            f"{file_a.path} and {file_b.path} disagree on the label of "
            f"{shared_a.ids[row]}"
        )
    same = file_a.label == file_b.label
    names = [file.full_label if same else file.label for file in (file_a, file_b)]
    groups = shared_a.groups
    n_groups = len(set(groups))
    weights = shared_weights(
        shared_a.y,
        groups,
        n_resamples=n_resamples or default_n_resamples(n_groups),
        seed=seed,
    )
    outcomes = _to_outcome(shared_a), _to_outcome(shared_b)
    return Comparison(
        a=names[0],
        b=names[1],
        dataset=all_a.dataset,
        task=all_a.task,
        n=shared_a.n,
        groups=n_groups,
        left_out=left_out,
        failed=(int(outcomes[0].failed.sum()), int(outcomes[1].failed.sum())),
        discordant=_discordant(*outcomes),
        lines=tuple(_compare_metric(spec, *outcomes, weights) for spec in metrics),
    )


def _align(
    a: StoredPredictions, b: StoredPredictions
) -> tuple[StoredPredictions, StoredPredictions, int]:
    """Return both on the samples that both have, and how many only one has."""
    place = {id_: row for row, id_ in enumerate(b.ids)}
    rows = [row for row, id_ in enumerate(a.ids) if id_ in place]
    others = [place[a.ids[row]] for row in rows]
    left_out = a.n + b.n - 2 * len(rows)
    return a.select(rows), b.select(others), left_out


def _to_outcome(predictions: StoredPredictions) -> Outcome:
    """Return predictions as metrics take them; a failed sample is decided wrongly.

    A sample has failed with neither score nor decision. Whether a score claims to be
    a probability is not stored with it: one from 0 to 1 may.
    """
    y, score, decision = predictions.y, predictions.score, predictions.decision
    uncertainty = predictions.uncertainty
    known = ~np.isnan(decision)
    return Outcome(
        y=y,
        failed=~known & np.isnan(score),
        groups=predictions.groups,
        score=None if np.isnan(score).all() else score,
        probability=not ((score < 0) | (score > 1)).any(),
        decision=(
            np.where(known, np.nan_to_num(decision).astype(bool), ~y)
            if known.any()
            else None
        ),
        uncertainty=None if np.isnan(uncertainty).all() else uncertainty,
    )


def _discordant(a: Outcome, b: Outcome) -> McNemar | None:
    if a.decision is None or b.decision is None:
        return None
    return mcnemar(a.y, a.decision, b.decision)


def _compare_metric(
    spec: MetricSpec, a: Outcome, b: Outcome, weights: ResamplingWeights
) -> MetricComparison:
    try:
        intervals = paired_intervals(spec, a, b, weights)
    except PluginError as error:  # the other metrics go on
        return MetricComparison(metric=spec.name, note=error.message)
    if intervals is None:
        return MetricComparison(metric=spec.name, note=_why_not(spec, a, b))
    difference = intervals.difference
    flipped = difference.method == SIGN_FLIPS
    p, test = difference.p, "exact sign flips" if flipped else "paired bootstrap"
    if weights.n_groups == a.n:  # independent samples
        p, test = _exact_test(spec, a, b) or (p, test)
    return MetricComparison(
        metric=spec.name,
        a=intervals.a,
        b=intervals.b,
        difference=difference,
        p=p,
        test=test if p is not None else "",
        note="" if difference.value is not None else "undefined",
    )


def _why_not(spec: MetricSpec, a: Outcome, b: Outcome) -> str:
    """Return what one of both lacks."""
    if "decision" in spec.needs and (a.decision is None or b.decision is None):
        return NO_DECISIONS
    if "uncertainty" in spec.needs:
        return NO_UNCERTAINTIES
    if a.score is None or b.score is None:
        return NO_SCORES
    return NO_PROBABILITIES if "probability" in spec.needs else NO_SCORES


def _exact_test(spec: MetricSpec, a: Outcome, b: Outcome) -> tuple[float, str] | None:
    """Return the p of a test for independent samples, where the metric has one."""
    definition = definition_of(spec)
    if definition is None or definition.exact_test is None:
        return None
    columns_a, columns_b = definition.columns(a), definition.columns(b)
    if columns_a is None or columns_b is None:
        return None
    (y, first), (_, second) = columns_a.arrays, columns_b.arrays
    p = definition.exact_test.p_value(y, first, second)
    return None if p is None else (p, definition.exact_test.name)


def ties_with_best(
    rows: Sequence[Row], folders: Sequence[Path], specs: Sequence[MetricSpec]
) -> list[bool]:
    """Tell of each row whether a paired test leaves it open if the first is better.

    `rows` are of one metric on one dataset, best first; p-values are adjusted for
    their number (Holm). Without stored predictions, or for a metric without a paired
    test, nothing is told: all False.
    """
    tied = [False] * len(rows)
    spec = next((spec for spec in specs if rows and spec.name == rows[0].metric), None)
    if spec is None or not can_compare(spec):
        return tied
    files = _files_by_row(folders)
    ranked = [files.get((row.run, *_names(row))) for row in rows]
    best = ranked[0]
    if best is None:
        return tied
    others = [
        (place, file)
        for place, file in enumerate(ranked)
        if file is not None and file.path != best.path
    ]
    try:
        comparisons = compare([(best, file) for _, file in others], [spec])
    except SafebenchError:  # a folder that was changed by hand: no marks
        return tied
    for (place, _), comparison in zip(others, comparisons, strict=True):
        adjusted = comparison.lines[0].holm
        tied[place] = adjusted is not None and adjusted >= ALPHA
    return tied


def _files_by_row(folders: Sequence[Path]) -> dict[tuple[str, ...], PredictionFile]:
    """Return the stored files of runs by run, classifier, dataset and strategy."""
    by_row: dict[tuple[str, ...], PredictionFile] = {}
    for run, folder in zip(run_names(folders), folders, strict=True):
        with suppress(RunFolderError):  # without predictions: no marks
            by_row |= {
                (run, file.classifier, file.dataset, file.strategy): file
                for file in prediction_files(folder)
            }
    return by_row


def _names(row: Row) -> tuple[str, str, str]:
    """Return what a row is about as files of predictions call it."""
    dataset = ".".join(filter(None, (row.dataset, row.config, row.split)))
    return row.classifier, dataset, row.strategy
