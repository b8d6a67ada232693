"""Result rows with reviewed labels beside those of the run, in memory and in exports.

A label that reviewers call wrong is turned round, an unclear one leaves its sample out,
and metrics are computed again from stored predictions. All that people must know to
read such numbers is in the field `review` of their rows.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import DataError
from safebench.metrics.compute import compute
from safebench.metrics.intervals import sampling_intervals

from .comparison import files_by_row, names_of_row
from .outcomes import to_outcome
from .prediction_reading import read_prediction_file
from .reviewed_labels import (
    ReviewedLabels,
    apply_marks,
    review_facts,
    why_not_of_labels,
)
from .rows import LATENCY_METRICS, interval_fields, joined_notes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from safebench.metrics import Outcome
    from safebench.specs import MetricSpec

    from .predictions import StoredPredictions
    from .review_marks import ReviewedSample, Verdict
    from .rows import Row

    Verdicts = Mapping[ReviewedSample, Verdict]

NO_PREDICTIONS = (
    "its predictions are not stored: run again with --predictions jsonl, the evidence "
    "is re-used"
)
NO_METRIC = "no installed metric has this name: it cannot be computed again"


def reviewed_rows(
    rows: Sequence[Row], folders: Sequence[Path], specs: Sequence[MetricSpec]
) -> list[Row]:
    """Return the rows, and after those of each set that has marks the reviewed ones.

    Marks of all `folders` are used for each of them: they are about a set's labels,
    and not about a run. A number that stored predictions cannot give is null with a
    reason. Raises OptionError where no set of the rows has a mark, DataError for a
    damaged file of marks.
    """
    labels = ReviewedLabels(folders)
    by_set: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_set[_set_name(row), row.task].append(row)
    labels.require_one_of(by_set)
    files = files_by_row(folders)
    metrics = {spec.name: spec for spec in specs}
    both: list[Row] = []
    for name, own in by_set.items():
        both += own
        if name not in labels.of_set:
            continue
        combinations: dict[Any, list[Row]] = defaultdict(list)
        for row in own:
            if row.is_of_whole_test_part:
                combinations[row.run, row.combination].append(row)
        for same in combinations.values():
            file = files.get((same[0].run, *names_of_row(same[0])))
            path = None if file is None else file.path
            both += _reviewed(same, path, labels.of_set[name], metrics)
    return both


def _set_name(row: Row) -> str:
    return ":".join(filter(None, (row.dataset, row.config, row.split)))


def _reviewed(
    rows: Sequence[Row],
    path: Path | None,
    marked: Verdicts,
    specs: Mapping[str, MetricSpec],
) -> list[Row]:
    try:
        stored = _stored(rows, path)
    except DataError as error:
        # how many of its samples have marks is not known either
        return [_unknown(row, error.message, {"marks": len(marked)}) for row in rows]
    assert path is not None
    held_out: set[str] = set()
    if {sample.id for sample in marked} - set(stored.ids):
        held_out = set(read_prediction_file(path, part="all").ids) - set(stored.ids)
    applied = apply_marks(stored, marked, held_out)
    review = review_facts(stored, applied)
    if not applied.changes_any:
        return [replace(row, review=review) for row in rows]
    return _computed(rows, applied.change(stored), review, specs)


def _stored(rows: Sequence[Row], path: Path | None) -> StoredPredictions:
    """Return the predictions that rows are about; raises DataError without any."""
    if path is None:
        raise DataError(NO_PREDICTIONS)
    stored = read_prediction_file(path, rows)
    n = max(row.n for row in rows)
    if stored.n != n:
        raise DataError(
            f"{stored.n:,} predictions are stored, the results are of {n:,} samples: "
            "repeat the run"
        )
    return stored


def _computed(
    rows: Sequence[Row],
    changed: StoredPredictions,
    review: dict[str, Any],
    specs: Mapping[str, MetricSpec],
) -> list[Row]:
    outcome = _outcome(changed)
    wanted = [
        spec
        for row in rows
        if (spec := specs.get(row.metric)) is not None and not why_not_of_labels(spec)
    ]
    values = {spec.name: value for spec, value in compute(outcome, wanted)}
    known = [spec for spec in wanted if values[spec.name].value is not None]
    intervals = sampling_intervals(outcome, known)
    n_failed = int(outcome.failed.sum())
    shared: dict[str, Any] = {
        "review": review,
        "n": outcome.n,
        "n_pos": int(outcome.y.sum()),
        "n_neg": int((~outcome.y).sum()),
        "n_failed": n_failed,
        "n_conflicting": _count_conflicting(changed),
    }
    computed = []
    for row in rows:
        spec = specs.get(row.metric)
        value = values.get(row.metric)
        if row.metric in LATENCY_METRICS:  # labels take no time
            computed.append(replace(row, **shared))
            continue
        if value is None:
            why = NO_METRIC if spec is None else why_not_of_labels(spec)
            # what the run could not say either has its own reason
            reason = row.note if row.value is None and row.note else why
            computed.append(_unknown(replace(row, **shared), reason, review))
            continue
        interval = intervals.get(row.metric)
        computed.append(
            replace(
                row,
                **shared,
                **interval_fields(value.value, interval),
                value=value.value,
                bound_low=value.bound_low,
                bound_high=value.bound_high,
                n_scored=outcome.n - n_failed
                if value.n_scored is None
                else value.n_scored,
                note=_note(row, value.value, value.note, interval),
            )
        )
    return computed


def _note(row: Row, value: float | None, own: str, interval: Any) -> str:
    if value is None:
        # the run knew more of why a strategy has no such number than predictions do
        return row.note if row.value is None and row.note else own
    return joined_notes(own, interval.note if interval else "")


def _outcome(stored: StoredPredictions) -> Outcome:
    """Return predictions as metrics take them, with the bounds of their scores."""
    outcome = to_outcome(stored)
    if np.isnan(stored.lower).all():
        return outcome
    return replace(outcome, lower=stored.lower, upper=stored.upper)


def _unknown(row: Row, reason: str, review: dict[str, Any]) -> Row:
    nothing: dict[str, Any] = dict.fromkeys(
        ("value", "ci_low", "ci_high", "ci_method", "bound_low", "bound_high")
    )
    return replace(row, **nothing, n_scored=0, note=reason, review=review)


def _count_conflicting(stored: StoredPredictions) -> int:
    """Count the samples of which another one has the same text and another label."""
    labels: dict[str, set[bool]] = defaultdict(set)
    for content, label in zip(stored.content, stored.y.tolist(), strict=True):
        labels[content].add(label)
    return sum(len(labels[content]) > 1 for content in stored.content)
