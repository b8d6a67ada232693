"""Gaps between slices as rows of a run's results, beside those of whole sets.

A row of a slice has ``COLUMN=VALUE`` in `slice`, one of a gap ``COLUMN`` alone and a
metric such as ``recall_gap``. Both copy from the row of the whole set what was measured
on what. They are part of a row's key, so that nothing of a whole set is overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from safebench.errors import RunFolderError
from safebench.files import lock_folder
from safebench.results.rows import RESULTS_FILE, Row, merge_rows, read_rows
from safebench.results.run_files import PREDICTIONS_FOLDER
from safebench.results.slices import column_of, gap_metric, slice_name

from .slice_gaps import ALPHA, HIGHER_IS_BETTER
from .slices import slice_masks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from safebench.results.predictions import StoredPredictions
    from safebench.typing import Array

    from .run_analysis import RunAnalysis
    from .slice_gaps import SliceGap, SliceValue

GAP_INTERVAL = "simultaneous over pairs of slices (MOVER, Bonferroni)"
SLICE_INTERVAL = "simultaneous over slices (Bonferroni)"
NO_INTERVAL = "none: a slice of this column has no interval"
_SMALLEST_P = 0.001


@dataclass(frozen=True, slots=True)
class SavedGaps:
    """How many rows were stored, and why some combinations have none."""

    n_rows: int
    notes: tuple[str, ...]


def save_gaps(
    folder: Path, analysis: RunAnalysis, columns: Sequence[str] = ()
) -> SavedGaps:
    """Merge the gaps of an analysis into the results of its run, a test part's.

    Rows of the same columns are replaced, those of other columns stay. `columns` are
    those that were asked for: what is not known of them is stored, too. Raises
    RunFolderError where the run has no results, or nothing could be stored.
    """
    path = folder / RESULTS_FILE
    with lock_folder(folder, (PREDICTIONS_FOLDER,)):
        if not path.is_file():
            raise RunFolderError(
                f"--save: no {RESULTS_FILE} in {folder} to add to: the same `safebench "
                "run` again finishes it"
            )
        whole = [row for row in read_rows(path) if row.is_of_whole_test_part]
        rows: list[Row] = []
        notes: list[str] = []
        for combination in analysis.combinations:
            predictions = combination.predictions
            if len(set(predictions.sample_datasets)) > 1:
                continue  # sets that were joined for the analysis are no set of the run
            of_whole = [row for row in whole if _is_about(row, predictions)]
            if len({row.combination for row in of_whole}) != 1:
                reason = "several results" if of_whole else "no results"
                notes.append(f"{predictions.name}: {reason} of it in {path}, no rows")
                continue
            rows += gap_rows(predictions, combination.gaps, of_whole, columns)
        if not rows:
            reason = "; ".join(notes) or "no column makes slices"
            raise RunFolderError(f"--save: nothing to store: {reason}")
        replaced = {_place(row) for row in rows}
        merge_rows(
            path,
            rows,
            drop=lambda row: row.slice is not None and _place(row) in replaced,
        )
    return SavedGaps(len(rows), tuple(notes))


def _is_about(row: Row, predictions: StoredPredictions) -> bool:
    dataset = ":".join(filter(None, (row.dataset, row.config, row.split)))
    return (
        *(row.classifier, row.model, row.strategy, row.calibrator, dataset, row.task),
    ) == (
        predictions.classifier,
        predictions.model,
        predictions.strategy,
        predictions.calibrator,
        predictions.dataset,
        predictions.task,
    )


def _place(row: Row) -> tuple[object, ...]:
    """Return what the slices of a row are of, and by which column."""
    column = None if row.slice is None else column_of(row)
    return (row.combination, row.part, row.policy, column)


def gap_rows(
    predictions: StoredPredictions,
    gaps: Sequence[SliceGap],
    of_whole: Sequence[Row],
    columns: Sequence[str] = (),
) -> list[Row]:
    """Return a row for each gap and each slice's own number.

    `of_whole` are the rows of the whole set: at least one. A gap that is not known has
    a row if its slices are too small, or if it was asked for by `columns`.
    """
    by_metric = {row.metric: row for row in of_whole}
    names = list(dict.fromkeys(gap.column for gap in gaps))
    masks = {by.column: by.masks for by in slice_masks(predictions, names)}
    rows = []
    for gap in gaps:
        if gap.gap is None and not gap.left_out and gap.column not in columns:
            continue
        base = by_metric.get(gap.metric, of_whole[0])
        own = masks[gap.column]
        rows.append(_gap_row(gap, base, predictions, own))
        rows += (
            _slice_row(gap, part, base, predictions, own[part.value])
            for part in gap.slices
        )
    return rows


def _gap_row(
    gap: SliceGap,
    base: Row,
    predictions: StoredPredictions,
    masks: Mapping[str, Array],
) -> Row:
    # samples may be in several slices, as those with several categories are
    used = [masks[part.value] for part in gap.slices] or list(masks.values())
    members = np.logical_or.reduce([np.zeros(predictions.n, dtype=bool), *used])
    ends = GAP_INTERVAL if gap.low is not None else NO_INTERVAL
    return replace(
        _about(base, predictions, members),
        slice=slice_name(gap.column),
        metric=gap_metric(gap.metric),
        value=gap.gap,
        ci_low=gap.low,
        ci_high=gap.high,
        ci_method=None if gap.gap is None else ends,
        higher_is_better=False,
        note=_gap_note(gap),
    )


def _slice_row(
    gap: SliceGap,
    part: SliceValue,
    base: Row,
    predictions: StoredPredictions,
    mask: Array,
) -> Row:
    return replace(
        _about(base, predictions, mask),
        slice=slice_name(gap.column, part.value),
        metric=gap.metric,
        value=part.metric,
        ci_low=part.low,
        ci_high=part.high,
        ci_method=SLICE_INTERVAL if part.low is not None else NO_INTERVAL,
        higher_is_better=HIGHER_IS_BETTER[gap.metric],
        n_scored=part.n,
        note=f"differs from the other slices with p {_p_text(part.p)} (permutation, "
        "all slices of the column)",
    )


def _about(base: Row, predictions: StoredPredictions, members: Array) -> Row:
    """Return a row about some samples, without what is only known of all of them."""
    failed = [error is not None for error in predictions.errors]
    n_pos = int(predictions.y[members].sum())
    n = int(members.sum())
    return replace(
        base,
        n=n,
        n_pos=n_pos,
        n_neg=n - n_pos,
        n_scored=None,
        n_failed=int(np.array(failed, dtype=bool)[members].sum()),
        n_truncated=None,
        n_conflicting=None,
        bound_low=None,
        bound_high=None,
        # the passes were paid for the whole set
        seconds=None,
        samples_per_second=None,
        forward_passes=None,
        tokens=None,
        peak_memory_mib=None,
        cost_shared_with=None,
        mix=None,
    )


def _gap_note(gap: SliceGap) -> str:
    parts = [gap.note] if gap.note else []
    if gap.gap is not None and gap.p is not None and gap.expected is not None:
        holm = "" if gap.holm is None else f", {_p_text(gap.holm)} by Holm"
        parts.append(
            f"{gap.expected:.3f} by chance, p {_p_text(gap.p)}{holm} (permutation)"
        )
        parts.append(f"worst slice {gap.slices[0].value}")
        differing = [
            f"{part.value} (p {_p_text(part.p)})"
            for part in gap.slices
            if part.p < ALPHA
        ]
        if differing:
            parts.append(f"not by chance: {', '.join(differing)}")
    parts += (f"without {value}: {why}" for value, why in gap.left_out)
    return "; ".join(parts)


def _p_text(p: float) -> str:
    return f"<{_SMALLEST_P}" if p < _SMALLEST_P else f"{p:.3f}"
