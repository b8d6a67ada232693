"""Result rows of calibrated predictions, from the raw ones and theirs.

What both share (model, cost, evidence) is what the raw rows say; notes say what a
calibrator rests on, and what became of the losses.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.metrics.compute import compute
from safebench.metrics.intervals import sampling_intervals
from safebench.results.outcomes import to_outcome
from safebench.results.rows import LATENCY_METRICS, interval_fields, joined_notes

from .calibrated import RAW_CATEGORIES, THRESHOLD, Calibrated
from .fit import PROBE
from .loss_change import LossChange, loss_changes
from .raw_columns import CALIBRATION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.errors import SafebenchError
    from safebench.metrics import Outcome
    from safebench.results import Row
    from safebench.results.predictions import StoredPredictions
    from safebench.specs import MetricSpec

    from .fitted import FittedCalibrator


CATEGORY_NEEDS = frozenset({"categories", "category_scores", "category_bounds"})


def calibrated_rows(
    raw_rows: Sequence[Row],
    raw: StoredPredictions,
    calibrated: Calibrated,
    metrics: Sequence[MetricSpec],
    on_error: Callable[[SafebenchError], None] | None = None,
) -> tuple[list[Row], list[LossChange]]:
    """Return the result rows of calibrated predictions, in the order of the raw ones.

    What they share (model, cost, evidence) is what the raw rows say; `raw` is the test
    part before.
    """
    fitted, lines = calibrated
    stored = lines.stored()
    outcome = _with_bounds(to_outcome(stored), stored, calibrated)
    by_name = {row.metric: row for row in raw_rows}
    kept = {
        spec.name
        for spec in metrics
        if spec.needs & CATEGORY_NEEDS and not fitted.category_states
    }
    specs = [s for s in metrics if s.name in by_name and s.name not in kept]
    values = compute(outcome, specs, on_error)
    known = [spec for spec, value in values if value.value is not None]
    intervals = sampling_intervals(outcome, known, on_error)
    changes = loss_changes(raw, stored, specs)
    about = {change.metric: change.note() for change in changes}
    about |= _tie_notes(raw, stored)
    common = shared_notes(raw_rows, "raw score")
    shared: dict[str, Any] = {
        "calibrator": fitted.label,
        "threshold": THRESHOLD,
        "threshold_from": "fixed",
    }
    rows: dict[str, Row] = {}
    for row in raw_rows:  # a calibrator takes no time that could be measured
        if row.metric in LATENCY_METRICS:
            rows[row.metric] = replace(row, **shared)
    for name in kept & by_name.keys():
        row = by_name[name]
        note = joined_notes(row.note, RAW_CATEGORIES if row.value is not None else "")
        rows[name] = replace(row, **shared, note=note)
    n_failed = int(outcome.failed.sum())
    # whoever reads any number must know that it does not rest on held-out labels
    elsewhere = fitted.fit.part != CALIBRATION or fitted.fit.dataset != fitted.dataset
    for spec, value in values:
        interval = intervals.get(spec.name)
        of_categories = spec.needs & CATEGORY_NEEDS
        rows[spec.name] = replace(
            by_name[spec.name],
            **shared,
            **interval_fields(value.value, interval),
            value=value.value,
            bound_low=value.bound_low,
            bound_high=value.bound_high,
            n_failed=n_failed,
            n_scored=(
                outcome.n - n_failed if value.n_scored is None else value.n_scored
            ),
            note=joined_notes(
                value.note,
                interval.note if interval and value.value is not None else "",
                about.get(spec.name, "") if value.value is not None else "",
                fit_note(fitted) if elsewhere or "probability" in spec.needs else "",
                *(n for n in fitted.notes if of_categories or n != RAW_CATEGORIES),
                *common,
            ),
        )
    return [rows[row.metric] for row in raw_rows if row.metric in rows], changes


def fit_note(fitted: FittedCalibrator) -> str:
    """Say what a calibrator rests on."""
    data = fitted.fit
    other = f" of {data.dataset}" if data.dataset != fitted.dataset else ""
    if data.part == CALIBRATION:
        return (
            f"{fitted.name} fitted on {data.n} labels ({data.n_pos} unsafe) of the "
            f"calibration part{other}"
        )
    if data.part == PROBE:
        return f"{fitted.name} fitted on {data.n} prompts without content{other}"
    return (
        f"{fitted.name} is transductive: fitted on the scores of all {data.n} samples"
        f"{other}, without labels"
    )


def _with_bounds(
    outcome: Outcome,
    stored: StoredPredictions,
    calibrated: Calibrated,
) -> Outcome:
    """Add the bounds, which a paired comparison does not need and rows do."""
    added: dict[str, Any] = {}
    if not np.isnan(stored.lower).all():
        added |= {"lower": stored.lower, "upper": stored.upper}
    if calibrated.fitted.category_states and stored.cells is not None:
        for name in ("category_lower", "category_upper"):
            column = calibrated.lines.bounds_of_cells(name)
            if not np.isnan(column).all():
                added[name] = column
    return replace(outcome, **added)


def _tie_notes(raw: StoredPredictions, stored: StoredPredictions) -> dict[str, str]:
    """Say where samples that were told apart are not any more."""
    before, after = (
        len(np.unique(side.score[~np.isnan(side.score)])) for side in (raw, stored)
    )
    if after >= before:
        return {}
    note = f"ties by calibration: {after} distinct scores of {before}"
    return dict.fromkeys(("auroc", "auprc", "pauroc", "tpr_at_fpr"), note)


def shared_notes(rows: Sequence[Row], of: str) -> list[str]:
    """Return what the notes of all rows say, each with what it is true `of`.

    They speak of evidence, of judgements or of the strategy's own decisions, and rows
    do not tell which: those that are decided in another way must not say it as theirs.
    """
    first, *others = (row.note.split("; ") for row in rows)
    return [
        f"{of}: {part}"
        for part in first
        if part and all(part in parts for parts in others)
    ]
