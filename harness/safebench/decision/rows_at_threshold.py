"""Result rows at another threshold: in memory and in exports, never in a run folder.

Metrics of decisions are computed again from stored scores; what does not depend on a
threshold stays. The field `threshold_from` says that they are no rows of the run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.calibration.calibrated_rows import CATEGORY_NEEDS, shared_notes
from safebench.errors import DataError, IncompatibleError, OptionError
from safebench.metrics.compute import compute
from safebench.metrics.intervals import sampling_intervals
from safebench.results.comparison import files_by_row, names_of_row
from safebench.results.outcomes import to_outcome
from safebench.results.prediction_reading import read_prediction_file
from safebench.results.rows import LATENCY_METRICS, interval_fields, joined_notes

from .measured import scored_samples
from .operating_point import check_run, read_point

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safebench.metrics import Outcome
    from safebench.results.prediction_reading import PredictionFile
    from safebench.results.predictions import StoredPredictions
    from safebench.results.rows import Row
    from safebench.specs import MetricSpec

    from .operating_point import OperatingPoint

NO_PREDICTIONS = (
    "its predictions are not stored: run again with --predictions jsonl, the evidence "
    "is re-used"
)
OF_CATEGORIES = "a threshold of scores says nothing of decisions on categories"
NO_METRIC = "no installed metric has this name: it cannot be computed again"


@dataclass(frozen=True, slots=True)
class GivenThreshold:
    """A threshold that a user names, and the operating point that it is of, if any."""

    value: float
    point: OperatingPoint | None = None

    @property
    def source(self) -> str:
        """What `threshold_from` says."""
        return f"operating point {self.point.where}" if self.point else "given"

    @property
    def title(self) -> str:
        """What stands above the numbers."""
        text = f"decisions at a score from {self.value:.4g}"
        if self.point is None:
            return f"{text}, as asked for"
        text += f", {self.source}"
        return f"{text}: its review band is left out" if self.point.review else text


def read_threshold(text: str) -> GivenThreshold:
    """Return a number as it is, else the operating point of a file of that name.

    Raises OptionError for a number that is not finite, DataError for another file.
    """
    try:
        value = float(text)
    except ValueError:
        point = read_point(text)
        return GivenThreshold(point.threshold, point)
    if not np.isfinite(value):
        raise OptionError(f"--threshold {text} is no finite number")
    return GivenThreshold(value)


def rows_at_threshold(
    rows: Sequence[Row],
    folders: Sequence[Path],
    given: GivenThreshold,
    specs: Sequence[MetricSpec],
) -> list[Row]:
    """Return rows with every decision made by ``score >= threshold``.

    Predictions are read from `folders`. Of an operating point only the rows of its
    classifier, strategy, calibrator and task are returned. A number that cannot be
    known is null with a note, as where a run has another guard of that name. Raises
    OptionError where none is known.
    """
    whole = [row for row in rows if row.is_of_whole_test_part]
    files = files_by_row(folders)
    if given.point is not None:
        whole = _rows_of_point(whole, given.point)
    combinations: dict[Any, list[Row]] = {}
    for row in whole:
        combinations.setdefault((row.run, row.combination), []).append(row)
    by_name = {spec.name: spec for spec in specs}
    reasons: list[str] = []
    changed: list[Row] = []
    for same in combinations.values():
        file = files.get((same[0].run, *names_of_row(same[0])))
        try:
            stored = _stored(same, file)
            if given.point is not None and file is not None:
                check_run(given.point, [file])
        except (DataError, IncompatibleError) as error:
            reasons.append(error.message)
            changed += _unknown(same, by_name, given, error.message)
        else:
            changed += _at(same, stored, by_name, given)
    if len(reasons) == len(combinations):
        raise OptionError(
            "no decision is known at another threshold: "
            + "; ".join(dict.fromkeys(reasons))
        )
    return changed


def _rows_of_point(rows: Sequence[Row], point: OperatingPoint) -> list[Row]:
    """Return the rows of a point's labels and task; raises OptionError for none."""

    def label(row: Row) -> str:
        method = "+".join(filter(None, (row.strategy, row.calibrator)))
        return f"{row.classifier}/{method}"

    own = [r for r in rows if label(r) == point.label and r.task == point.task]
    if not own:
        there = ", ".join(dict.fromkeys(f"{label(r)} ({r.task})" for r in rows))
        raise OptionError(
            f"{point.where} is of {point.label} ({point.task}), which is "
            f"not in these results: there is {there or 'nothing'}"
        )
    return own


def _stored(rows: Sequence[Row], file: PredictionFile | None) -> StoredPredictions:
    """Return the predictions that rows are about; raises DataError without any."""
    if file is None:
        raise DataError(NO_PREDICTIONS)
    stored = read_prediction_file(file.path)
    n = max(row.n for row in rows)
    if stored.n != n:
        raise DataError(
            f"{stored.n:,} predictions are stored, the results are of {n:,} samples: "
            "repeat the run"
        )
    return stored


def flagged_at(threshold: float, stored: StoredPredictions) -> Outcome:
    """Return predictions with decisions at a threshold, failed samples as wrong.

    Raises DataError where there are no scores.
    """
    samples = scored_samples(stored)
    bounds: dict[str, Any] = {}
    if not np.isnan(stored.lower).all():
        bounds = {"lower": stored.lower, "upper": stored.upper}
    return replace(
        to_outcome(stored),
        failed=np.isnan(samples.score),
        score=samples.score,
        decision=samples.flagged(threshold),
        threshold=threshold,
        **bounds,
    )


def _at(
    rows: Sequence[Row],
    stored: StoredPredictions,
    specs: dict[str, MetricSpec],
    given: GivenThreshold,
) -> list[Row]:
    try:
        outcome = flagged_at(given.value, stored)
    except DataError as error:
        return _unknown(rows, specs, given, error.message)
    deciding = [
        spec
        for row in rows
        if (spec := specs.get(row.metric)) is not None
        and "decision" in spec.needs
        and not spec.needs & CATEGORY_NEEDS
    ]
    values = {spec.name: (spec, value) for spec, value in compute(outcome, deciding)}
    known = [spec for spec, value in values.values() if value.value is not None]
    intervals = sampling_intervals(outcome, known)
    # of a single row nothing tells what is about all decisions, or its own
    about_all = shared_notes(rows, "in the run") if len(rows) > 1 else []
    n_failed = int(outcome.failed.sum())
    changed = _unknown(rows, specs, given, NO_METRIC)
    for place, row in enumerate(rows):
        if row.metric not in values:
            continue
        _, value = values[row.metric]
        interval = intervals.get(row.metric)
        changed[place] = replace(
            changed[place],
            **interval_fields(value.value, interval),
            value=value.value,
            bound_low=value.bound_low,
            bound_high=value.bound_high,
            n_failed=n_failed,
            n_scored=outcome.n - n_failed if value.n_scored is None else value.n_scored,
            note=joined_notes(
                value.note,
                interval.note if interval and value.value is not None else "",
                *about_all,
            ),
        )
    return changed


def _unknown(
    rows: Sequence[Row],
    specs: dict[str, MetricSpec],
    given: GivenThreshold,
    reason: str,
) -> list[Row]:
    """Return rows at a threshold, null with a reason where they depend on it."""
    changed = []
    for row in rows:
        spec = specs.get(row.metric)
        of_time = row.metric in LATENCY_METRICS
        params = dict(row.params)
        if "threshold" in params:
            params["threshold"] = given.value
        at: dict[str, Any] = {
            "params": params,
            "threshold": given.value,
            "threshold_from": given.source,
        }
        why = NO_METRIC if spec is None else reason
        if of_time or (
            spec is not None and not spec.needs & {"decision", "categories"}
        ):
            changed.append(replace(row, **at))
            continue
        if spec is not None and "categories" in spec.needs:
            why = OF_CATEGORIES
        nothing: dict[str, Any] = dict.fromkeys(
            ("value", "ci_low", "ci_high", "ci_method", "bound_low", "bound_high")
        )
        changed.append(replace(row, **at, **nothing, n_scored=0, note=why))
    return changed
