"""Result rows with reviewed labels beside those of the run, in memory and in exports.

A label that reviewers call wrong is turned round, an unclear one leaves its sample out,
and metrics are computed again from stored predictions. All that people must know to
read such numbers is in the field `review` of their rows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import DataError, OptionError
from safebench.metrics.compute import compute
from safebench.metrics.intervals import sampling_intervals

from .comparison import files_by_row, names_of_row
from .outcomes import to_outcome
from .prediction_reading import read_prediction_file
from .review_marks import read_marks, verdicts
from .rows import LATENCY_METRICS, interval_fields, joined_notes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from safebench.metrics import Outcome
    from safebench.specs import MetricSpec
    from safebench.typing import Array

    from .predictions import StoredPredictions
    from .review_marks import ReviewedSample, Verdict
    from .rows import Row

    Verdicts = Mapping[ReviewedSample, Verdict]

NO_PREDICTIONS = (
    "its predictions are not stored: run again with --predictions jsonl, the evidence "
    "is re-used"
)
OF_CATEGORIES = "marks are about whole labels, and say nothing of categories"
OF_PAIRS = "marks are about single samples, and say nothing of pairs and severities"
OF_BOUNDS = "these bounds are not read back from stored predictions"
NO_METRIC = "no installed metric has this name: it cannot be computed again"
_NOT_LABELS = (
    ({"categories", "category_scores"}, OF_CATEGORIES),
    ({"pairs", "severity", "votes"}, OF_PAIRS),
    ({"category_bounds", "uncertainty_bounds"}, OF_BOUNDS),
)


def reviewed_rows(
    rows: Sequence[Row], folders: Sequence[Path], specs: Sequence[MetricSpec]
) -> list[Row]:
    """Return the rows, and after those of each set that has marks the reviewed ones.

    Marks of all `folders` are used for each of them: they are about a set's labels,
    and not about a run. A number that stored predictions cannot give is null with a
    reason. Raises OptionError where no set of the rows has a mark, DataError for a
    damaged file of marks.
    """
    marked = verdicts(mark for folder in folders for mark in read_marks(folder))
    of_set: dict[tuple[str, str], dict[ReviewedSample, Verdict]] = defaultdict(dict)
    for sample, verdict in marked.items():
        of_set[sample.set_name, sample.task][sample] = verdict
    by_set: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_set[_set_name(row), row.task].append(row)
    if not of_set.keys() & by_set.keys():
        raise _nothing_reviewed(folders, of_set)
    files = files_by_row(folders)
    metrics = {spec.name: spec for spec in specs}
    both: list[Row] = []
    for name, own in by_set.items():
        both += own
        if name not in of_set:
            continue
        combinations: dict[Any, list[Row]] = defaultdict(list)
        for row in own:
            if row.is_of_whole_test_part:
                combinations[row.run, row.combination].append(row)
        for same in combinations.values():
            file = files.get((same[0].run, *names_of_row(same[0])))
            path = None if file is None else file.path
            both += _reviewed(same, path, of_set[name], metrics)
    return both


def _nothing_reviewed(
    folders: Sequence[Path], of_set: Mapping[tuple[str, str], Verdicts]
) -> OptionError:
    if of_set:
        there = ", ".join(f"{name} ({task})" for name, task in of_set)
        return OptionError(
            f"no label of these results was reviewed: marks are of {there}"
        )
    where = ", ".join(folder.as_posix() for folder in folders)
    return OptionError(
        f"no label was reviewed in {where}: `safebench serve` shows each sample with a "
        "form for it"
    )


def _set_name(row: Row) -> str:
    return ":".join(filter(None, (row.dataset, row.config, row.split)))


@dataclass(frozen=True, slots=True)
class _Applied:
    """Marks on the n predictions of a file, and those that are about none of them.

    `flipped` and `unclear` (n,) bool say which labels are turned round or left out,
    `reviewed` (n,) bool which have a mark.
    """

    reviewed: Array
    flipped: Array
    unclear: Array
    counts: dict[str, int]


def _apply(stored: StoredPredictions, marked: Verdicts, held_out: set[str]) -> _Applied:
    place = {id_: row for row, id_ in enumerate(stored.ids)}
    columns = {name: np.zeros(stored.n, dtype=bool) for name in _COLUMNS}
    counts: Counter[str] = Counter()
    for sample, verdict in marked.items():
        row = place.get(sample.id)
        if row is None:
            counts["held_out" if sample.id in held_out else "vanished"] += 1
        elif stored.content[row] != sample.content or stored.y[row] != verdict.label:
            counts["changed"] += 1
        else:
            counts[verdict.mark] += 1
            counts["disagree"] += verdict.disagree
            columns["reviewed"][row] = True
            columns["flipped"][row] = verdict.mark == "wrong"
            columns["unclear"][row] = verdict.mark == "unclear"
    return _Applied(**columns, counts=dict(counts))


_COLUMNS = ("reviewed", "flipped", "unclear")


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
    applied = _apply(stored, marked, held_out)
    review = _review_facts(stored, applied)
    if not (applied.flipped | applied.unclear).any():
        return [replace(row, review=review) for row in rows]
    kept = np.flatnonzero(~applied.unclear)
    changed = replace(stored, y=stored.y ^ applied.flipped).select(kept.tolist())
    return _computed(rows, changed, review, specs)


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


def _review_facts(stored: StoredPredictions, applied: _Applied) -> dict[str, Any]:
    """Return what a reader must know: counts, and how samples came to be reviewed.

    `errors` counts wrong decisions as stored, failed samples included; None where
    nothing was decided.
    """
    counts = applied.counts
    facts: dict[str, Any] = {
        "n_reviewed": int(applied.reviewed.sum()),
        **{f"n_{name}": counts.get(name, 0) for name in ("right", "wrong", "unclear")},
        **{f"n_{name}": counts.get(name, 0) for name in _SAID},
    }
    outcome = to_outcome(stored)
    errors = (
        outcome.failed if outcome.decision is None else outcome.decision != outcome.y
    )
    known = outcome.decision is not None
    for name, which in (("errors", errors), ("others", ~errors)):
        facts[name] = int(which.sum()) if known else None
        facts[f"{name}_reviewed"] = (
            int((which & applied.reviewed).sum()) if known else None
        )
    return facts


_SAID = ("disagree", "held_out", "vanished", "changed")


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
        if (spec := specs.get(row.metric)) is not None and not _why_not(spec)
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
            why = NO_METRIC if spec is None else _why_not(spec)
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


def _why_not(spec: MetricSpec) -> str:
    """Return why marks on labels cannot say a metric, "" if they can."""
    return next((why for needs, why in _NOT_LABELS if spec.needs & needs), "")


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
