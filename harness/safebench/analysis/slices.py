"""The same numbers on parts of a dataset: by its columns, length and category."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.metrics import Outcome, compute
from safebench.metrics.outcome import decide

from .intervals import wilson

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.metrics import Value
    from safebench.specs import MetricSpec

    from .predictions import Predictions

    Array = np.ndarray[Any, np.dtype[Any]]

ALWAYS = ("adversarial", "subcategory")
LENGTH, CATEGORY, DATASET = "length", "category", "dataset"
MOST = 12  # values of a column that get a line each
_QUARTERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One part: its accuracy with Wilson's interval, and metrics by name."""

    value: str
    n: int
    n_pos: int
    accuracy: float
    low: float
    high: float
    metrics: dict[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceTable:
    """A column's parts; `note` says what is not known, or how parts were made."""

    column: str
    slices: tuple[Slice, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Cut:
    """Named parts of the samples, (n,) bool each; they may overlap."""

    column: str
    parts: dict[str, Array]
    note: str = ""


def slices(
    predictions: Predictions,
    metrics: Sequence[MetricSpec],
    columns: Sequence[str] = (),
) -> tuple[SliceTable, ...]:
    """Return a table for each column; without names, for all that the dataset has."""
    tables = []
    for cut in cuts(predictions, columns):
        measured = tuple(
            _measured(name, rows, predictions, metrics)
            for name, rows in cut.parts.items()
        )
        tables.append(SliceTable(column=cut.column, slices=measured, note=cut.note))
    return tuple(tables)


def cuts(predictions: Predictions, columns: Sequence[str] = ()) -> Iterator[Cut]:
    """Yield the parts by each column; without names, by all that the dataset has."""
    names = columns or (*ALWAYS, *_others(predictions), LENGTH, CATEGORY, DATASET)
    for name in dict.fromkeys(names):
        if name == LENGTH:
            yield _by_length(predictions)
        elif name == CATEGORY:
            yield _by_category(predictions)
        elif name == DATASET:
            if columns or len(set(predictions.sets)) > 1:
                yield _named(name, list(predictions.sets))
        else:
            yield _by_column(predictions, name)


def empty_columns(predictions: Predictions) -> list[str]:
    """Return the usual columns that the dataset has and leaves empty in every row."""
    metas = [fact.meta for fact in predictions.facts if fact]
    return [
        name
        for name in ALWAYS
        if any(name in meta for meta in metas)
        and all(meta.get(name) is None for meta in metas)
    ]


def _others(predictions: Predictions) -> list[str]:
    """Return the dataset's own columns that have few values."""
    metas = [fact.meta for fact in predictions.facts if fact]
    names = dict.fromkeys(name for meta in metas for name in meta)
    return [
        name
        for name in names
        if name not in (LENGTH, CATEGORY, DATASET)
        and 1 < len({_text(meta.get(name)) for meta in metas}) <= MOST * 4
    ]


def _by_column(predictions: Predictions, name: str) -> Cut:
    metas = [fact.meta if fact else None for fact in predictions.facts]
    if not any(metas) and not any(fact for fact in predictions.facts):
        return Cut(name, {}, "not known: the dataset could not be read again")
    values = [None if meta is None else _text(meta.get(name)) for meta in metas]
    known = sum(value is not None for value in values)
    if not known:
        there = any(meta is not None and name in meta for meta in metas)
        why = "the column is empty in every row" if there else "there is no such column"
        return Cut(name, {}, f"not known: {why}")
    note = "" if known == len(values) else f"known for {known} of {len(values)} samples"
    return _named(name, values, note)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def _named(column: str, values: Sequence[str | None], note: str = "") -> Cut:
    """Return a part for each of the commonest values, the others together."""
    counts = Counter(value for value in values if value is not None)
    told = [value for value, _ in counts.most_common(MOST)]
    array = np.array(values, dtype=object)
    parts = {value: array == value for value in sorted(told)}
    rest = [value for value in counts if value not in parts]
    if rest:
        parts[f"{len(rest)} other value{'s' * (len(rest) > 1)}"] = np.isin(array, rest)
    return Cut(column, parts, note)


def _by_length(predictions: Predictions) -> Cut:
    facts = predictions.facts
    if facts and all(facts):
        length = np.array([fact.length for fact in facts if fact])
        note = "quarters by the characters of all turns"
    else:
        length = predictions.tokens
        note = "quarters by tokens, the prompt template's included"
    if not length.any():
        return Cut(LENGTH, {}, "not known: no tokens were counted")
    ends = np.quantile(length, (0.25, 0.5, 0.75), method="inverted_cdf")
    place = np.searchsorted(ends, length)  # equal lengths stay together
    parts = {}
    for quarter in range(_QUARTERS):
        rows = place == quarter
        if rows.any():
            parts[f"{length[rows].min():,} to {length[rows].max():,}"] = rows
    return Cut(LENGTH, parts, note)


def _by_category(predictions: Predictions) -> Cut:
    known = [codes for codes in predictions.categories if codes is not None]
    counts = Counter(code for codes in known for code in codes)
    if not counts:
        return Cut(CATEGORY, {}, "not known: no sample has categories")
    told = sorted(code for code, _ in counts.most_common(MOST))
    parts = {
        code: np.array([code in (codes or ()) for codes in predictions.categories])
        for code in told
    }
    others = set(counts) - set(told)
    if others:
        many = "categories" if len(others) > 1 else "category"
        parts[f"{len(others)} other {many}"] = np.array(
            [bool(others & (codes or frozenset())) for codes in predictions.categories]
        )
    return Cut(CATEGORY, parts, "a sample counts in each of its categories")


def _measured(
    name: str, rows: Array, predictions: Predictions, metrics: Sequence[MetricSpec]
) -> Slice:
    outcome = outcome_of(predictions, np.flatnonzero(rows))
    right = outcome.n - np.count_nonzero(
        np.asarray(outcome.decision, dtype=bool) != outcome.y
    )
    low, high = wilson(np.array(right), np.array(outcome.n))
    return Slice(
        value=name,
        n=outcome.n,
        n_pos=int(outcome.y.sum()),
        accuracy=right / outcome.n,
        low=float(low),
        high=float(high),
        metrics={spec.name: value for spec, value in compute(outcome, metrics)},
    )


def outcome_of(predictions: Predictions, rows: Array) -> Outcome:
    """Return some samples as metrics take them: a failed one is a wrong decision."""
    y = predictions.y[rows]
    made = predictions.decision[rows]
    failed = np.array([predictions.errors[row] is not None for row in rows], dtype=bool)
    failed |= np.isnan(made)
    doubt, score = predictions.uncertainty[rows], predictions.score[rows]
    groups = predictions.groups
    return Outcome(
        y=y,
        failed=failed,
        groups=[groups[row] for row in rows],
        score=None if np.isnan(predictions.score).all() else score,
        probability=predictions.probability,
        decision=decide(y, failed, np.nan_to_num(made), 0.5),
        uncertainty=None if np.isnan(predictions.uncertainty).all() else doubt,
    )
