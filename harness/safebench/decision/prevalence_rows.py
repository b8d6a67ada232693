"""Result rows at another prevalence: in memory and in exports, never in a run folder.

Their field `prevalence` says that they are no rows of the data as they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.errors import OptionError, did_you_mean
from safebench.results.comparison import files_by_row, names_of_row
from safebench.results.outcomes import to_outcome
from safebench.results.prediction_reading import read_prediction_file

from .prevalence import (
    ALERTS,
    MISSED,
    PRECISION,
    at_prevalence,
    rates_at_prevalence,
    without_correlation,
)
from .rows_at_threshold import flagged_at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from safebench.results.prediction_reading import PredictionFile
    from safebench.results.rows import Row
    from safebench.statistics.interval import Interval

AT_PREVALENCE = (PRECISION, ALERTS, MISSED)
COLUMNS = ("recall", "fpr", *AT_PREVALENCE)
# What is measured within one class, or by ranking one against the other.
INDEPENDENT = frozenset(
    {"recall", "fpr", "fnr", "balanced_accuracy", "auroc", "tpr_at_fpr_0.01"}
    | {"fpr_at_tpr_0.95", "pauroc_fpr_0.1"}
)
_HIGHER_IS_BETTER = {PRECISION: True, ALERTS: None, MISSED: False}
_WITHOUT_PREDICTIONS = (
    "without predictions: as if groups gave recall and FPR no correlation"
)


def rows_at_prevalence(
    rows: Sequence[Row],
    folders: Sequence[Path],
    prevalence: float,
    threshold: float | None = None,
) -> list[Row]:
    """Return rows at a prevalence: those that do not depend on it, and new ones.

    Precision and counts per million come from stored predictions in `folders`, else
    from the recall and FPR of the rows. With `threshold`, at which the rows must be,
    decisions are those at it. Raises OptionError if no row has both.
    """
    whole = [row for row in rows if row.is_of_whole_test_part]
    files = files_by_row(folders)
    added = []
    combinations: dict[Any, dict[str, Row]] = {}
    for row in whole:
        combinations.setdefault((row.run, row.combination), {})[row.metric] = row
    for metrics in combinations.values():
        recall, fpr = metrics.get("recall"), metrics.get("fpr")
        if recall is not None and fpr is not None:
            file = files.get((recall.run, *names_of_row(recall)))
            intervals, note = _intervals(recall, fpr, file, prevalence, threshold)
            added += [
                _row(recall, name, interval, prevalence, note)
                for name, interval in intervals.items()
            ]
    if not added:
        raise OptionError(
            "--prevalence: no row has a recall and an FPR to compute from: run again"
        )
    return [row for row in whole if row.metric in INDEPENDENT] + added


def _intervals(
    recall: Row,
    fpr: Row,
    file: PredictionFile | None,
    prevalence: float,
    threshold: float | None,
) -> tuple[dict[str, Interval], str]:
    if file is not None and not (threshold is not None and recall.value is None):
        stored = read_prediction_file(file.path)
        outcome = (
            to_outcome(stored) if threshold is None else flagged_at(threshold, stored)
        )
        if outcome.n and outcome.decision is not None:
            flagged = outcome.decision.astype(bool)
            return at_prevalence(outcome.y, flagged, outcome.groups, prevalence), ""
    if recall.value is None or fpr.value is None:
        from safebench.statistics import Interval

        reason = recall.note if recall.value is None else fpr.note
        unknown = Interval(None, None, None, reason or "undefined", 0)
        return dict.fromkeys(AT_PREVALENCE, unknown), ""
    shares = [
        without_correlation(
            row.value or 0.0,
            row.value or 0.0 if row.ci_low is None else row.ci_low,
            row.value or 0.0 if row.ci_high is None else row.ci_high,
        )
        for row in (recall, fpr)
    ]
    intervals = rates_at_prevalence(shares[0], shares[1], prevalence, 0)
    if recall.ci_low is None or fpr.ci_low is None:
        method = "no interval of recall or FPR in these results"
        intervals = {
            name: replace(interval, low=None, high=None, method=method)
            for name, interval in intervals.items()
        }
    return intervals, _WITHOUT_PREDICTIONS


def _row(
    row: Row, metric: str, interval: Interval, prevalence: float, note: str
) -> Row:
    method: str | None = f"{interval.method}, {interval.n_groups} groups"
    if interval.low is None:
        method = f"none: {interval.method}"
    if interval.value is None:
        method, note = None, interval.method
    return replace(
        row,
        metric=metric,
        value=interval.value,
        ci_low=interval.low,
        ci_high=interval.high,
        ci_method=method,
        bound_low=None,
        bound_high=None,
        higher_is_better=_HIGHER_IS_BETTER[metric],
        prevalence=prevalence,
        note="; ".join(filter(None, (note, interval.note))),
    )


def check_metrics(names: Sequence[str]) -> None:
    """Raise OptionError for a metric that says nothing at another prevalence."""
    known = {*INDEPENDENT, *AT_PREVALENCE}
    for name in names:
        if name.casefold() not in known:
            raise OptionError(
                f"{name} depends on how many samples are positive, and is not known at "
                f"another prevalence{did_you_mean(name, known)}; there is: "
                f"{', '.join(sorted(known))}"
            )
