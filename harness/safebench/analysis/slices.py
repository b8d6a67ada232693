"""Slices: metrics on parts of a dataset, by its columns, length and categories."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.metrics import Outcome
from safebench.metrics.column_intervals import own_intervals
from safebench.metrics.compute import compute
from safebench.metrics.decision import ACCURACY
from safebench.metrics.definition import truth_and
from safebench.metrics.outcome import apply_threshold
from safebench.results.predictions import MetadataColumns
from safebench.statistics.resampling_weights import group_codes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.metrics import MetricValue
    from safebench.results.predictions import StoredPredictions
    from safebench.specs import MetricSpec
    from safebench.typing import Array

DEFAULT_COLUMNS = ("adversarial", "subcategory")
LENGTH, CATEGORY, DATASET = "length", "category", "dataset"  # columns made here
MAX_VALUES = 12  # values of a column that get a slice each
_QUARTERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One slice: its accuracy with the 95 % interval of results, and metrics by name.

    `low` and `high` are None where groups are too few.
    """

    value: str
    n: int
    n_pos: int
    accuracy: float
    low: float | None
    high: float | None
    metrics: dict[str, MetricValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceTable:
    """The slices by a column; `note` says what is not known, or how they were made."""

    column: str
    slices: tuple[Slice, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class SliceMasks:
    """Which samples are in each slice by a column, (n,) bool each; they may overlap."""

    column: str
    masks: dict[str, Array]
    note: str = ""


def compute_slices(
    predictions: StoredPredictions,
    metrics: Sequence[MetricSpec],
    columns: Sequence[str] = (),
) -> tuple[SliceTable, ...]:
    """Return a table for each column; without names, for all that the dataset has."""
    return tuple(
        SliceTable(
            column=by_column.column,
            slices=tuple(
                _compute_slice(value, mask, predictions, metrics)
                for value, mask in by_column.masks.items()
            ),
            note=by_column.note,
        )
        for by_column in slice_masks(predictions, columns)
    )


def slice_masks(
    predictions: StoredPredictions, columns: Sequence[str] = ()
) -> Iterator[SliceMasks]:
    """Yield the masks by each column; without names, by all that the dataset has."""
    names = columns or (
        *DEFAULT_COLUMNS,
        *_low_cardinality_columns(predictions),
        LENGTH,
        CATEGORY,
        DATASET,
    )
    for name in dict.fromkeys(names):
        if name == LENGTH:
            yield _by_length(predictions)
        elif name == CATEGORY:
            yield _by_category(predictions)
        elif name == DATASET:
            # of one dataset it would be the whole, unless somebody asks for it
            if columns or len(set(predictions.sample_datasets)) > 1:
                yield _by_value(name, list(predictions.sample_datasets))
        else:
            yield _by_column(predictions, name)


def empty_columns(predictions: StoredPredictions) -> list[str]:
    """Return the default columns that the dataset has and leaves empty in every row."""
    samples = [row for row in predictions.sample_columns if row is not None]
    return [
        name
        for name in DEFAULT_COLUMNS
        if any(name in columns for columns in samples)
        and all(columns.get(name) is None for columns in samples)
    ]


def _low_cardinality_columns(predictions: StoredPredictions) -> list[str]:
    """Return the dataset's own columns that have few distinct values.

    Ids and free text have about one value a sample, and make no slices.
    """
    samples = [row for row in predictions.sample_columns if row is not None]
    names = dict.fromkeys(name for columns in samples for name in columns)
    # more values than get a slice each: the rare ones share one, ids would all share it
    few = range(2, MAX_VALUES * 4 + 1)
    return [
        name
        for name in names
        if name not in (LENGTH, CATEGORY, DATASET)
        and len({_value_text(columns.get(name)) for columns in samples}) in few
    ]


def _by_column(predictions: StoredPredictions, name: str) -> SliceMasks:
    columns = predictions.sample_columns
    if all(row is None for row in columns):
        return SliceMasks(name, {}, "not known: the dataset could not be read again")
    values = [_value_text((row or {}).get(name)) for row in columns]
    n_known = sum(value is not None for value in values)
    if not n_known:
        exists = any(row and name in row for row in columns)
        reason = (
            "the column is empty in every row" if exists else "there is no such column"
        )
        return SliceMasks(name, {}, f"not known: {reason}")
    partly = f"known for {n_known} of {len(values)} samples"
    return _by_value(name, values, "" if n_known == len(values) else partly)


def _value_text(value: Any) -> str | None:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def _by_value(column: str, values: Sequence[str | None], note: str = "") -> SliceMasks:
    """Return a mask for each of the commonest values, and one for all the others."""
    counts = Counter(value for value in values if value is not None)
    common = [value for value, _ in counts.most_common(MAX_VALUES)]
    array = np.array(values, dtype=object)
    # By value and not by count: slices of two datasets can be laid side by side.
    masks = {value: array == value for value in sorted(common)}
    rest = [value for value in counts if value not in masks]
    if rest:
        masks[f"{len(rest)} other value{'s' * (len(rest) > 1)}"] = np.isin(array, rest)
    return SliceMasks(column, masks, note)


def _by_length(predictions: StoredPredictions) -> SliceMasks:
    samples = predictions.metadata
    if isinstance(samples, MetadataColumns):
        length = samples.lengths
        note = "quarters by the characters of all turns"
    elif samples and all(samples):
        length = np.array([sample.length for sample in samples if sample])
        note = "quarters by the characters of all turns"
    else:
        length = predictions.tokens
        note = "quarters by tokens, the prompt template's included"
    if not length.any():
        return SliceMasks(LENGTH, {}, "not known: no tokens were counted")
    # observed lengths as ends, so that equal lengths fall into the same quarter
    ends = np.quantile(length, (0.25, 0.5, 0.75), method="inverted_cdf")
    quarter_of = np.searchsorted(ends, length)
    masks = {}
    for quarter in range(_QUARTERS):
        mask = quarter_of == quarter
        if mask.any():
            masks[f"{length[mask].min():,} to {length[mask].max():,}"] = mask
    return SliceMasks(LENGTH, masks, note)


def _by_category(predictions: StoredPredictions) -> SliceMasks:
    known = [codes for codes in predictions.categories if codes is not None]
    counts = Counter(code for codes in known for code in codes)
    if not counts:
        return SliceMasks(CATEGORY, {}, "not known: no sample has categories")
    common = sorted(code for code, _ in counts.most_common(MAX_VALUES))
    masks = {
        code: np.array([code in (codes or ()) for codes in predictions.categories])
        for code in common
    }
    rest = set(counts) - set(common)
    if rest:
        noun = "categories" if len(rest) > 1 else "category"
        masks[f"{len(rest)} other {noun}"] = np.array(
            [bool(rest & (codes or frozenset())) for codes in predictions.categories]
        )
    return SliceMasks(CATEGORY, masks, "a sample counts in each of its categories")


def _compute_slice(
    value: str,
    mask: Array,
    predictions: StoredPredictions,
    metrics: Sequence[MetricSpec],
) -> Slice:
    outcome = outcome_for_rows(predictions, np.flatnonzero(mask))
    n_right = outcome.n - np.count_nonzero(
        np.asarray(outcome.decision, dtype=bool) != outcome.y
    )
    columns = truth_and(outcome.y, np.asarray(outcome.decision))
    codes = group_codes(outcome.groups)
    # By the method of the metric, so that a slice and a result row agree.
    interval = own_intervals({"accuracy": ACCURACY}, columns, codes)["accuracy"]
    return Slice(
        value=value,
        n=outcome.n,
        n_pos=int(outcome.y.sum()),
        accuracy=n_right / outcome.n,
        low=interval.low,
        high=interval.high,
        metrics={spec.name: number for spec, number in compute(outcome, metrics)},
    )


def outcome_for_rows(predictions: StoredPredictions, rows: Array) -> Outcome:
    """Return some samples as metrics take them: a failed one is a wrong decision."""
    y = predictions.y[rows]
    decision = predictions.decision[rows]
    failed = np.array([predictions.errors[row] is not None for row in rows], dtype=bool)
    failed |= np.isnan(decision)
    # a column is missing only if the whole dataset lacks it, not just this slice
    has_score = not np.isnan(predictions.score).all()
    has_uncertainty = not np.isnan(predictions.uncertainty).all()
    return Outcome(
        y=y,
        failed=failed,
        groups=predictions.groups.select(rows),
        score=predictions.score[rows] if has_score else None,
        probability=predictions.probability,
        decision=apply_threshold(y, failed, np.nan_to_num(decision), 0.5),
        uncertainty=predictions.uncertainty[rows] if has_uncertainty else None,
    )
