"""Whether a run is no worse than a baseline by more than a margin.

Both are measured on the same samples; the end of the interval of the paired difference
decides (a non-inferiority test).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.errors import DataError
from safebench.metrics.intervals import can_compare
from safebench.results.comparison import compare
from safebench.results.outcomes import align
from safebench.results.prediction_reading import read_prediction_file
from safebench.results.selection import named_files

from .bound_check import why_unusable
from .gate_rules import (
    INTERVAL,
    NO_WORSE,
    VALUE,
    GateRequest,
    RuleResult,
    compared_metrics,
    no_worse_rule,
)
from .samples_needed import samples_needed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from safebench.results.prediction_reading import PredictionFile
    from safebench.results.reviewed_labels import ReviewedLabels
    from safebench.specs import MetricSpec
    from safebench.statistics import Interval

    from .gate_cells import GateCell


def check_against_baseline(
    cells: Sequence[GateCell],
    request: GateRequest,
    specs: Mapping[str, MetricSpec],
    *,
    unfinished: str,
    old: Mapping[tuple[str, str], str],
    root: Path,
    labels: ReviewedLabels | None = None,
) -> list[RuleResult]:
    """Compare every cell with that of the baseline, on the same samples.

    By the `labels` of reviewers if there are any.
    """
    assert request.baseline is not None
    baseline = named_files(request.baseline, (), root)
    metrics = [specs[name] for name in compared_metrics(request)]
    results = []
    for cell in cells:
        differences: dict[str, tuple[Interval | None, str]] = {}
        other, reason = _counterpart(cell, baseline)
        note = ""
        if other is not None and cell.file is not None and not unfinished:
            differences, reason = _differences(other, cell.file, metrics, labels)
            note = f"baseline: {other.label}" if other.label != cell.label else ""
        reason = unfinished or old.get(cell.key, reason)
        results += [
            _check_metric(
                spec,
                cell,
                request,
                differences.get(spec.name, (None, "")),
                reason,
                note,
            )
            for spec in metrics
        ]
    return results


def _check_metric(
    spec: MetricSpec,
    cell: GateCell,
    request: GateRequest,
    difference_and_reason: tuple[Interval | None, str],
    reason: str,
    note: str,
) -> RuleResult:
    """Return what comes of one metric of a cell; `reason` is why nothing can."""
    difference, why = difference_and_reason
    rows = cell.rows.get(spec.name, [])
    problem = reason or (
        why_unusable(rows[-1], len(rows), replace(request, by=VALUE))
        if rows
        else f"the results have no {spec.name}"
    )
    result = RuleResult(
        rule=no_worse_rule(spec.name, request),
        kind=NO_WORSE,
        metric=spec.name,
        cell=cell.label,
        dataset=cell.dataset,
        bound=request.margin,
        value=difference.value if difference else None,
        low=difference.low if difference else None,
        high=difference.high if difference else None,
        passed=False,
        reason=problem or why,
        n=rows[-1].n if rows else None,
        note=note,
    )
    return result if result.reason else _decide_difference(result, spec, request)


def _counterpart(
    cell: GateCell, baseline: Sequence[PredictionFile]
) -> tuple[PredictionFile | None, str]:
    """Return what a cell is compared with: its namesake, or the only one there is.

    Or why there is nothing.
    """
    if cell.file is None:
        return None, "no stored predictions to compare: run with them"
    same_set = [f for f in baseline if f.dataset == cell.file.dataset]
    matching = [f for f in same_set if f.label == cell.label] or (
        same_set if len(same_set) == 1 else []
    )
    if not matching:
        labels = ", ".join(f.label for f in same_set) or "nothing"
        return None, (
            f"the baseline has no {cell.label} on {cell.dataset} (there: {labels}); "
            "RUN/CLASSIFIER/STRATEGY names another"
        )
    if matching[0].path.resolve() == cell.file.path.resolve():
        return None, "the baseline is the run itself: name another one"
    return matching[0], ""


def _differences(
    baseline: PredictionFile,
    file: PredictionFile,
    metrics: Sequence[MetricSpec],
    labels: ReviewedLabels | None,
) -> tuple[dict[str, tuple[Interval | None, str]], str]:
    """Return by metric the difference from the baseline, or why there is none.

    And a reason that holds for all metrics, "" if there is none.
    """
    tested = [spec for spec in metrics if can_compare(spec)]
    try:
        problem = _other_samples(baseline, file)
        if problem:
            return {}, problem
        (comparison,) = compare([(baseline, file)], tested, labels=labels)
    except DataError as error:
        return {}, " ".join(error.message.split())
    lines = {line.metric: line for line in comparison.lines}
    differences: dict[str, tuple[Interval | None, str]] = {}
    for spec in metrics:
        line = lines.get(spec.name)
        if line is None:
            differences[spec.name] = None, f"{spec.name} has no paired test"
        else:
            why = _why_open(line.difference, line.note)
            differences[spec.name] = line.difference, why
    return differences, ""


def _why_open(difference: Interval | None, note: str) -> str:
    if difference is None or difference.value is None:
        return f"no difference: {note or 'undefined'}"
    return ""


def _other_samples(baseline: PredictionFile, file: PredictionFile) -> str:
    """Return how the samples of both differ, "" if they are the same."""
    a, b = (read_prediction_file(f.path) for f in (baseline, file))
    shared_a, shared_b, left_out = align(a, b)
    if left_out:
        return (
            f"{left_out} samples are in one of both runs alone: measure both on the "
            "same dataset, limit, seed and calibration fraction"
        )
    changed = sum(
        x != y for x, y in zip(shared_a.content, shared_b.content, strict=True)
    )
    if changed:
        return f"{changed} samples have another text in the baseline: run it again"
    return ""


def _decide_difference(
    result: RuleResult, spec: MetricSpec, request: GateRequest
) -> RuleResult:
    """Decide whether a difference from the baseline is not worse than the margin."""
    higher = spec.higher_is_better
    if higher is None:
        reason = f"nobody says whether a higher {spec.name} is better"
        return replace(result, reason=reason)
    assert result.value is not None
    sign = 1 if higher else -1
    end = result.low if higher else result.high
    if request.by == INTERVAL and end is None:
        reason = "no interval of the difference; --by value decides without one"
        return replace(result, reason=reason)
    decisive = result.value if request.by == VALUE else end
    assert decisive is not None
    if sign * decisive >= -request.margin:
        return replace(result, passed=True)
    if sign * result.value < -request.margin:
        reason = f"the value is worse by more than {request.margin:g}"
        return replace(result, reason=reason)
    assert end is not None
    limit, n = -sign * request.margin, result.n or 0
    needed = samples_needed(result.value, end, limit, n, share=False)
    more = "no number of samples shows it: the difference is the margin itself"
    if needed is not None:
        more = f"about {needed:,} samples would show it, here are {n:,}"
    reason = f"the {'low' if higher else 'high'} end is worse than {limit:+g}; {more}"
    return replace(result, reason=reason, needed=needed)
