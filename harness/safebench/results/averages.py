"""Means of metrics over datasets, with the interval that theirs make together."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from safebench.errors import RunFolderError

from .rows import canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .rows import Row

_Number = TypeVar("_Number", int, float)
INDEPENDENT = "the interval of a mean takes its sets as independent samples"
_LEAST_SETS = 2


def average_rows(rows: Sequence[Row]) -> list[Row]:
    """Return a row a metric of each classifier x strategy: the mean over its sets.

    Every set counts alike (macro). The sets of a task are those of all `rows`: a mean
    over fewer is null, with a note that names what is missing. Intervals are joined by
    `mean_interval`. Raises RunFolderError where no task has two sets.
    """
    sets_of: dict[str, dict[str, None]] = defaultdict(dict)
    for row in rows:
        sets_of[row.task][_dataset(row)] = None
    if all(len(sets) < _LEAST_SETS for sets in sets_of.values()):
        raise RunFolderError("a mean over sets needs results on two or more of a task")
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[_combination(row)].append(row)
    return [
        # One name for all metrics of a line, wherever each was measured.
        replace(
            _mean(of_metric, list(sets_of[of_metric[0].task])),
            run="+".join(dict.fromkeys(row.run for row in part)),
        )
        for group in groups.values()
        for part in _by_run_if_needed(group)
        for of_metric in _by(part, lambda row: row.metric)
    ]


def mean_interval(
    intervals: Sequence[tuple[float, float, float]],
) -> tuple[float, float]:
    """Return the ends of a 95 % interval for the mean of independent estimates.

    `intervals` are (value, low, high) of each. The distances to the ends are added as
    squares, each side for itself (MOVER: Zou and Donner, Statistics in Medicine 2008,
    equation 3), so that a skewed interval stays one.
    """
    k = len(intervals)
    mean = math.fsum(value for value, _, _ in intervals) / k
    # An interval may lie beside its value, which is then its own nearer end.
    below = math.fsum(max(value - low, 0) ** 2 for value, low, _ in intervals)
    above = math.fsum(max(high - value, 0) ** 2 for value, _, high in intervals)
    return mean - math.sqrt(below) / k, mean + math.sqrt(above) / k


def _combination(row: Row) -> tuple[Any, ...]:
    params = {key: value for key, value in row.params.items() if key != "threshold"}
    return (
        row.classifier,
        row.model,
        row.revision,
        row.strategy,
        canonical_json(params),
        row.calibrator,
        row.task,
        row.part,
        row.slice,
        row.category,
        row.prevalence,
    )


def _by_run_if_needed(rows: Sequence[Row]) -> list[list[Row]]:
    """Return rows of one combination; apart by run where runs differ on one set."""
    seen: dict[tuple[str, str], Row] = {}
    for row in rows:
        first = seen.setdefault((_dataset(row), row.metric), row)
        if (first.value, first.n) != (row.value, row.n):
            return _by(rows, lambda row: row.run)
    return [list(seen.values())]  # a copy of a run does not count twice


def _by(rows: Sequence[Row], key: Callable[[Row], str]) -> list[list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return list(groups.values())


def _mean(rows: Sequence[Row], sets: Sequence[str]) -> Row:
    """Return the mean of rows of one metric, a set each."""
    head = rows[0]
    there = {_dataset(row) for row in rows}
    missing = [name for name in sets if name not in there]
    undefined = [row for row in rows if row.value is None]
    values = [row.value for row in rows if row.value is not None]
    value = low = high = None
    note = ""
    if missing:
        note = f"no mean: not on {', '.join(missing)}"
    elif undefined:
        reasons = dict.fromkeys(row.note or "undefined" for row in undefined)
        names = ", ".join(_dataset(row) for row in undefined)
        where = "" if len(undefined) == len(rows) else f" (on {names})"
        note = f"{'; '.join(reasons)}{where}"
    else:
        value = math.fsum(values) / len(values)
        ends = [
            (row.value, row.ci_low, row.ci_high)
            for row in rows
            if row.value is not None
            and row.ci_low is not None
            and row.ci_high is not None
        ]
        if len(ends) == len(rows):
            low, high = mean_interval(ends)
            note = INDEPENDENT
    thresholds = {(row.threshold, row.threshold_from) for row in rows}
    threshold, source = next(iter(thresholds))
    if len(thresholds) > 1:
        threshold, source = None, _other_source(rows)
    return replace(
        head,
        dataset=f"mean of {len(sets)} sets",
        config=None,
        split=None,
        value=value,
        ci_low=low,
        ci_high=high,
        ci_method="mover" if low is not None else "none: not of every set",
        bound_low=None,
        bound_high=None,
        n=sum(row.n for row in rows),
        n_pos=_total([row.n_pos for row in rows]),
        n_neg=_total([row.n_neg for row in rows]),
        n_scored=_total([row.n_scored for row in rows]),
        n_failed=sum(row.n_failed for row in rows),
        n_truncated=_total([row.n_truncated for row in rows]),
        n_conflicting=None,
        threshold=threshold,
        threshold_from=source,
        seconds=_total([row.seconds for row in rows]),
        samples_per_second=None,
        forward_passes=None,
        tokens=_total([row.tokens for row in rows]),
        peak_memory_mib=None,
        cost_shared_with=None,
        evidence_key=None,
        data_hash=None,
        split_hash=None,
        contaminated=any(row.contaminated for row in rows),
        licence=None,
        mix=None,
        pack=None,
        pack_missing=None,
        note=note,
    )


def _other_source(rows: Sequence[Row]) -> str:
    """Return where thresholds that differ came from; of test labels is kept."""
    sources = sorted({row.threshold_from or "" for row in rows})
    saw_labels = [source for source in sources if source.startswith("test")]
    return saw_labels[0] if saw_labels else "its own on each set"


def _total(counts: Sequence[_Number | None]) -> _Number | None:
    """Return the sum, or None where one is not known."""
    known = [count for count in counts if count is not None]
    return sum(known[1:], known[0]) if len(known) == len(counts) else None


def _dataset(row: Row) -> str:
    return ":".join(filter(None, (row.dataset, row.config, row.split)))
